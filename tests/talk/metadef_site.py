"""A catalog of metadata definitions to talk to, and what to put there."""

from __future__ import annotations

from typing import Any

import httpx
from image_site import Site

ROOT = "/v2/metadefs/namespaces"
WATCHDOG = {
    "namespace": "OS::Compute::Watchdog",
    "display_name": "Watchdog",
    "visibility": "public",
    "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_"}, {"name": "OS::Nova::Flavor"}],
    "properties": {"action": {"title": "Action", "type": "string", "enum": ["reset", "none"], "default": "none"}},
    "objects": [
        {
            "name": "CPU Limits",
            "description": "d",
            "required": ["shares"],
            "properties": {"shares": {"title": "S", "type": "integer", "minimum": 0}},
        }
    ],
    "tags": [{"name": "b"}, {"name": "a"}],
}
PROPERTY = {"name": "p", "title": "P", "type": "array", "items": {"type": "string", "enum": ["x"]}, "uniqueItems": True}


async def made(site: Site, **values: Any) -> str:
    """A public namespace; its address."""
    body = {"namespace": "n", "visibility": "public", **values}
    answer = await site.admin.post(ROOT, json=body)
    assert answer.status_code == 201, answer.text
    return f"{ROOT}/{body['namespace']}"


async def names(client: httpx.AsyncClient, query: str = "") -> list[str]:
    """The namespaces that a caller is shown."""
    return [one["namespace"] for one in (await client.get(f"{ROOT}{query}")).json()["namespaces"]]
