"""What is done to a running guest at once: no state changes, nothing is kept but that it was asked for."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

import msgspec

from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.command import refuse_locked
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.phase import is_settled
from kilonova.core.context import Context, Scope
from kilonova.core.errors import Conflict, Failure
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Lock
from kilonova.kit.ops.start import Operations
from kilonova.wire.node import Diagnostics

AWAKE: Final = frozenset({"active", "paused", "rescued", "resized", "error"})
RUNNING: Final = frozenset({"active", "paused", "rescued", "resized"})


class Attendance:
    """Each command raises NotFound; Conflict when the server is locked, in another state, or its guest cannot;
    Unavailable when its host does not answer."""

    def __init__(self, db: Database, operations: Operations, nodes: Nodes, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._operations = operations
        self._nodes = nodes

    async def set_password(self, context: Context, scope: Scope, server_id: str, password: str) -> None:
        """Change the password of the guest's administrator (image property `os_admin_user`) by the guest's agent."""
        server = await self._look(context, scope, server_id, frozenset({"active"}), "set_admin_password")
        properties = server.image.get("properties") or {}
        usual = "Administrator" if properties.get("os_type") == "windows" else "root"
        user = str(properties.get("os_admin_user") or usual)
        work = self._nodes.set_password(server.host_id or "", server.id, user, password)
        await self._note(context, server, "changePassword", work)

    async def interrupt(self, context: Context, scope: Scope, server_id: str) -> None:
        """Send a non-maskable interrupt, at which a guest that is set up for it writes its memory down."""
        server = await self._look(context, scope, server_id, AWAKE, "trigger_crash_dump")
        work = self._nodes.interrupt(server.host_id or "", server.id)
        await self._note(context, server, "trigger_crash_dump", work)

    async def clear_password(self, scope: Scope, server_id: str) -> None:
        """Forget what the guest told as its password; it may tell another one."""

        def work(tx: Tx) -> None:
            server = store.lock(tx, scope, server_id)
            store.edit(tx, scope, server_id, password="")
            guest = guest_store.get(tx, server.host_id or "", server_id)
            if guest is not None and is_settled(server.phase):
                spec = guest.spec
                values = {"version": spec.version + 1, "password_clears": spec.password_clears + 1}
                spec = msgspec.structs.replace(spec, **values)
                guest_store.desire(tx, guest.host_id, spec)
                self._nodes.nudge(tx, guest.host_id, spec)

        await self._db.write(work)

    async def diagnose(self, scope: Scope, server_id: str) -> tuple[Server, Diagnostics]:
        """What a running guest used since it was started."""
        server = await self._db.read(lambda tx: store.get(tx, scope, server_id))
        _refuse_state(server, RUNNING, "get_diagnostics")
        return server, await self._nodes.diagnose(server.host_id or "", server.id)

    async def _look(self, context: Context, scope: Scope, server_id: str, states: frozenset[str], event: str) -> Server:
        server = await self._db.read(lambda tx: store.get(tx, scope, server_id))
        refuse_locked(context, server)
        _refuse_state(server, states, event)
        return server

    async def _note(self, context: Context, server: Server, action: str, work: Awaitable[None]) -> None:
        """Do it, and write down that it was done, or why not."""
        began = self._clock.now()
        try:
            await work
        except Failure as failure:
            await self._record(context, server, action, began, failure.message)
            raise
        await self._record(context, server, action, began, None)

    async def _record(self, context: Context, server: Server, action: str, began: int, error: str | None) -> None:
        await self._db.write(
            lambda tx: self._operations.record(
                tx, Lock("server", server.id), action, project_id=server.project_id, user_id=context.user_id,
                request_id=context.request_id, started_at=began, error=error,
            )
        )  # fmt: skip


def _refuse_state(server: Server, states: frozenset[str], event: str) -> None:
    if server.phase not in states:
        told: dict[str, Any] = {"event": event, "state": server.phase, "allowed": sorted(states)}
        raise Conflict(f"Instance {server.id} cannot do that now", **told)
    if server.host_id is None:
        raise Conflict(f"Instance {server.id} is not ready", state=server.phase)
