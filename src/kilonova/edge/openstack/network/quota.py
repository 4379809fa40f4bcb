"""Limits of projects on networks."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.network.service import RESOURCES, NetworkServices
from kilonova.edge.openstack.network.attribute import whole
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

_HIGH: Final = 2**31 - 1
_LIMIT: Final = whole(-1, _HIGH)
_FLAGS: Final = ("check_limit", "force")
_UPDATE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "quota": {
            "type": "object",
            "properties": {**dict.fromkeys(RESOURCES, _LIMIT), **{flag: {"type": "boolean"} for flag in _FLAGS}},
            "additionalProperties": False,
        }
    },
    "required": ["quota"],
    "additionalProperties": False,
}


class QuotaRoutes:
    """`/quotas`. `details` adds the use."""

    def __init__(self, services: NetworkServices) -> None:
        self._limits = services.limits

    def routes(self) -> list[Route]:
        one = "/quotas/{project_id}"
        return [
            Route("GET", "/quotas", self.list, "get_quotas"),
            Route("DELETE", one, self.reset, "delete_quota", success=204),
            Route("GET", one, self.show, "get_quota"),
            Route("GET", f"{one}/default", self.show_default, "get_quota"),
            Route("GET", f"{one}/details", self.show_details, "get_quota"),
            Route("PUT", one, self.update, "update_quota", schema=_UPDATE),
        ]

    async def list(self, request: Request) -> Answer:
        """The projects that have limits of their own."""
        found = await self._limits.own()
        return {
            "quotas": [{"project_id": p, "tenant_id": p, **limits} for p, limits in found.items()],
        }

    async def reset(self, request: Request) -> None:
        """Back to the defaults."""
        await self._limits.reset(request.params["project_id"])

    async def show(self, request: Request) -> Answer:
        found = await self._limits.get(request.params["project_id"])
        return {"quota": {name: use.limit for name, use in found.items()}}

    async def show_default(self, request: Request) -> Answer:
        return {"quota": await self._limits.defaults()}

    async def show_details(self, request: Request) -> Answer:
        found = await self._limits.get(request.params["project_id"])
        return {"quota": {name: {"limit": use.limit, "used": use.used, "reserved": 0} for name, use in found.items()}}

    async def update(self, request: Request) -> Answer:
        wanted = {name: int(limit) for name, limit in request.json["quota"].items() if name in RESOURCES}
        check = bool(request.json["quota"].get("check_limit"))
        found = await self._limits.set(request.params["project_id"], wanted, check=check)
        return {"quota": {name: use.limit for name, use in found.items()}}
