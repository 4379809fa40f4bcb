"""What other services tell of servers: their ports changed, or somebody else switched them on or off."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from kilonova.cloud.network.attachment import Attachments
from kilonova.cloud.network.model import Change
from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.nic import ServerNics
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, NotFound
from kilonova.kit.db import Database, Tx

Name = Literal[
    "network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "power-update",
    "volume-extended", "volume-reimaged", "accelerator-request-bound",
]  # fmt: skip
HEARD: Final = frozenset(
    {"network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "power-update"}
)
"""Those that mean something here; servers have neither volumes nor accelerators."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event: `tag` is a port for those of the network. `code` is what became of it, as an HTTP status."""

    name: str
    server_id: str
    status: str
    tag: str
    code: int = 200


class OutsideEvents:
    """Each event is looked at by itself. `refresh` is told of ports whose servers' rows are to be looked at."""

    def __init__(
        self, db: Database, nodes: Nodes, attachments: Attachments, nics: ServerNics, refresh: Callable[[Change], None]
    ) -> None:
        self._db = db
        self._nodes = nodes
        self._attachments = attachments
        self._nics = nics
        self._refresh = refresh

    async def hear(self, context: Context, events: Collection[Told]) -> list[Told]:
        """What became of each: 404 for an unknown server, 422 for one on no host and for what it does not have."""
        return [await self._hear(context, one) for one in events]

    async def _hear(self, context: Context, told: Told) -> Told:
        try:
            await self._db.read(lambda tx: store.get(tx, ALL, told.server_id))
        except NotFound:
            return replace(told, status="failed", code=404)
        if told.name not in HEARD or not await self._act(context, told):
            return replace(told, status="failed", code=422)
        return told

    async def _act(self, context: Context, told: Told) -> bool:
        if told.name == "network-vif-deleted":
            try:
                await self._nics.detach(context, ALL, told.server_id, told.tag)
            except (NotFound, Conflict):
                return False
            return True
        return await self._db.write(lambda tx: self._note(tx, told))

    def _note(self, tx: Tx, told: Told) -> bool:
        server = store.get(tx, ALL, told.server_id)
        guest = guest_store.get(tx, server.host_id or "", server.id)
        if guest is None:
            return False
        if told.name == "power-update":
            self._nodes.nudge(tx, guest.host_id, guest.spec)
        elif told.name == "network-changed":
            for nic in server.nics:
                tx.after_commit(partial(self._refresh, Change("port", nic.port_id)))
        elif not self._attachments.turn(tx, server.id, told.tag, active=told.name == "network-vif-plugged"):
            return False
        return True
