"""The engine's rows: operations, locks, events, workers, history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from kilonova.core.errors import Conflict, Lost
from kilonova.kit.db import Tx, insert_new, json_column, metadata
from kilonova.kit.ops.model import Lock, Operation, Outcome


def _described() -> list[Column[Any]]:
    return [
        Column("id", String(36), primary_key=True),
        Column("flow", String(64), nullable=False),
        Column("action", String(64), nullable=False),
        Column("kind", String(32), nullable=False),
        Column("subject_id", String(64), nullable=False),
        Column("project_id", String(64), nullable=False),
        Column("user_id", String(64), nullable=False),
        Column("request_id", String(64), nullable=False),
        Column("step", String(64), nullable=False),
        json_column("frame"),
        Column("parent_id", String(36)),
        Column("created_at", BigInteger, nullable=False),
    ]


operation = Table(
    "operation",
    metadata,
    *_described(),
    Column("root_id", String(36), nullable=False, index=True),
    Column("child_id", String(36)),
    Column("undoing", Boolean, nullable=False),
    json_column("done"),
    json_column("failure", nullable=True),
    Column("worker", String(36)),
    Column("fence", Integer, nullable=False),
    Column("run_at", BigInteger),
    Column("step_at", BigInteger, nullable=False),
    Column("wait_kind", String(32)),
    Column("wait_id", String(64)),
    Index("operation_runnable", "worker", "run_at"),
    Index("operation_waiter", "wait_kind", "wait_id"),
    Index("operation_subject", "kind", "subject_id"),
)
operation_history = Table(
    "operation_history",
    metadata,
    *_described(),
    Column("outcome", String(16), nullable=False),
    json_column("error", nullable=True),
    Column("finished_at", BigInteger, nullable=False, index=True),
    Index("operation_history_subject", "kind", "subject_id"),
)
operation_event = Table(
    "operation_event",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("operation_id", String(36), nullable=False, index=True),
    Column("step", String(64), nullable=False),
    Column("event", String(64), nullable=False),
    Column("undo", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger, nullable=False),
    Column("host", String(255), nullable=False),
    Column("result", String(16), nullable=False),
    Column("details", Text, nullable=False),
)
operation_lock = Table(
    "operation_lock",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("operation_id", String(36), nullable=False, index=True),
)
worker = Table(
    "worker",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("renewed_at", BigInteger, nullable=False),
)

_DESCRIBED: Final = tuple(c.name for c in _described())

# What every step runs is composed once: that costs several times what running it does. Columns to set are those of the
# row that is given with it.
_SUBJECT: Final = (operation.c.wait_kind == bindparam("about")) & (operation.c.wait_id == bindparam("which"))
_OURS: Final = (
    (operation.c.id == bindparam("which"))
    & (operation.c.worker == bindparam("mine"))
    & (operation.c.fence == bindparam("held"))
)
_CREATE: Final = insert(operation)
_HOLD: Final = select(operation.c.id).where(_OURS).with_for_update(read=True)
_SAVE: Final = update(operation).where(_OURS)
_END: Final = delete(operation).where(_OURS)
_UNLOCK: Final = delete(operation_lock).where(operation_lock.c.operation_id == bindparam("which"))
_RECORD: Final = insert(operation_history)
_EVENT: Final = insert(operation_event)
_NOTIFY: Final = update(operation).where(_SUBJECT).returning(operation.c.id)
_NOTIFY_MANY: Final = (
    update(operation)
    .where(operation.c.wait_kind == bindparam("about"), operation.c.wait_id.in_(bindparam("which", expanding=True)))
    .returning(operation.c.id)
)
_FREE: Final = (
    select(operation.c.id).where(operation.c.worker.is_(None), operation.c.run_at <= bindparam("by")).limit(1)
)
_NOTIFIED: Final = (
    select(operation.c.id)
    .where(operation.c.worker == bindparam("mine"), operation.c.run_at <= bindparam("by"))
    .limit(bindparam("most"))
)


def create(tx: Tx, op: Operation, locks: Iterable[Lock]) -> None:
    """Insert an operation with all its locks, in a fixed order. Raises Conflict when another one holds a lock."""
    for lock in sorted(set(locks)):
        if not insert_new(tx, operation_lock, {"kind": lock.kind, "id": lock.id, "operation_id": op.root_id}):
            raise Conflict(f"Another operation is changing {lock.kind} {lock.id}", kind=lock.kind, id=lock.id)
    row: dict[str, Any] = {
        "id": op.id, "flow": op.flow, "action": op.action, "kind": op.subject.kind, "subject_id": op.subject.id,
        "project_id": op.project_id, "user_id": op.user_id, "request_id": op.request_id, "step": op.step,
        "frame": op.frame, "parent_id": op.parent_id, "created_at": op.created_at, "root_id": op.root_id,
        "undoing": op.undoing, "done": op.done, "failure": op.failure, "worker": op.worker, "fence": op.fence,
        "run_at": None if op.worker else tx.now, "step_at": op.step_at,
    }  # fmt: skip
    tx.execute(_CREATE, row)


def runnable(tx: Tx, mine: str, limit: int) -> tuple[bool, list[str]]:
    """Whether unowned operations are due, and which owned ones were notified."""
    free = tx.execute(_FREE, {"by": tx.now})
    owned = tx.execute(_NOTIFIED, {"mine": mine, "by": tx.now, "most": limit})
    return free.first() is not None, [r.id for r in owned]


def take(tx: Tx, mine: str, limit: int) -> list[Operation]:
    """Become the owner of up to `limit` due operations; each gets a higher fence."""
    due = (
        select(operation.c.id)
        .where(operation.c.worker.is_(None), operation.c.run_at <= tx.now)
        .order_by(operation.c.run_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = [r.id for r in tx.execute(due)]
    if not ids:
        return []
    taken = (
        update(operation)
        .where(operation.c.id.in_(ids), operation.c.worker.is_(None))
        .values(worker=mine, fence=operation.c.fence + 1, run_at=None)
        .returning(*operation.c)
    )
    return [_operation(r) for r in tx.execute(taken)]


def hold(tx: Tx, op: Operation) -> None:
    """Raise Lost unless `op` still runs under the fence that its owner knows; keeps it so until the commit."""
    if tx.execute(_HOLD, _ours(op)).first() is None:
        raise Lost(f"Operation {op.id} is not ours any more")


def save(tx: Tx, op: Operation, *, wait: Lock | None = None, due: bool = False) -> None:
    """Store where an operation is now. Raises Lost when it is not ours any more."""
    row: dict[str, Any] = {
        "step": op.step, "frame": op.frame, "undoing": op.undoing, "done": op.done, "failure": op.failure,
        "child_id": op.child_id, "step_at": op.step_at, "run_at": tx.now if due else None,
        "wait_kind": wait.kind if wait else None, "wait_id": wait.id if wait else None,
    }  # fmt: skip
    if tx.execute(_SAVE, {**_ours(op), **row}).rowcount != 1:
        raise Lost(f"Operation {op.id} is not ours any more")


def finish(tx: Tx, op: Operation, outcome: str, error: dict[str, Any] | None) -> list[str]:
    """Move an operation of ours to history and free its locks; answers whom to wake (its parent). Raises Lost.

    Locks before the row, as everywhere, so that it cannot deadlock with `supersede`.
    """
    if op.parent_id is None:
        tx.execute(_UNLOCK, {"which": op.id})
    if tx.execute(_END, _ours(op)).rowcount != 1:
        raise Lost(f"Operation {op.id} is not ours any more")
    record(tx, op, outcome, error)
    return [] if op.parent_id is None else notify(tx, Lock("operation", op.id))


def record(tx: Tx, op: Operation, outcome: str, error: dict[str, Any] | None) -> None:
    """Write into history how an operation ended."""
    row: dict[str, Any] = {
        "id": op.id, "flow": op.flow, "action": op.action, "kind": op.subject.kind, "subject_id": op.subject.id,
        "project_id": op.project_id, "user_id": op.user_id, "request_id": op.request_id, "step": op.step,
        "frame": op.frame, "parent_id": op.parent_id, "created_at": op.created_at,
    }  # fmt: skip
    tx.execute(_RECORD, {**row, "outcome": outcome, "error": error, "finished_at": tx.now})


def supersede(tx: Tx, lock: Lock) -> list[str]:
    """End whatever operation holds `lock`, with its children, without undo; answers the ids that ended."""
    held = select(operation_lock.c.operation_id).where(
        operation_lock.c.kind == lock.kind, operation_lock.c.id == lock.id
    )
    root = tx.execute(held.with_for_update()).scalar_one_or_none()
    if root is None:
        return []
    tx.execute(delete(operation_lock).where(operation_lock.c.operation_id == root))
    rows = tx.execute(delete(operation).where(operation.c.root_id == root).returning(*operation.c)).all()
    for row in rows:
        kept = {name: getattr(row, name) for name in _DESCRIBED}
        tx.execute(insert(operation_history).values(**kept, outcome="superseded", error=None, finished_at=tx.now))
    return [row.id for row in rows]


def notify(tx: Tx, subject: Lock) -> list[str]:
    """Make the waiters of `subject` due; answers their ids."""
    woken = tx.execute(_NOTIFY, {"about": subject.kind, "which": subject.id, "run_at": tx.now})
    return [r.id for r in woken]


def notify_many(tx: Tx, kind: str, ids: Sequence[str]) -> list[str]:
    """As `notify`, for many subjects of one kind."""
    woken = tx.execute(_NOTIFY_MANY, {"about": kind, "which": list(ids), "run_at": tx.now})
    return [r.id for r in woken]


def add_event(tx: Tx, **event: Any) -> None:
    """Leave a step's trace."""
    tx.execute(_EVENT, event)


