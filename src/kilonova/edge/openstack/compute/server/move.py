"""Shelving, unshelving, migrating and evacuating servers (API reference "Servers - run an action" and "… an
administrative action")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.host.service import HostService
from kilonova.cloud.server.move import ServerMoves
from kilonova.core.errors import Forbidden, Invalid, NotFound
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import BOOLEAN, HOST, NAME, boxed, is_true, record
from kilonova.edge.openstack.compute.server.attempt import PATH, attempt
from kilonova.edge.openstack.compute.server.create import new_password
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.kit.http import Request, Response, Route, VersionedSchemas
from kilonova.kit.http.route import Handler
from kilonova.kit.http.schema import JsonSchema

_PASSWORD: Final[JsonSchema] = {"type": "string", "maxLength": 255, "format": "printable"}
_EVACUATE: Final = VersionedSchemas(
    {
        (2, 1): boxed("evacuate", record({"host": HOST, "onSharedStorage": BOOLEAN, "adminPass": _PASSWORD},
                                         "onSharedStorage")),
        (2, 14): boxed("evacuate", record({"host": HOST, "adminPass": _PASSWORD})),
        (2, 29): boxed("evacuate", record({"host": HOST, "adminPass": _PASSWORD, "force": BOOLEAN})),
        (2, 68): boxed("evacuate", record({"host": HOST, "adminPass": _PASSWORD})),
    }
)  # fmt: skip


def _unshelving(**properties: JsonSchema) -> JsonSchema:
    inner = {"type": ["object", "null"], "properties": properties, "additionalProperties": False, "minProperties": 1}
    return boxed("unshelve", inner)


_UNSHELVE: Final = VersionedSchemas(
    {
        (2, 1): {"type": "object"},
        (2, 77): _unshelving(availability_zone=NAME),
        (2, 91): _unshelving(availability_zone={**NAME, "type": ["string", "null"]}, host=HOST),
    }
)


_MIGRATE: Final = VersionedSchemas(
    {
        (2, 1): {"type": "object"},
        (2, 56): boxed(
            "migrate",
            {"type": ["object", "null"], "properties": {"host": HOST}, "additionalProperties": False},
        ),
    }
)


_BOTH: Final = ("host", "block_migration")
_TARGET: Final[JsonSchema] = {**HOST, "type": ["string", "null"]}
_BLOCK: Final[JsonSchema] = {"anyOf": [BOOLEAN, {"enum": ["auto"]}]}
_LIVE: Final = VersionedSchemas(
    {
        (2, 1): boxed("os-migrateLive", record(
            {"host": _TARGET, "block_migration": BOOLEAN, "disk_over_commit": BOOLEAN}, *_BOTH, "disk_over_commit")),
        (2, 25): boxed("os-migrateLive", record({"host": _TARGET, "block_migration": _BLOCK}, *_BOTH)),
        (2, 30): boxed("os-migrateLive", record(
            {"host": _TARGET, "block_migration": _BLOCK, "force": BOOLEAN}, *_BOTH)),
        (2, 68): boxed("os-migrateLive", record({"host": _TARGET, "block_migration": _BLOCK}, *_BOTH)),
    }
)  # fmt: skip


def _permit(request: Request, name: str) -> None:
    """Raises Forbidden where policy does not let the caller name a host."""
    rule = PREFIX + name
    if not request.permits(rule):
        raise Forbidden(f"Policy doesn't allow {rule} to be performed.", rule=rule)


class MoveRoutes:
    """Handlers of actions that change where a server is."""

    def __init__(self, moves: ServerMoves, hosts: HostService) -> None:
        self._moves = moves
        self._hosts = hosts

    def routes(self) -> list[Route]:
        return [
            self._route("shelve", self.shelve, "os-shelve:shelve"),
            self._route("shelveOffload", self.offload, "os-shelve:shelve_offload"),
            self._route("unshelve", self.unshelve, "os-shelve:unshelve", _UNSHELVE),
            self._route("migrate", self.migrate, "os-migrate-server:migrate", _MIGRATE),
            self._route("os-migrateLive", self.migrate_live, "os-migrate-server:migrate_live", _LIVE),
            self._route("evacuate", self.evacuate, "os-evacuate", _EVACUATE, 200),
        ]

    def _route(self, action: str, handler: Handler, rule: str, body: Any = None, success: int = 202) -> Route:
        return Route("POST", PATH, handler, PREFIX + rule, schema=body, action=action, success=success)

    async def shelve(self, request: Request) -> None:
        """API reference "Shelve Server"; it is offloaded at once."""
        identifier = server_id(request)
        await attempt("shelve", identifier, self._moves.shelve(request.context, reach(request), identifier))

    async def offload(self, request: Request) -> None:
        identifier = server_id(request)
        await attempt("shelveOffload", identifier, self._moves.refuse_offload(reach(request), identifier))

    async def unshelve(self, request: Request) -> None:
        """API reference "Unshelve Server": from 2.77 to a zone, from 2.91 to a host."""
        asked = request.json["unshelve"] or {} if request.version >= (2, 77) else {}
        identifier, zone = server_id(request), asked.get("availability_zone")
        if zone is not None and zone not in await self._hosts.zones():
            raise Invalid("The requested availability zone is not available")
        host = None
        if (named := asked.get("host")) is not None:
            _permit(request, "os-shelve:unshelve_to_host")
            host = await self._find(named)
        work = self._moves.unshelve(request.context, reach(request), identifier, zone, host)
        await attempt("unshelve", identifier, work)

    async def migrate(self, request: Request) -> None:
        """API reference "Migrate Server"; from 2.56 to a host."""
        asked = request.json["migrate"] or {} if request.version >= (2, 56) else {}
        identifier, host = server_id(request), None
        if (named := asked.get("host")) is not None:
            _permit(request, "os-migrate-server:migrate:host")
            host = await self._find(named)
        await attempt("migrate", identifier, self._moves.migrate(request.context, reach(request), identifier, host))

    async def migrate_live(self, request: Request) -> None:
        """API reference "Live-Migrate Server". No storage is shared: disks go with the server."""
        asked, identifier, host = request.json["os-migrateLive"], server_id(request), None
        if (named := asked["host"]) is not None:
            _permit(request, "os-migrate-server:migrate_live:host")
            host = await self._find(named)
        if asked["block_migration"] != "auto" and not is_true(asked["block_migration"]):
            raise Invalid("No storage is shared between hosts: block_migration must be true or auto.")
        work = self._moves.live_migrate(request.context, reach(request), identifier, host)
        await attempt("os-migrateLive", identifier, work)

    async def evacuate(self, request: Request) -> Response:
        """API reference "Evacuate Server". There is no shared storage: the disk is made anew from the image."""
        asked, identifier = request.json["evacuate"], server_id(request)
        password = asked.get("adminPass") or new_password()
        host = await self._find(asked["host"]) if asked.get("host") else None
        stopped = request.version >= (2, 95)
        work = self._moves.evacuate(request.context, reach(request), identifier, host, password, stopped=stopped)
        await attempt("evacuate", identifier, work)
        shown: Mapping[str, Any] = {"adminPass": password}
        return Response.json(shown) if request.version < (2, 14) else Response(200)

    async def _find(self, name: str) -> str:
        try:
            return (await self._hosts.find(name)).id
        except NotFound as failure:
            raise Invalid(failure.message) from None
