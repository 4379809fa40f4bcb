"""What every command on a server does: check lock and state, move the row, write the operation; one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from kilonova.cloud.server import store
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.phase import MACHINE
from kilonova.core.context import Context, Scope
from kilonova.core.errors import Conflict, Lost
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Lock
from kilonova.kit.ops.start import Operations

Prepare = Callable[[Tx, Server], tuple[Mapping[str, Any], Mapping[str, Any]]]
"""More to check and to do for a command: (columns of the server, additions to the frame)."""


T = TypeVar("T")
ATTEMPTS: Final = 5
_FLOWS: Final = {"reset": "server_reboot", "migrate": "server_resize"}


def flow_of(event: str) -> str:
    """The name of the flow that an event begins."""
    return _FLOWS.get(event, f"server_{event}")


@dataclass(frozen=True, slots=True)
class Act:
    """What a command does: `event` moves the server, its flow does the work, `action` is its public name.

    `homeless`: also for a server that is on no host.
    """

    event: str
    action: str = ""
    frame: Mapping[str, Any] = field(default_factory=dict)
    homeless: bool = False


class Commands:
    """Begins what is to be done to a server."""

    def __init__(self, db: Database, operations: Operations) -> None:
        self._db = db
        self._operations = operations

    async def act(
        self, context: Context, scope: Scope, server_id: str, act: Act, prepare: Prepare | None = None
    ) -> Server:
        """Move the server and start the flow. Raises NotFound; Conflict when it is locked, in another state, or
        without a host."""

        def work(tx: Tx) -> Server:
            server = (store.get if prepare else store.lock)(tx, scope, server_id)
            refuse_locked(context, server)
            MACHINE.next(act.event, server.phase)
            if server.host_id is None and act.event != "stop" and not act.homeless:
                raise Conflict(f"Instance {server_id} has no host", event=act.event, state=server.phase)
            # What it prepares may lock quota, which comes before servers; a server that changed meanwhile is Lost.
            columns, more = prepare(tx, server) if prepare else ({}, {})
            moved = store.move(tx, server, act.event, **columns)
            self.start(tx, context, moved, act, {**act.frame, **more})
            return moved

        return await insist(self._db, work, server_id)

    async def look(self, scope: Scope, server_id: str) -> Server:
        """The server as it is. Raises NotFound."""
        return await self._db.read(lambda tx: store.get(tx, scope, server_id))

    def start(self, tx: Tx, context: Context, server: Server, act: Act, frame: dict[str, Any] | None = None) -> None:
        """Write the operation that does it."""
        self._operations.start(
            tx, flow_of(act.event), Lock("server", server.id), frame or dict(act.frame),
            action=act.action or act.event, project_id=server.project_id, user_id=context.user_id,
            request_id=context.request_id,
        )  # fmt: skip


async def insist(db: Database, work: Callable[[Tx], T], server_id: str) -> T:
    """`work`, again while somebody else moves the server between its look and its move. Raises Conflict."""
    for _ in range(ATTEMPTS):
        with suppress(Lost):
            return await db.write(work)
    raise Conflict(f"Instance {server_id} is being changed by others")


def refuse_locked(context: Context, server: Server) -> None:
    """Raises Conflict when the server is locked against its caller."""
    if server.locked and not context.is_admin:
        raise Conflict(f"Instance {server.id} is locked", state=server.phase)