def outcome(tx: Tx, operation_id: str) -> Outcome | None:
    """How an operation ended, None while it runs."""
    history = operation_history
    row = tx.execute(select(history).where(history.c.id == operation_id)).one_or_none()
    return None if row is None else Outcome(row.outcome, row.frame, row.error)


def renew(tx: Tx, mine: str) -> bool:
    """Say that a worker lives; False when it had been declared dead (it then owns nothing any more, not even what was
    written as its own after that)."""
    now = {"renewed_at": clock_now(tx)}
    if tx.execute(update(worker).where(worker.c.id == mine).values(**now)).rowcount:
        return True
    insert_new(tx, worker, {"id": mine, **now})
    tx.execute(update(operation).where(operation.c.worker == mine).values(worker=None, run_at=tx.now))
    return False


def bury(tx: Tx, older_than: float | None, but: str) -> list[str]:
    """Free the operations of workers not renewed for `older_than` seconds (None: of every other worker)."""
    dead = select(worker.c.id).where(worker.c.id != but)
    if older_than is not None:
        dead = dead.where(worker.c.renewed_at < clock_now(tx) - int(older_than * 1e6))
    ids = [r.id for r in tx.execute(dead.with_for_update(skip_locked=True))]
    if ids:
        tx.execute(delete(worker).where(worker.c.id.in_(ids)))
    freed = update(operation).values(worker=None, run_at=tx.now)
    if older_than is None:
        tx.execute(freed.where(operation.c.worker.is_not(None), operation.c.worker != but))
    elif ids:
        tx.execute(freed.where(operation.c.worker.in_(ids)))
    return ids


