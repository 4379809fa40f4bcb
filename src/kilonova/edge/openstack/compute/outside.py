"""`POST /os-server-external-events` (API reference "Create External Events"): what other services tell of servers."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.server.outside import OutsideEvents, Told
from kilonova.core.errors import NotFound
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import UUID, record
from kilonova.kit.http import Request, Response, Route, VersionedSchemas
from kilonova.kit.http.schema import JsonSchema

MOST: Final = 100
_FIRST: Final = ("network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted")
_LATER: Final = {51: "volume-extended", 76: "power-update", 82: "accelerator-request-bound", 93: "volume-reimaged"}


def _events(names: tuple[str, ...]) -> JsonSchema:
    event = record(
        {
            "name": {"enum": list(names)}, "server_uuid": UUID, "tag": {"type": "string", "maxLength": 255},
            "status": {"enum": ["failed", "completed", "in-progress"]},
        },
        "name", "server_uuid",
    )  # fmt: skip
    return record({"events": {"type": "array", "minItems": 1, "maxItems": MOST, "items": event}}, "events")


def _versions() -> VersionedSchemas:
    names: tuple[str, ...] = _FIRST
    found = {(2, 1): _events(_FIRST)}
    for minor, name in _LATER.items():
        names = (*names, name)
        found[(2, minor)] = _events(names)
    return VersionedSchemas(found)


_SCHEMA: Final = _versions()


class OutsideRoutes:
    """The handler of what is told."""

    def __init__(self, events: OutsideEvents) -> None:
        self._events = events

    def routes(self) -> list[Route]:
        rule = f"{PREFIX}os-server-external-events:create"
        return [Route("POST", "/os-server-external-events", self.hear, rule, schema=_SCHEMA)]

    async def hear(self, request: Request) -> Response:
        """200 when all was taken, 207 when some was not; 404 when there is none of these servers."""
        asked = [
            Told(one["name"], one["server_uuid"], one.get("status", "completed"), one.get("tag", ""))
            for one in request.json["events"]
        ]
        told = await self._events.hear(request.context, asked)
        if all(one.code == 404 for one in told):
            raise NotFound("No instances found for any event")
        shown = [_shown(one) for one in told]
        return Response.json({"events": shown}, 200 if all(one.code == 200 for one in told) else 207)


def _shown(one: Told) -> dict[str, Any]:
    tag = {"tag": one.tag} if one.tag else {}
    return {"name": one.name, "server_uuid": one.server_id, "status": one.status, "code": one.code, **tag}
