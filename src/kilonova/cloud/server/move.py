"""Commands that take a server from its host, or bring it to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from kilonova.cloud.host import store as hosts
from kilonova.cloud.placement.demand import takes_something
from kilonova.cloud.server import guest_store, migration_store, store
from kilonova.cloud.server.command import Act, Commands, refuse_locked
from kilonova.cloud.server.imaging import Images, describe
from kilonova.cloud.server.model import FlavorCopy, Migration, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.context import Context, Scope
from kilonova.core.errors import Conflict, Invalid, NotBuilt, NotFound
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops.start import Operations

UNDER_WAY: Final = ("preparing", "running", "post-migrating", "cancelling")


@dataclass(frozen=True, slots=True)
class Transfer:
    """A live migration under way, and how many percent of it are done."""

    migration: Migration
    percent: int
    flavor: FlavorCopy


class ServerMoves:
    """See `ServerActions` for what every command raises."""

    def __init__(self, db: Database, operations: Operations, images: Images, nodes: Nodes) -> None:
        self._db = db
        self._operations = operations
        self._nodes = nodes
        self._commands = Commands(db, operations)
        self._images = images

    async def migrations(
        self, scope: Scope, filters: Mapping[str, Any], marker: str | None = None, limit: int = 1000
    ) -> list[Migration]:
        """A page of moves and resizes, the newest first (see migration_store.page). Raises NotFound."""
        return await self._db.read(lambda tx: migration_store.page(tx, scope, filters, marker=marker, limit=limit))

    async def shelve(self, context: Context, scope: Scope, server_id: str) -> None:
        """Keep a server as an image and free its host of it. Raises QuotaExceeded."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            wanted = describe(server, f"{server.name}-shelved"[:255], {"image_type": "snapshot"})
            image = self._images.draft(tx, server.project_id, wanted)
            return {}, {"image": image.id, "phase": server.phase}

        await self._commands.act(context, scope, server_id, Act("shelve"), prepare)

    async def refuse_offload(self, scope: Scope, server_id: str) -> None:
        """A shelved server is on no host already: there is nothing to take from one. Raises Conflict, NotFound."""
        server = await self._commands.look(scope, server_id)
        raise Conflict(f"Instance {server_id} has nothing to offload", event="shelve_offload", state=server.phase)

    async def unshelve(
        self, context: Context, scope: Scope, server_id: str, zone: str | None, host_id: str | None
    ) -> None:
        """Bring a shelved server to a host, this one or one of this zone if they are given."""
        act = Act("unshelve", frame={"zone": zone, "host": host_id}, homeless=True)
        await self._commands.act(context, scope, server_id, act)

    async def migrate(self, context: Context, scope: Scope, server_id: str, host_id: str | None) -> None:
        """Stop a server and start it on another host (this one if it is given), to be confirmed or reverted. Raises
        Invalid for the host that it is on, NotBuilt for one with disks that are not copied."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            if host_id == server.host_id:
                raise Invalid(f"The target host {server.host_name} is the one that the server is on.")
            if not server.flavor.is_portable:
                raise NotBuilt("Moving a server that has an ephemeral disk is not implemented")
            _refuse_devices(server)
            frame = {"flavor": msgspec.to_builtins(server.flavor), "phase": server.phase, "mark": ""}
            return {}, {**frame, "host": host_id, "leaves": True}

        await self._commands.act(context, scope, server_id, Act("migrate"), prepare)

    async def live_migrate(self, context: Context, scope: Scope, server_id: str, host_id: str | None) -> None:
        """Take a server to another host (this one if it is given) while it runs. Raises Invalid for the host that it is
        on, or when that is down."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            if host_id == server.host_id:
                raise Invalid(f"The target host {server.host_name} is the one that the server is on.")
            if not hosts.get(tx, server.host_id or "").up:
                raise Invalid(f"Compute service of {server.host_name} is unavailable at this time.")
            _refuse_devices(server)
            return {}, {"phase": server.phase, "host": host_id}

        act = Act("live_migrate", action="live-migration")
        await self._commands.act(context, scope, server_id, act, prepare)

    async def cancel(self, context: Context, scope: Scope, server_id: str, number: int, *, early: bool) -> None:
        """Keep a server where it is that is being taken elsewhere while it runs, if it has not gone; `early` also while
        that is only prepared. Raises NotFound, Invalid when that has ended."""
        allowed = ("preparing", "running") if early else ("running",)
        await self._steer(context, scope, server_id, number, allowed, "cancelling", abort=True)

    async def force_complete(self, context: Context, scope: Scope, server_id: str, number: int) -> None:
        """Let a server stand still for as long as the rest of its transfer takes. Raises NotFound, Invalid."""
        await self._steer(context, scope, server_id, number, ("running",), "running", hurry=True)

    async def _steer(
        self,
        context: Context,
        scope: Scope,
        server_id: str,
        number: int,
        allowed: tuple[str, ...],
        status: str,
        **change: bool,
    ) -> None:
        def work(tx: Tx) -> None:
            server = store.lock(tx, scope, server_id)
            refuse_locked(context, server)
            move = _find(tx, scope, server_id, number)
            if move.kind != "live-migration" or move.status not in allowed:
                raise Invalid(
                    f"Migration {number} state of instance {server_id} is {move.status}. Cannot do this while the "
                    "migration is in this state."
                )
            migration_store.advance(tx, move.uuid, status)
            guest = guest_store.get(tx, server.host_id or "", server_id)
            if guest is not None and guest.spec.send_to:
                spec = msgspec.structs.replace(guest.spec, version=guest.spec.version + 1, **change)
                guest_store.desire(tx, guest.host_id, spec)
                self._nodes.nudge(tx, guest.host_id, spec)
            self._operations.notify(tx, "guest", [server_id])

        await self._db.write(work)

    async def transfers(self, scope: Scope, server_id: str, number: int | None = None) -> list[Transfer]:
        """The live migrations of a server that are under way (this one), with how far they are. Raises NotFound."""

        def work(tx: Tx) -> list[Transfer]:
            server = store.get(tx, scope, server_id)
            filters = {"server_id": server_id, "kind": "live-migration"}
            going = [m for m in migration_store.page(tx, scope, filters, limit=5) if m.status in UNDER_WAY]
            guest = guest_store.get(tx, server.host_id or "", server_id)
            done = guest.observed.progress if guest is not None and guest.observed is not None else 0
            found = [Transfer(m, done, server.flavor) for m in going if number in (None, m.id)]
            if number is not None and not found:
                raise NotFound(f"In-progress live migration {number} is not found for server {server_id}.")
            return found

        return await self._db.read(work)

    async def evacuate(
        self, context: Context, scope: Scope, server_id: str, host_id: str | None, password: str, *, stopped: bool
    ) -> None:
        """Make a server whose host is down anew elsewhere, from its image; off if it was, or with `stopped`. Raises
        Invalid when its host is up, or is the one asked for."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            away = server.host_id or ""
            if hosts.get(tx, away).up:
                raise Invalid(f"Compute service of {server.host_name} is still in use.")
            if host_id == away:
                raise Invalid(f"The target host {server.host_name} is the one that the server is on.")
            off = stopped or server.phase == "stopped"
            return {"admin_password": password}, {"host": host_id, "stopped": off, "from": away}

        await self._commands.act(context, scope, server_id, Act("evacuate"), prepare)


def _refuse_devices(server: Server) -> None:
    if takes_something(server.flavor.extra_specs):
        raise NotBuilt("Moving a server that has resources beside its flavor's sizes is not implemented")


def _find(tx: Tx, scope: Scope, server_id: str, number: int) -> Migration:
    found = migration_store.page(tx, scope, {"server_id": server_id, "id": number}, limit=1)
    if not found:
        raise NotFound(f"Migration {number} for server {server_id} could not be found.")
    return found[0]
