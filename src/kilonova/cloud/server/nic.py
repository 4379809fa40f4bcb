"""NICs that a server gets, or gives back, while it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.network.attachment import Attachments
from kilonova.cloud.network.model import Nic, NicRequest, Port
from kilonova.cloud.server import store
from kilonova.cloud.server.command import Act, Commands
from kilonova.cloud.server.model import NicView, Server
from kilonova.core.context import ALL, Context, Scope
from kilonova.core.errors import Failure, NotFound
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops.start import Operations

LOOK_SECONDS: Final = (0.02, 0.25)


class ServerNics:
    """See `ServerActions` for what every command raises. `patience`: for how many seconds a caller waits until the
    guest has, or has let go of, its NIC; what takes longer goes on without the caller."""

    def __init__(self, db: Database, operations: Operations, attachments: Attachments, patience: float = 20.0) -> None:
        self._db = db
        self._commands = Commands(db, operations)
        self._attachments = attachments
        self._patience = patience

    async def attach(self, context: Context, scope: Scope, server_id: str, request: NicRequest) -> Port:
        """One more NIC. Raises NotFound, Invalid, Conflict, QuotaExceeded for what it asks for; Failure when the guest
        did not take it, and has given it back."""
        made: list[Port] = []

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            where = {"host_id": server.host_id or "", "hostname": server.hostname, "project_id": server.project_id}
            made[:] = [self._attachments.attach(tx, context, request, server_id=server.id, **where)]
            return {}, {"port": made[0].id, "phase": server.phase}

        await self._commands.act(context, scope, server_id, Act("attach_interface"), prepare)
        await self._until_done(server_id, "attaching")
        try:
            return await self._db.read(lambda tx: self._attachments.find(tx, server_id, made[0].id))
        except NotFound:
            raise Failure(f"Failed to attach network adapter device to {server_id}") from None

    async def detach(self, context: Context, scope: Scope, server_id: str, port_id: str) -> None:
        """Take a NIC away; its port goes with it if it was made for the server. Raises NotFound for one that the server
        does not have."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            return {}, {"port": self._attachments.find(tx, server.id, port_id).id, "phase": server.phase}

        await self._commands.act(context, scope, server_id, Act("detach_interface"), prepare)
        await self._until_done(server_id, "detaching")

    async def _until_done(self, server_id: str, doing: str) -> None:
        pause, longest = LOOK_SECONDS
        with_patience = asyncio.timeout(self._patience)
        try:
            async with with_patience:
                while await self._is(server_id, doing):
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, longest)
        except TimeoutError:
            if not with_patience.expired():
                raise

    async def _is(self, server_id: str, doing: str) -> bool:
        try:
            server = await self._db.read(lambda tx: store.get(tx, ALL, server_id))
        except NotFound:
            return False
        return server.phase.partition(".")[2] == doing


def view_of(nic: Nic) -> NicView:
    """What a server's row keeps of a NIC."""
    return NicView(
        port_id=nic.port_id,
        network_id=nic.network_id,
        network_label=nic.network_label,
        mac=nic.mac,
        addresses=tuple((a.subnet_id, a.address, a.version) for a in nic.addresses),
        floating=nic.floating,
    )
