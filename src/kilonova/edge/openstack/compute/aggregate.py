"""`/os-aggregates` (API reference "Host aggregates")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from kilonova.cloud.aggregate.model import Aggregate
from kilonova.cloud.aggregate.service import AggregateService
from kilonova.cloud.host.model import Host
from kilonova.core.errors import Invalid, NotFound
from kilonova.edge.openstack.compute.host import Hosts
from kilonova.edge.openstack.compute.link import exact
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import HOST, MAX_INTEGER, NAME, boxed, record
from kilonova.kit.http import Request, Route
from kilonova.kit.http.schema import JsonSchema

_RULE: Final = f"{PREFIX}os-aggregates:"
_ZONE: Final[JsonSchema] = {"type": ["string", "null"], "minLength": 1, "maxLength": 255, "pattern": "^[^:]*$",
                            "format": "name"}  # fmt: skip
_NEW: Final[dict[str, JsonSchema]] = {"name": NAME, "availability_zone": _ZONE}
_ITEMS: Final[JsonSchema] = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9_:. -]{1,255}$": {"type": ["string", "null"], "maxLength": 255}},
    "additionalProperties": False,
    "maxProperties": 256,
}


class AggregateRoutes:
    """Handlers of aggregates."""

    def __init__(self, aggregates: AggregateService, hosts: Hosts) -> None:
        self._aggregates = aggregates
        self._hosts = hosts

    def routes(self) -> list[Route]:
        every, one = "/os-aggregates", "/os-aggregates/{aggregate_id}"
        update: JsonSchema = {**record(_NEW), "minProperties": 1}
        return [
            Route("GET", every, self.list, f"{_RULE}index"),
            Route("POST", every, self.create, f"{_RULE}create", boxed("aggregate", record(_NEW, "name"))),
            Route("GET", one, self.show, f"{_RULE}show"),
            Route("PUT", one, self.update, f"{_RULE}update", boxed("aggregate", update)),
            Route("DELETE", one, self.delete, f"{_RULE}delete"),
            self._act("add_host", self.add_host, record({"host": HOST}, "host")),
            self._act("remove_host", self.remove_host, record({"host": HOST}, "host")),
            self._act("set_metadata", self.set_metadata, record({"metadata": _ITEMS}, "metadata")),
        ]

    def _act(self, action: str, handler: Callable[[Request], Awaitable[dict[str, Any]]], inner: JsonSchema) -> Route:
        path = "/os-aggregates/{aggregate_id}/action"
        return Route("POST", path, handler, _RULE + action, boxed(action, inner), action=action)

    async def list(self, request: Request) -> dict[str, Any]:
        hosts = await self._hosts.states()
        return {"aggregates": [_view(one, hosts, request) for one in await self._aggregates.list()]}

    async def create(self, request: Request) -> dict[str, Any]:
        given = request.json["aggregate"]
        shown = _view(await self._aggregates.create(given["name"], given.get("availability_zone")), {}, request)
        return {"aggregate": {key: shown[key] for key in shown if key not in ("hosts", "metadata")}}

    async def show(self, request: Request) -> dict[str, Any]:
        return await self._shown(await self._aggregates.get(_number(request)), request)

    async def update(self, request: Request) -> dict[str, Any]:
        given = request.json["aggregate"]
        changed = self._aggregates.rename(_number(request), given.get("name"), given.get("availability_zone"))
        return await self._shown(await changed, request)

    async def delete(self, request: Request) -> None:
        await self._aggregates.delete(_number(request))

    async def add_host(self, request: Request) -> dict[str, Any]:
        changed = self._aggregates.add_host(_number(request), request.json["add_host"]["host"])
        return await self._shown(await changed, request)

    async def remove_host(self, request: Request) -> dict[str, Any]:
        changed = self._aggregates.remove_host(_number(request), request.json["remove_host"]["host"])
        return await self._shown(await changed, request)

    async def set_metadata(self, request: Request) -> dict[str, Any]:
        items = request.json["set_metadata"]["metadata"]
        zone = items.get("availability_zone")
        if zone is not None and (not zone.strip() or ":" in zone):
            raise Invalid("Invalid availability_zone: it must have a name, without a colon.")
        return await self._shown(await self._aggregates.set_metadata(_number(request), items), request)

    async def _shown(self, one: Aggregate, request: Request) -> dict[str, Any]:
        return {"aggregate": _view(one, await self._hosts.states(one.hosts), request)}


def _number(request: Request) -> int:
    text = request.params["aggregate_id"]
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) > MAX_INTEGER:
        raise NotFound(f"Aggregate {text[:64]} could not be found.")
    return int(text)


def _view(one: Aggregate, hosts: Mapping[str, Host], request: Request) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": one.id,
        "name": one.name,
        "availability_zone": one.zone,
        "hosts": sorted(hosts[host_id].name for host_id in one.hosts if host_id in hosts),
        "metadata": one.metadata,
        "created_at": exact(one.created_at),
        "updated_at": exact(one.updated_at) if one.updated_at else None,
        "deleted": False,
        "deleted_at": None,
    }
    return {**shown, "uuid": one.uuid} if request.version >= (2, 41) else shown
