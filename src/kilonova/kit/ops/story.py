"""What happened to a subject, operation by operation: the instance-action log and the story are read from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from kilonova.kit.db import Tx
from kilonova.kit.ops.store import operation, operation_event, operation_history


@dataclass(frozen=True, slots=True)
class Event:
    """A step's trace. `name` is the public event name, empty where there is none. Times in µs."""

    step: str
    name: str
    undo: bool
    attempts: int
    started_at: int
    finished_at: int
    host: str
    result: str
    details: str


@dataclass(frozen=True, slots=True)
class Tale:
    """One operation, running (`outcome` is then None) or ended."""

    id: str
    flow: str
    action: str
    step: str
    subject_id: str
    project_id: str
    user_id: str
    request_id: str
    started_at: int
    finished_at: int | None
    outcome: str | None
    error: dict[str, Any] | None
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Latest:
    """The last operation of a flow on a subject: with its frame, and how it ended (None while it runs). µs."""

    frame: dict[str, Any]
    outcome: str | None
    error: dict[str, Any] | None
    started_at: int
    finished_at: int | None


def latest(tx: Tx, kind: str, subject_id: str, flow: str) -> Latest | None:
    """The newest operation of a flow on a subject, running or ended."""
    for table in (operation, operation_history):
        query = select(table).where(table.c.kind == kind, table.c.subject_id == subject_id, table.c.flow == flow)
        row = tx.execute(query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(1)).one_or_none()
        if row is not None:
            ended = row._asdict()
            return Latest(row.frame, ended.get("outcome"), ended.get("error"), row.created_at, ended.get("finished_at"))
    return None


def tales(tx: Tx, kind: str, subject_id: str, *, request_id: str | None = None, limit: int = 1000) -> list[Tale]:
    """The operations on a subject (of one request), newest first, each with its events in order."""
    rows: list[Any] = []
    for table in (operation, operation_history):
        query = select(table).where(table.c.kind == kind, table.c.subject_id == subject_id)
        if request_id is not None:
            query = query.where(table.c.request_id == request_id)
        rows += tx.execute(query.order_by(table.c.created_at.desc()).limit(limit)).all()
    rows = sorted(rows, key=lambda r: (r.created_at, r.id), reverse=True)[:limit]
    events: dict[str, list[Event]] = {r.id: [] for r in rows}
    ids = list(events)
    for start in range(0, len(ids), 500):
        chosen = operation_event.c.operation_id.in_(ids[start : start + 500])
        for e in tx.execute(select(operation_event).where(chosen).order_by(operation_event.c.id)):
            one = Event(e.step, e.event, e.undo, e.attempts, e.started_at, e.finished_at, e.host, e.result, e.details)
            events[e.operation_id].append(one)
    return [_tale(r, events[r.id]) for r in rows]


def _tale(row: Any, events: list[Event]) -> Tale:
    ended = hasattr(row, "outcome")
    return Tale(
        row.id, row.flow, row.action, row.step, row.subject_id, row.project_id, row.user_id, row.request_id,
        row.created_at, row.finished_at if ended else None, row.outcome if ended else None,
        row.error if ended else row.failure, tuple(events),
    )  # fmt: skip
