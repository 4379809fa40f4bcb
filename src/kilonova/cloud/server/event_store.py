"""What became of servers, in order, for who waits and watches: a row for each change of phase, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, Row, String, Table, delete, func, insert, select

from kilonova.core.context import Scope
from kilonova.kit.db import Tx, metadata

event = Table(
    "server_event",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("project_id", String(64), nullable=False),
    Column("server_id", String(36), nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("phase", String(32), nullable=False),
    Column("before", String(32), nullable=False),
    Column("name", String(255), nullable=False),
    Index("server_event_project", "project_id", "seq"),
    Index("server_event_server", "server_id", "seq"),
    sqlite_autoincrement=True,
)

_ADD: Final = insert(event)


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One change: the phases after and before it ("" for none: it came, or it went). `at` in µs."""

    seq: int
    project_id: str
    server_id: str
    at: int
    phase: str
    before: str
    name: str


def add(tx: Tx, project_id: str, server_id: str, name: str, before: str, phase: str) -> None:
    """Note a change."""
    row = {"project_id": project_id, "server_id": server_id, "name": name, "before": before, "phase": phase}
    tx.execute(_ADD, {**row, "at": tx.now})


def last(tx: Tx, before: int | None = None) -> int:
    """The newest number, of those before a moment (µs) if one is given; 0 when there is none."""
    query = select(func.max(event.c.seq))
    return int(tx.execute(query if before is None else query.where(event.c.at < before)).scalar_one_or_none() or 0)


def heads(tx: Tx, after: int, limit: int) -> list[tuple[int, int, str, str]]:
    """(seq, at, project, server) of what came after a number, in order."""
    query = select(event.c.seq, event.c.at, event.c.project_id, event.c.server_id).where(event.c.seq > after)
    return [(r.seq, r.at, r.project_id, r.server_id) for r in tx.execute(query.order_by(event.c.seq).limit(limit))]


def page(tx: Tx, scope: Scope, servers: Sequence[str], after: int, until: int, limit: int = 500) -> list[ServerEvent]:
    """Events of the scope (of these servers, if any are named) after one number and up to another, in order."""
    query = select(event).where(event.c.seq > after, event.c.seq <= until)
    if not scope.is_all:
        query = query.where(event.c.project_id == scope.project_id)
    if servers:
        query = query.where(event.c.server_id.in_(list(servers)))
    return [_event(row) for row in tx.execute(query.order_by(event.c.seq).limit(limit))]


def forget(tx: Tx, before: int, limit: int = 500) -> int:
    """Drop some of what is older than a moment (µs); how many."""
    old = select(event.c.seq).where(event.c.at < before).limit(limit)
    return tx.execute(delete(event).where(event.c.seq.in_(old))).rowcount


def _event(row: Row[Any]) -> ServerEvent:
    return ServerEvent(**row._asdict())
