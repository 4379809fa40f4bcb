"""`/os-migrations` (API reference "Migrations"): resizes and moves of servers between hosts."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.server.model import Migration
from kilonova.cloud.server.move import ServerMoves
from kilonova.core.errors import Invalid, NotFound
from kilonova.edge.openstack.compute.link import exact, page_path, parse_moment
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import MOMENT, PAGE_ONCE, TEXT, strict_from
from kilonova.edge.openstack.page import next_links, read_page
from kilonova.kit.http import Request, Route, single

_FILTERS: Final = {
    "host": "host",
    "instance_uuid": "server_id",
    "source_compute": "source",
    "status": "status",
    "migration_type": "kind",
    "user_id": "user_id",
    "project_id": "project_id",
}
"""Parameters that are columns, and how those are called."""
_OWNERS: Final = ("user_id", "project_id")
_FIRST: Final = dict.fromkeys(("host", "hidden", "instance_uuid", "source_compute", "status", "migration_type"))
_QUERY: Final = strict_from(
    59,
    {
        1: {name: single(TEXT) for name in _FIRST},
        59: {**PAGE_ONCE, "changes-since": single(MOMENT)},
        66: {"changes-before": single(MOMENT)},
        80: {name: single(TEXT) for name in _OWNERS},
    },
)


class MigrationRoutes:
    """Handlers of what was moved."""

    def __init__(self, moves: ServerMoves) -> None:
        self._moves = moves

    def routes(self) -> list[Route]:
        return [Route("GET", "/os-migrations", self.index, f"{PREFIX}os-migrations:index", query=_QUERY)]

    async def index(self, request: Request) -> dict[str, Any]:
        """API reference "List Migrations"; the newest first."""
        asked = _FILTERS if request.version >= (2, 80) else {k: v for k, v in _FILTERS.items() if k not in _OWNERS}
        filters: dict[str, Any] = {
            column: value for name, column in asked.items() if (value := request.query_one(name))
        }
        filters |= _moments(request)
        if request.version < (2, 59):
            found = await self._moves.migrations(reach(request), filters)
            return {"migrations": [_view(one, request) for one in found]}
        page = read_page(request)
        try:
            found = await self._moves.migrations(reach(request), filters, page.marker, page.limit + 1)
        except NotFound as failure:
            raise Invalid(failure.message) from None
        shown = found[: page.limit]
        last = shown[-1].uuid if found[page.limit :] else None
        links = next_links(request, "migrations", page_path(request), last)
        return {"migrations": [_view(one, request) for one in shown], **links}


def _moments(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, column, since in (("changes-since", "changed_since", 59), ("changes-before", "changed_before", 66)):
        text = request.query_one(name) if request.version >= (2, since) else None
        if text and (at := parse_moment(text)) is not None:
            found[column] = at
    return found


def _view(one: Migration, request: Request) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": one.id, "instance_uuid": one.server_id, "status": one.status,
        "source_compute": one.source, "source_node": one.source,
        "dest_compute": one.dest, "dest_node": one.dest, "dest_host": one.dest,
        "old_instance_type_id": _number(one.old_flavor), "new_instance_type_id": _number(one.new_flavor),
        "created_at": exact(one.created_at), "updated_at": exact(one.updated_at),
    }  # fmt: skip
    if request.version >= (2, 23):
        shown["migration_type"] = one.kind
    if request.version >= (2, 59):
        shown["uuid"] = one.uuid
    if request.version >= (2, 80):
        shown |= {"user_id": one.user_id, "project_id": one.project_id}
    return shown


def _number(flavor_id: str) -> int | None:
    """Nova's own number of a flavor, which ours have none of unless they are called by one."""
    return int(flavor_id) if flavor_id.isdecimal() else None
