"""`/os-migrations` (API reference "Migrations"): resizes and moves of servers between hosts."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.server.model import Migration
from kilonova.cloud.server.move import ServerMoves, Transfer
from kilonova.core.errors import Invalid, NotFound
from kilonova.edge.openstack.compute.link import exact, page_path, parse_moment
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import MOMENT, PAGE_ONCE, TEXT, strict_from
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.edge.openstack.page import next_links, read_page
from kilonova.kit.http import Request, Route, single
from kilonova.kit.http.schema import JsonSchema

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


_COMPLETE: Final[JsonSchema] = {
    "type": "object", "properties": {"force_complete": {"type": "null"}}, "required": ["force_complete"],
    "additionalProperties": False,
}  # fmt: skip
CHUNK: Final = 1000
MIB: Final = 1 << 20
GIB: Final = 1 << 30


class MigrationRoutes:
    """Handlers of what was moved."""

    def __init__(self, moves: ServerMoves) -> None:
        self._moves = moves

    def routes(self) -> list[Route]:
        every = "/servers/{server_id}/migrations"
        one, rule = every + "/{migration_id}", f"{PREFIX}servers:migrations:"
        since = (2, 23)
        return [
            Route("GET", "/os-migrations", self.index, f"{PREFIX}os-migrations:index", query=_QUERY),
            Route("GET", every, self.index_of_server, f"{rule}index", min_version=since),
            Route("GET", one, self.show, f"{rule}show", min_version=since),
            Route("DELETE", one, self.cancel, f"{rule}delete", min_version=(2, 24), success=202),
            Route(
                "POST", f"{one}/action", self.force_complete, f"{rule}force_complete", schema=_COMPLETE,
                action="force_complete", min_version=(2, 22), success=202,
            ),
        ]  # fmt: skip

    async def index_of_server(self, request: Request) -> dict[str, Any]:
        """API reference "List Migrations" of a server: the live ones that are under way."""
        found = await self._moves.transfers(reach(request), server_id(request))
        return {"migrations": [_transfer(one, request) for one in found]}

    async def show(self, request: Request) -> dict[str, Any]:
        [found] = await self._moves.transfers(reach(request), server_id(request), _number_of(request))
        return {"migration": _transfer(found, request)}

    async def cancel(self, request: Request) -> None:
        """API reference "Delete (Abort) Migration"; from 2.65 also one that is only being prepared."""
        early = request.version >= (2, 65)
        number = _number_of(request)
        await self._moves.cancel(request.context, reach(request), server_id(request), number, early=early)

    async def force_complete(self, request: Request) -> None:
        number = _number_of(request)
        await self._moves.force_complete(request.context, reach(request), server_id(request), number)

    async def index(self, request: Request) -> dict[str, Any]:
        """API reference "List Migrations"; the newest first."""
        asked = _FILTERS if request.version >= (2, 80) else {k: v for k, v in _FILTERS.items() if k not in _OWNERS}
        filters: dict[str, Any] = {
            column: value for name, column in asked.items() if (value := request.query_one(name))
        }
        filters |= _moments(request)
        if request.version < (2, 59):
            return {"migrations": [_view(one, request) for one in await self._all(request, filters)]}
        page = read_page(request)
        try:
            found = await self._moves.migrations(reach(request), filters, page.marker, page.limit + 1)
        except NotFound as failure:
            raise Invalid(failure.message) from None
        shown = found[: page.limit]
        last = shown[-1].uuid if found[page.limit :] else None
        links = next_links(request, "migrations", page_path(request), last)
        return {"migrations": [_view(one, request) for one in shown], **links}

    async def _all(self, request: Request, filters: dict[str, Any]) -> list[Migration]:
        """What was answered before there were pages."""
        found = part = await self._moves.migrations(reach(request), filters, limit=CHUNK)
        while len(part) == CHUNK:
            part = await self._moves.migrations(reach(request), filters, part[-1].uuid, CHUNK)
            found = found + part
        return found


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


def _transfer(one: Transfer, request: Request) -> dict[str, Any]:
    """A live migration under way. Of its bytes only the share that is done is known."""
    move, memory, disk = one.migration, one.flavor.memory_mb * MIB, one.flavor.root_gb * GIB
    shown: dict[str, Any] = {
        "id": move.id, "server_uuid": move.server_id, "status": move.status,
        "source_compute": move.source, "source_node": move.source,
        "dest_compute": move.dest, "dest_node": move.dest, "dest_host": move.dest,
        "created_at": exact(move.created_at), "updated_at": exact(move.updated_at),
    }  # fmt: skip
    for name, total in (("memory", memory), ("disk", disk)):
        done = total * one.percent // 100
        shown |= {
            f"{name}_total_bytes": total,
            f"{name}_processed_bytes": done,
            f"{name}_remaining_bytes": total - done,
        }
    if request.version >= (2, 59):
        shown["uuid"] = move.uuid
    if request.version >= (2, 80):
        shown |= {"user_id": move.user_id, "project_id": move.project_id}
    return shown


def _number_of(request: Request) -> int:
    text = request.params["migration_id"]
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise NotFound(f"Migration {text[:64]} for server {server_id(request)} could not be found.")
    return int(text)


def _number(flavor_id: str) -> int | None:
    """Nova's own number of a flavor, which ours have none of unless they are called by one."""
    return int(flavor_id) if flavor_id.isdecimal() else None
