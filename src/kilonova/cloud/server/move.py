"""Commands that take a server from its host, or bring it to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kilonova.cloud.host import store as hosts
from kilonova.cloud.placement.demand import takes_something
from kilonova.cloud.server import migration_store
from kilonova.cloud.server.command import Act, Commands
from kilonova.cloud.server.imaging import Images, describe
from kilonova.cloud.server.model import Migration, Server
from kilonova.core.context import Context, Scope
from kilonova.core.errors import Conflict, Invalid, NotBuilt
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops.start import Operations


class ServerMoves:
    """See `ServerActions` for what every command raises."""

    def __init__(self, db: Database, operations: Operations, images: Images) -> None:
        self._db = db
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
            if server.flavor.ephemeral_gb:
                raise NotBuilt("Moving a server that has an ephemeral disk is not implemented")
            if takes_something(server.flavor.extra_specs):
                raise NotBuilt("Moving a server that has resources beside its flavor's sizes is not implemented")
            frame = {"flavor": msgspec.to_builtins(server.flavor), "phase": server.phase, "mark": ""}
            return {}, {**frame, "host": host_id, "leaves": True}

        await self._commands.act(context, scope, server_id, Act("migrate"), prepare)

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
