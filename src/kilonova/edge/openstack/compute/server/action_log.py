"""`/servers/{id}/os-instance-actions`: what was done to a server (API reference "Servers actions")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kilonova.cloud.server.service import ServerService
from kilonova.core.errors import Invalid, NotFound
from kilonova.edge.openstack.compute.link import exact, page_path, parse_moment
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import MOMENT, PAGE_ONCE, strict_from
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.edge.openstack.compute.server.view import host_digest
from kilonova.edge.openstack.page import next_url, read_page
from kilonova.kit.http import Request, Route, single
from kilonova.kit.ops.story import Event, Tale

_QUERY: Final = strict_from(
    58, {58: {**PAGE_ONCE, "changes-since": single(MOMENT)}, 66: {"changes-before": single(MOMENT)}}
)
_EVENTS: Final = f"{PREFIX}os-instance-actions:events"


class ActionLogRoutes:
    """Handlers of the log of actions; deleted servers are there from 2.21."""

    def __init__(self, servers: ServerService) -> None:
        self._servers = servers

    def routes(self) -> list[Route]:
        every = "/servers/{server_id}/os-instance-actions"
        rule = f"{PREFIX}os-instance-actions:"
        return [
            Route("GET", every, self.index, f"{rule}list", query=_QUERY),
            Route("GET", every + "/{asked_id}", self.show, f"{rule}show"),
        ]

    async def index(self, request: Request) -> dict[str, Any]:
        tales = await self._tales(request)
        if request.version < (2, 58):
            return {"instanceActions": [_action(tale, request) for tale in tales]}
        page = read_page(request)
        left = _after(_changed(tales, request), page.marker)
        shown = left[: page.limit]
        answer: dict[str, Any] = {"instanceActions": [_action(tale, request) for tale in shown]}
        if shown and len(left) > len(shown):
            following = next_url(request, page_path(request), shown[-1].request_id)
            answer["links"] = [{"rel": "next", "href": following}]
        return answer

    async def show(self, request: Request) -> dict[str, Any]:
        asked = request.params["asked_id"]
        tales = await self._tales(request, asked)
        if not tales:
            raise NotFound(f"Action for request_id {asked[:64]} on instance {server_id(request)} not found")
        tale = tales[0]
        shown = _action(tale, request)
        operator = request.permits(_EVENTS)
        if operator or request.version >= (2, 51):
            shown["events"] = [_event(e, tale, request, operator) for e in tale.events if e.name and not e.undo]
        return {"instanceAction": shown}

    async def _tales(self, request: Request, asked: str | None = None) -> list[Tale]:
        scope, identifier = reach(request), server_id(request)
        if request.version < (2, 21):
            await self._servers.get(scope, identifier)
        return await self._servers.story(scope, identifier, asked)


def _action(tale: Tale, request: Request) -> dict[str, Any]:
    shown = {
        "action": tale.action,
        "instance_uuid": tale.subject_id,
        "request_id": tale.request_id,
        "user_id": tale.user_id,
        "project_id": tale.project_id,
        "start_time": exact(tale.started_at),
        "message": "Error" if tale.error is not None else None,
    }
    return {**shown, "updated_at": exact(_touched(tale))} if request.version >= (2, 58) else shown


def _event(event: Event, tale: Tale, request: Request, operator: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "event": event.name,
        "start_time": exact(event.started_at),
        "finish_time": exact(event.finished_at),
        "result": event.result.title() or None,
    }
    if operator:
        shown["traceback"] = event.details if event.result == "error" and event.details else None
    if request.version >= (2, 62):
        shown["hostId"] = host_digest(tale.project_id, event.host)
        if operator:
            shown["host"] = event.host
    if request.version >= (2, 84) and request.permits(f"{_EVENTS}:details"):
        shown["details"] = event.details or None
    return shown


def _touched(tale: Tale) -> int:
    """When something was last heard of an action."""
    return max([tale.started_at, tale.finished_at or 0, *(e.finished_at for e in tale.events)])


def _changed(tales: Sequence[Tale], request: Request) -> list[Tale]:
    since = parse_moment(request.query_one("changes-since") or "")
    before = parse_moment(request.query_one("changes-before") or "")
    if since is not None and before is not None and since > before:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    return [t for t in tales if (since is None or _touched(t) >= since) and (before is None or _touched(t) <= before)]


def _after(tales: list[Tale], marker: str | None) -> list[Tale]:
    if marker is None:
        return tales
    for index, tale in enumerate(tales):
        if tale.request_id == marker:
            return tales[index + 1 :]
    raise Invalid(f"Marker {marker[:64]} not found.")
