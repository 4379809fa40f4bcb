"""Events and how far readers came: all their SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from kilonova.cloud.event.model import Event, Wanted
from kilonova.kit.db import Tx, insert_new, json_column, metadata

SIGNAL: Final = "event"

event = Table(
    "event",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("project_id", String(64), nullable=False),
    Column("server_id", String(36), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    json_column("body"),
    Index("event_page", "project_id", "seq"),
    sqlite_autoincrement=True,  # a number is never given again, not even after the newest row is swept away
)
cursor = Table(
    "event_cursor",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("holder", String(36), nullable=False),
    Column("held_until", BigInteger, nullable=False),
)

_ADD: Final = insert(event)
_AFTER: Final = select(event).where(event.c.seq > bindparam("after")).order_by(event.c.seq).limit(bindparam("most"))


@dataclass(frozen=True, slots=True)
class Fresh:
    """Committed events in order, and what the same look saw of transactions: the oldest that still runs and the next to
    begin (0 and 0 where only one writes at a time, so that what is missing will never come)."""

    events: Sequence[Event]
    oldest: int = 0
    following: int = 0


def add(tx: Tx, kind: str, subjects: Sequence[tuple[str, str]], bodies: Sequence[Mapping[str, Any]]) -> None:
    """Write events of (project, server) pairs. Change the server's row first: its lock is what puts them in order."""
    origin = {"request_id": tx.request_id}
    rows = [
        {"project_id": project, "server_id": server, "at": tx.now, "kind": kind, "body": {**origin, **body}}
        for (project, server), body in zip(subjects, bodies, strict=True)
    ]
    tx.execute(_ADD, rows)
    tx.signal(SIGNAL)


def fresh(tx: Tx, after: int, limit: int) -> Fresh:
    """What is committed after `after`."""
    found = [_event(row) for row in tx.execute(_AFTER, {"after": after, "most": limit})]
    if tx.is_sqlite or not found or found[-1].seq - after == len(found):
        return Fresh(found)
    seen = tx.connection.exec_driver_sql(
        "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint FROM pg_current_snapshot() AS s"
    ).one()
    return Fresh(found, seen[0], seen[1])


def page(tx: Tx, wanted: Wanted, after: int, until: int, limit: int) -> list[Event]:
    """Wanted events after `after`, up to and with `until`."""
    query = select(event).where(event.c.seq > after, event.c.seq <= until).order_by(event.c.seq).limit(limit)
    if not wanted.scope.is_all:
        query = query.where(event.c.project_id == wanted.scope.project_id)
    if wanted.server_id is not None:
        query = query.where(event.c.server_id == wanted.server_id)
    if wanted.kinds:
        query = query.where(event.c.kind.in_(sorted(wanted.kinds)))
    return [_event(row) for row in tx.execute(query)]


def bounds(tx: Tx) -> tuple[int, int]:
    """The numbers of the oldest and the newest event that is kept; 0 and 0 when there is none."""
    row = tx.execute(select(func.min(event.c.seq).label("oldest"), func.max(event.c.seq).label("newest"))).one()
    return (row.oldest or 0, row.newest or 0)


def before(tx: Tx, moment: int) -> int:
    """The number after which all that happened since `moment` comes."""
    older = select(event.c.seq).where(event.c.at < moment).order_by(event.c.seq.desc()).limit(1)
    return int(tx.execute(older).scalar() or 0)


def forget(tx: Tx, older: int, keep: int, limit: int = 1000) -> int:
    """Drop events from before a moment, and all but about the newest `keep`, the oldest first; answers how many."""
    beyond = bounds(tx)[1] - keep
    oldest = tx.execute(select(event.c.seq, event.c.at).order_by(event.c.seq).limit(limit)).all()
    last = max((row.seq for row in oldest if row.at < older or row.seq <= beyond), default=0)
    return int(tx.execute(delete(event).where(event.c.seq <= last)).rowcount) if last else 0


def resume(tx: Tx, name: str, holder: str, seconds: float) -> int | None:
    """How far the reader `name` came, for the one that holds it for the next `seconds`; None while another does."""
    insert_new(tx, cursor, {"name": name, "seq": 0, "holder": holder, "held_until": 0})
    row = tx.execute(select(cursor).where(cursor.c.name == name).with_for_update()).one()
    if row.holder != holder and row.held_until > tx.now:
        return None
    held = {"holder": holder, "held_until": tx.now + int(seconds * 1e6)}
    tx.execute(update(cursor).where(cursor.c.name == name).values(**held))
    return int(row.seq)


def advance(tx: Tx, name: str, holder: str, seq: int) -> None:
    """The reader came to `seq`; nothing when it is another's by now."""
    tx.execute(update(cursor).where(cursor.c.name == name, cursor.c.holder == holder).values(seq=seq))


def _event(row: Any) -> Event:
    return Event(row.seq, row.project_id, row.server_id, row.at, row.kind, row.body)
