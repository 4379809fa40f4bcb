"""Routers and their interfaces."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.network.model import Router
from kilonova.cloud.network.router_service import NewGateway, NewRouter
from kilonova.cloud.network.service import NetworkServices
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.network import view
from kilonova.edge.openstack.network.attribute import (
    ADMIN_UP,
    BOOLEAN,
    DESCRIPTION,
    ID,
    NAME,
    OWNER,
    REVISION,
    UUID,
    Attribute,
)
from kilonova.edge.openstack.network.network import ROUTES, read_routes
from kilonova.edge.openstack.network.port import FIXED_IPS, read_fixed
from kilonova.edge.openstack.network.resource import Resource, Values, refuse_unless
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

_GATEWAY: Final = {
    "type": ["object", "null"],
    "properties": {
        "network_id": UUID,
        "enable_snat": BOOLEAN,
        "external_fixed_ips": FIXED_IPS,
    },
    "additionalProperties": False,
}
_LEG: Final = {
    "type": "object",
    "properties": {"subnet_id": UUID, "port_id": UUID},
    "additionalProperties": False,
}


_EXTRA: Final = {
    "type": "object",
    "properties": {
        "router": {
            "type": "object", "properties": {"routes": ROUTES}, "required": ["routes"], "additionalProperties": False
        }
    },
    "required": ["router"],
    "additionalProperties": False,
}  # fmt: skip


def _read_gateway(given: Any) -> NewGateway | None:
    if not given:
        return None
    if "network_id" not in given:
        raise Invalid("Invalid input for external_gateway_info. Reason: 'network_id' is missing.", why="invalid_input")
    fixed = given.get("external_fixed_ips")
    return NewGateway(given["network_id"], given.get("enable_snat", True), read_fixed(fixed) if fixed else None)


_ROUTER: Final = (
    ID,
    NAME,
    DESCRIPTION,
    *OWNER,
    ADMIN_UP,
    REVISION,
    Attribute("status", "status", sortable=False),
    Attribute("external_gateway_info", "gateway", _GATEWAY, "cu", None, convert=_read_gateway),
    Attribute("routes", "routes", ROUTES, "u", None, convert=read_routes),
)


class RouterRoutes:
    """`/routers`, with the two actions on interfaces."""

    def __init__(self, services: NetworkServices) -> None:
        self._routers = services.routers

    def routes(self) -> list[Route]:
        plain = Resource("router", _ROUTER, self._routers, self._create, view.router, tagged=True, allow=self._allow)
        one = "/routers/{id}"
        return [
            *plain.routes(),
            Route("PUT", f"{one}/add_router_interface", self.add, "add_router_interface", schema=_LEG),
            Route("PUT", f"{one}/remove_router_interface", self.remove, "remove_router_interface", schema=_LEG),
            Route("PUT", f"{one}/add_extraroutes", self.add_routes, "add_extraroutes", schema=_EXTRA),
            Route("PUT", f"{one}/remove_extraroutes", self.remove_routes, "remove_extraroutes", schema=_EXTRA),
        ]

    async def add(self, request: Request) -> Answer:
        """By subnet: its gateway address; by port: that port."""
        router_id, body = request.params["id"], request.json
        if not body:
            raise _bad("Either subnet_id or port_id must be specified")
        if len(body) > 1:
            raise _bad("Cannot specify both subnet-id and port-id")
        if "subnet_id" in body:
            leg = await self._routers.join_subnet(request.context, router_id, body["subnet_id"])
        else:
            leg = await self._routers.join_port(request.context, router_id, body["port_id"])
        return view.interface(router_id, leg)

    async def remove(self, request: Request) -> Answer:
        """By subnet, by port, or both when they agree."""
        router_id, body = request.params["id"], request.json
        if not body:
            raise _bad("Either subnet_id or port_id must be specified")
        leg = await self._routers.leave(
            request.context, router_id, subnet_id=body.get("subnet_id"), port_id=body.get("port_id")
        )
        return view.interface(router_id, leg)

    async def add_routes(self, request: Request) -> Answer:
        """Routes beside those that are there."""
        routes = read_routes(request.json["router"]["routes"])
        row = await self._routers.add_routes(request.context, request.params["id"], routes)
        return {"router": view.router(row, request)}

    async def remove_routes(self, request: Request) -> Answer:
        """Routes away; what is not there is no fault."""
        routes = read_routes(request.json["router"]["routes"])
        row = await self._routers.remove_routes(request.context, request.params["id"], routes)
        return {"router": view.router(row, request)}

    async def _create(self, request: Request, values: list[Values]) -> list[Router]:
        return [await self._routers.create(request.context, NewRouter(**values[0]))]

    async def _allow(self, request: Request, verb: str, values: Values) -> None:
        given = request.json["router"].get("external_gateway_info") or {}
        for name in ("enable_snat", "external_fixed_ips"):
            if name in given:
                refuse_unless(request, f"{verb}_router:external_gateway_info:{name}")


def _bad(reason: str) -> Invalid:
    return Invalid(f"Bad router request: {reason}.", why="bad_request")
