"""`/servers/{id}/metadata` (API reference "Server metadata") and `/servers/{id}/ips`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kilonova.cloud.server.model import Server
from kilonova.cloud.server.service import ServerService
from kilonova.core.errors import Invalid, NotFound, QuotaExceeded
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.server import schema
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.edge.openstack.compute.server.view import addresses
from kilonova.kit.http import Request, Route

Change = Callable[[Mapping[str, str]], Mapping[str, str]]


class MetadataRoutes:
    """Handlers of a server's metadata."""

    def __init__(self, servers: ServerService) -> None:
        self._servers = servers

    def routes(self) -> list[Route]:
        rule, every = f"{PREFIX}server-metadata:", "/servers/{server_id}/metadata"
        one = every + "/{key}"
        return [
            Route("GET", every, self.index, f"{rule}index"),
            Route("POST", every, self.merge, f"{rule}create", schema=schema.META_ALL),
            Route("PUT", every, self.replace, f"{rule}update_all", schema=schema.META_ALL),
            Route("GET", one, self.show, f"{rule}show"),
            Route("PUT", one, self.set, f"{rule}update", schema=schema.META_ITEM),
            Route("DELETE", one, self.delete, f"{rule}delete", success=204),
        ]

    async def index(self, request: Request) -> dict[str, Any]:
        return {"metadata": (await self._server(request)).metadata}

    async def show(self, request: Request) -> dict[str, Any]:
        key = request.params["key"]
        items = (await self._server(request)).metadata
        if key not in items:
            raise NotFound("Metadata item was not found")
        return {"meta": {key: items[key]}}

    async def merge(self, request: Request) -> dict[str, Any]:
        given = request.json["metadata"]
        return {"metadata": (await self._change(request, lambda items: {**items, **given})).metadata}

    async def replace(self, request: Request) -> dict[str, Any]:
        given = request.json["metadata"]
        return {"metadata": (await self._change(request, lambda items: given)).metadata}

    async def set(self, request: Request) -> dict[str, Any]:
        given = request.json["meta"]
        if request.params["key"] not in given:
            raise Invalid("Request body and URI mismatch")
        await self._change(request, lambda items: {**items, **given})
        return {"meta": given}

    async def delete(self, request: Request) -> None:
        key = request.params["key"]

        def without(items: Mapping[str, str]) -> Mapping[str, str]:
            if key not in items:
                raise NotFound("Metadata item was not found")
            return {name: value for name, value in items.items() if name != key}

        await self._change(request, without)

    async def _server(self, request: Request) -> Server:
        return await self._servers.get(reach(request), server_id(request))

    async def _change(self, request: Request, change: Change) -> Server:
        identifier, scope = server_id(request), reach(request)
        try:
            return await self._servers.change_metadata(request.context, scope, identifier, change)
        except QuotaExceeded as failure:
            limit = failure.facts.get("limit")
            message = f"Maximum number of metadata items exceeds {limit}"
            raise QuotaExceeded(message, **failure.facts) from failure


class AddressRoutes:
    """Handlers of a server's addresses by network."""

    def __init__(self, servers: ServerService) -> None:
        self._servers = servers

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/servers/{server_id}/ips", self.index, f"{PREFIX}ips:index"),
            Route("GET", "/servers/{server_id}/ips/{label}", self.show, f"{PREFIX}ips:show"),
        ]

    async def index(self, request: Request) -> dict[str, Any]:
        return {"addresses": await self._addresses(request)}

    async def show(self, request: Request) -> dict[str, Any]:
        label = request.params["label"]
        found = await self._addresses(request)
        if label not in found:
            raise NotFound("Instance is not a member of specified network")
        return {label: found[label]}

    async def _addresses(self, request: Request) -> dict[str, list[dict[str, Any]]]:
        server = await self._servers.get(reach(request), server_id(request))
        return addresses(server.nics)