def resign(tx: Tx, mine: str) -> None:
    """A worker stops: what it has in hand is free for others at once."""
    tx.execute(update(operation).where(operation.c.worker == mine).values(worker=None, run_at=tx.now))
    tx.execute(delete(worker).where(worker.c.id == mine))


def clock_now(tx: Tx) -> int:
    """The clock that all workers share: the database's on PostgreSQL, in µs."""
    if tx.is_sqlite:
        return tx.now
    value = tx.connection.exec_driver_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").scalar()
    return int(value or 0)


def prune(tx: Tx, before: int, limit: int = 500) -> int:
    """Forget finished operations (and their events) that ended before `before`; answers how many."""
    old = select(operation_history.c.id).where(operation_history.c.finished_at < before).limit(limit)
    ids = [r.id for r in tx.execute(old)]
    if ids:
        tx.execute(delete(operation_event).where(operation_event.c.operation_id.in_(ids)))
        tx.execute(delete(operation_history).where(operation_history.c.id.in_(ids)))
    return len(ids)


def live(tx: Tx) -> dict[str, tuple[str, str]]:
    """Every running operation: id → (kind, id) of its subject."""
    rows = tx.execute(select(operation.c.id, operation.c.kind, operation.c.subject_id))
    return {r.id: (r.kind, r.subject_id) for r in rows}


def locks(tx: Tx) -> list[tuple[str, str, str]]:
    """Every lock as (kind, id, operation)."""
    return [(r.kind, r.id, r.operation_id) for r in tx.execute(select(operation_lock))]


def _ours(op: Operation) -> dict[str, Any]:
    return {"which": op.id, "mine": op.worker, "held": op.fence}


def _operation(row: Row[Any]) -> Operation:
    return Operation(
        id=row.id, flow=row.flow, action=row.action, step=row.step, subject=Lock(row.kind, row.subject_id),
        frame=row.frame,
        project_id=row.project_id, user_id=row.user_id, request_id=row.request_id, created_at=row.created_at,
        step_at=row.step_at, fence=row.fence, undoing=row.undoing, done=row.done, failure=row.failure,
        parent_id=row.parent_id, root_id=row.root_id, child_id=row.child_id, worker=row.worker,
    )  # fmt: skip
