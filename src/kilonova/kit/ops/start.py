"""What services and flows call inside their transactions: start, supersede, notify."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from kilonova.kit.bus import Bus
from kilonova.kit.db import Tx
from kilonova.kit.ops import store
from kilonova.kit.ops.model import Lock, Operation

TOPIC = "operations"


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """What workers hear: operations that are due, and operations that have ended under someone's hands."""

    due: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


class Adopter(Protocol):
    """A worker in this process, as `Operations` sees it (see `engine.Engine`)."""

    def spare_worker(self) -> str | None:
        """The worker's id while it has room for more, else None."""

    def adopt(self, op: Operation) -> None:
        """Drive an operation that was written as this worker's own."""


class Operations:
    """Durable work by name. Everything happens in the caller's transaction; workers are hinted after its commit."""

    def __init__(self, bus: Bus, new_id: Callable[[], str]) -> None:
        self._bus = bus
        self._new_id = new_id
        self._adopter: Adopter | None = None

    def attach(self, adopter: Adopter | None) -> None:
        """Let a worker in this process own what is started here from the first moment on (saves it the taking)."""
        self._adopter = adopter

    def start(
        self,
        tx: Tx,
        flow: str,
        subject: Lock,
        frame: dict[str, Any],
        *,
        action: str,
        project_id: str,
        user_id: str,
        request_id: str,
        locks: Iterable[Lock] | None = None,
        parent: Operation | None = None,
    ) -> str:
        """Write an operation with its locks (by default: its subject). Raises Conflict when one is held.

        `flow` is the name that a worker knows the steps by, `action` what people call it.
        """
        identifier = self._new_id()
        adopter = self._adopter
        worker = adopter.spare_worker() if adopter else None
        op = Operation(
            id=identifier, flow=flow, action=action, step="", subject=subject, frame=frame, project_id=project_id,
            user_id=user_id,
            request_id=request_id, created_at=tx.now, step_at=tx.now, fence=1 if worker else 0, worker=worker,
            parent_id=parent.id if parent else None, root_id=parent.root_id if parent else identifier,
        )  # fmt: skip
        held = () if parent else (subject,) if locks is None else locks
        store.create(tx, op, held)
        if adopter is not None and worker is not None:
            tx.after_commit(lambda: adopter.adopt(op))
        else:
            self.hint(tx, due=(identifier,))
        return identifier

    def record(
        self,
        tx: Tx,
        subject: Lock,
        action: str,
        *,
        project_id: str,
        user_id: str,
        request_id: str,
        started_at: int,
        error: str | None = None,
    ) -> None:
        """Write down what was done at once, as an operation that has ended; it took no lock."""
        identifier = self._new_id()
        op = Operation(
            id=identifier, flow="", action=action, step="", subject=subject, frame={}, project_id=project_id,
            user_id=user_id, request_id=request_id, created_at=started_at, step_at=started_at, root_id=identifier,
        )  # fmt: skip
        store.record(tx, op, "done" if error is None else "failed", None if error is None else {"message": error})

    def supersede(self, tx: Tx, lock: Lock) -> list[str]:
        """End the running operation that holds `lock`, without undo, and free its locks; the caller takes charge."""
        ended = store.supersede(tx, lock)
        self.hint(tx, ended=tuple(ended))
        return ended

    def notify(self, tx: Tx, kind: str, ids: Sequence[str]) -> None:
        """Make the operations that wait for these subjects due, in this transaction."""
        self.hint(tx, due=tuple(store.notify_many(tx, kind, ids)))

    def hint(self, tx: Tx, *, due: tuple[str, ...] = (), ended: tuple[str, ...] = ()) -> None:
        """Tell the workers once the transaction is durable."""
        if not due and not ended:
            return
        data = msgspec.json.encode(Hint(due=due, ended=ended))
        tx.after_commit(lambda: self._bus.wake(TOPIC, data))
