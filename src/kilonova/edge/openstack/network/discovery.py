"""What this API is: its versions, its resources, and the extensions that are really there."""

from __future__ import annotations

from typing import Any, Final

from kilonova.core.errors import NotFound
from kilonova.kit.http import AUTHENTICATED, PUBLIC, Request, Route
from kilonova.kit.http.route import Answer

RESOURCES: Final = {
    "network": "networks",
    "subnet": "subnets",
    "port": "ports",
    "router": "routers",
    "security_group": "security-groups",
    "security_group_rule": "security-group-rules",
    "quota": "quotas",
    "extension": "extensions",
}
_EXTENSIONS: Final = {
    "binding": ("Port Binding", "Where ports are bound, for administrators"),
    "empty-string-filtering": ("Empty String Filtering Extension", "Filters by an empty value"),
    "external-net": ("Neutron external network", "Networks that lead outside"),
    "ext-gw-mode": ("Neutron L3 Configurable external gateway mode", "Source NAT of gateways on or off"),
    "extraroute": ("Neutron Extra Route", "Static routes of routers"),
    "filter-validation": ("Filter parameters validation", "Unknown filters are refused"),
    "net-mtu": ("Network MTU", "The MTU of networks"),
    "net-mtu-writable": ("Network MTU (writable)", "The MTU of networks can be set"),
    "pagination": ("Pagination support", "Pages by limit and marker"),
    "port-security": ("Port Security", "Filters and anti-spoofing of a port on or off"),
    "project-id": ("project_id field enabled", "Projects by the name project_id"),
    "quota-check-limit": ("Quota engine limit check", "A limit below the use is refused on request"),
    "quota_details": ("Quota details management support", "Use beside the limits"),
    "quotas": ("Quota management support", "Limits of projects"),
    "router": ("Neutron L3 Router", "Routers, their interfaces and gateways"),
    "security-group": ("security-group", "Security groups and their rules"),
    "sorting": ("Sorting support", "Order of lists by sort_key and sort_dir"),
    "standard-attr-description": ("standard-attr-description", "Descriptions of resources"),
    "standard-attr-revisions": ("Resource revision numbers", "A number that rises with every change"),
    "standard-attr-timestamp": ("Resource timestamps", "When a resource was made and changed"),
}
"""By alias: the name that Neutron gives it, and what is built of it. What is not built is not listed."""


def routes() -> list[Route]:
    """Discovery at the service's root and at `/v2.0`."""
    return [
        Route("GET", "/", list_versions, PUBLIC),
        Route("GET", "/v2.0", list_resources, PUBLIC),
        Route("GET", "/v2.0/extensions", list_extensions, AUTHENTICATED),
        Route("GET", "/v2.0/extensions/{alias}", show_extension, AUTHENTICATED),
        Route("GET", "/v2.0/agents", list_agents, "get_agent"),
        Route("GET", "/v2.0/availability_zones", list_zones, "get_availability_zone"),
    ]


async def list_versions(request: Request) -> Answer:
    link = {"rel": "self", "href": f"{request.service_url}/v2.0/"}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}


async def list_resources(request: Request) -> Answer:
    root = f"{request.service_url}/v2.0"
    return {
        "resources": [
            {"name": name, "collection": path, "links": [{"rel": "self", "href": f"{root}/{path}"}]}
            for name, path in RESOURCES.items()
        ]
    }


async def list_extensions(request: Request) -> Answer:
    return {"extensions": [_extension(alias) for alias in _EXTENSIONS]}


async def show_extension(request: Request) -> Answer:
    alias = request.params["alias"]
    if alias not in _EXTENSIONS:
        raise NotFound(f"Extension with alias {alias[:64]} does not exist", why="http_not_found")
    return {"extension": _extension(alias)}


async def list_agents(request: Request) -> Answer:
    """There are none: every host's node realises its own networks."""
    return {"agents": []}


async def list_zones(request: Request) -> Answer:
    """Networks and routers are not placed in zones."""
    return {"availability_zones": []}


def _extension(alias: str) -> dict[str, Any]:
    name, description = _EXTENSIONS[alias]
    updated = "2026-01-01T00:00:00-00:00"
    return {"alias": alias, "name": name, "description": description, "updated": updated, "links": []}
