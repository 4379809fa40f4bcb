"""A Placement API to talk to, beside the Compute API of the same cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from compute_world import NameGate, Site

from kilonova.cloud.placement.service import PlacementServices
from kilonova.cloud.server import consumer_store
from kilonova.core.ids import new_uuid
from kilonova.edge.openstack.placement.policy import RULES
from kilonova.edge.openstack.placement.routes import build_placement
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit.http import App

LATEST = "1.39"
GPU = "CUSTOM_GPU"


class ResourceGate(NameGate):
    def __init__(self) -> None:
        self._enforcer = Enforcer(RULES)


class Resources:
    """A cloud whose Placement API is asked by anybody at any version."""

    def __init__(self, site: Site) -> None:
        self.site = site
        gate: Any = ResourceGate()
        self.services = PlacementServices(site.db, consumer_store)
        app = App([build_placement(self.services, gate)])
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://cloud/placement")

    async def ask(
        self, method: str, path: str, body: Any = None, *, version: str = LATEST, by: str = "admin"
    ) -> httpx.Response:
        headers = {"x-auth-token": by, "openstack-api-version": f"placement {version}"}
        return await self.http.request(method, path, json=body, headers=headers)

    async def get(self, path: str, version: str = LATEST) -> Any:
        answer = await self.ask("GET", path, version=version)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def do(self, method: str, path: str, body: Any = None, version: str = LATEST) -> None:
        answer = await self.ask(method, path, body, version=version)
        assert answer.is_success, answer.text

    async def host(self, name: str = "host1") -> str:
        found = await self.get(f"/resource_providers?name={name}")
        return str(found["resource_providers"][0]["uuid"])

    async def change(self, provider: str, what: str, value: Any) -> None:
        """Replace the traits, aggregates or inventories of a provider."""
        own = (await self.get(f"/resource_providers/{provider}"))["generation"]
        body = {what: value, "resource_provider_generation": own}
        await self.do("PUT", f"/resource_providers/{provider}/{what}", body)

    async def provider(
        self, name: str, stock: Mapping[str, int], *, parent: str | None = None, traits: Any = ()
    ) -> str:
        """A provider of whole units, with traits that are made where they are missing."""
        body = {"name": name, "uuid": new_uuid(), "parent_provider_uuid": parent}
        await self.do("POST", "/resource_providers", body)
        for kind in stock:
            await self.ask("PUT", f"/resource_classes/{kind}")
            await self.do("POST", f"/resource_providers/{body['uuid']}/inventories", _stock(kind, stock[kind]))
        for one in traits:
            await self.ask("PUT", f"/traits/{one}")
        own = (await self.get(f"/resource_providers/{body['uuid']}"))["generation"]
        await self.do(
            "PUT", f"/resource_providers/{body['uuid']}/traits",
            {"traits": list(traits), "resource_provider_generation": own},
        )  # fmt: skip
        return str(body["uuid"])


def _stock(kind: str, total: int) -> dict[str, Any]:
    return {"resource_class": kind, "total": total}
