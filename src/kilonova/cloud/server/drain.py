"""Taking every server from a host: asked for once, done by the flow `host_drain`, resumed after a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kilonova.cloud.host import store as hosts
from kilonova.cloud.server import store
from kilonova.core.context import Context
from kilonova.core.errors import Conflict
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Lock
from kilonova.kit.ops.start import Operations
from kilonova.kit.ops.story import latest

FLOW: Final = "host_drain"
REASON: Final = "drained"


@dataclass(frozen=True, slots=True)
class Drain:
    """How far a host is. `state`: none, running, done, failed or cancelled. `left`: servers that are still there by
    their phase; `failed`: why a server stays, by its id."""

    state: str
    total: int
    left: Mapping[str, str]
    failed: Mapping[str, str]
    started_at: int = 0
    finished_at: int = 0


class Drains:
    """Draining of hosts. Each raises NotFound for an unknown host."""

    def __init__(self, db: Database, operations: Operations) -> None:
        self._db = db
        self._operations = operations

    async def start(self, context: Context, host_id: str, reason: str = "") -> Drain:
        """Let the scheduler choose the host no more, and move its servers away; again while that goes on changes
        nothing. Raises Conflict when the host is down."""

        def work(tx: Tx) -> None:
            host = hosts.get(tx, host_id)
            if not host.up:
                raise Conflict(f"Host {host.name} is down: evacuate its servers")
            known = latest(tx, "host", host_id, FLOW)
            if known is not None and known.outcome is None:
                return
            if host.enabled or reason:
                hosts.set_enabled(tx, host_id, False, reason or REASON)
            frame = {"total": len(store.on_host(tx, host_id)), "tries": {}, "failed": {}, "cold": {}}
            self._operations.start(
                tx, FLOW, Lock("host", host_id), frame, action="drain", project_id=context.project_id or "",
                user_id=context.user_id, request_id=context.request_id,
            )  # fmt: skip

        await self._db.write(work)
        return await self.show(host_id)

    async def cancel(self, host_id: str) -> None:
        """Move no more servers; those on their way arrive. The host stays disabled."""

        def work(tx: Tx) -> None:
            hosts.get(tx, host_id)
            self._operations.supersede(tx, Lock("host", host_id))

        await self._db.write(work)

    async def show(self, host_id: str) -> Drain:
        """How far it is."""

        def work(tx: Tx) -> Drain:
            hosts.get(tx, host_id)
            left = {one.id: one.phase for one in store.on_host(tx, host_id)}
            known = latest(tx, "host", host_id, FLOW)
            if known is None:
                return Drain("none", len(left), left, {})
            frame: Mapping[str, Any] = known.frame
            state = {None: "running", "superseded": "cancelled"}.get(known.outcome, known.outcome or "")
            return Drain(state, frame["total"], left, frame["failed"], known.started_at, known.finished_at or 0)

        return await self._db.read(work)
