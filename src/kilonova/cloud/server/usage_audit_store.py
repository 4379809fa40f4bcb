"""Which hosts' servers were counted for which period: all its SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Column, Integer, String, Table, delete, select

from kilonova.kit.clock import SECOND
from kilonova.kit.db import Tx, insert_new, metadata

KEEP: Final = 2 * 366 * 86400 * SECOND

usage_audit = Table(
    "usage_audit",
    metadata,
    Column("ends_at", BigInteger, primary_key=True),
    Column("begins_at", BigInteger, primary_key=True),
    Column("host", String(255), primary_key=True),
    Column("servers", Integer, nullable=False),
    Column("audited_at", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Audited:
    """A host (its name) that is done for a period, and how many servers it had then. Times in µs."""

    host: str
    servers: int
    audited_at: int


def add(tx: Tx, begin: int, end: int, host: str, servers: int) -> bool:
    """A host is done; False when it was before."""
    row = {"begins_at": begin, "ends_at": end, "host": host, "servers": servers, "audited_at": tx.now}
    return insert_new(tx, usage_audit, row)


def of_period(tx: Tx, begin: int, end: int) -> list[Audited]:
    """The hosts that are done for a period, by name."""
    found = select(usage_audit).where(usage_audit.c.ends_at == end, usage_audit.c.begins_at == begin)
    rows = tx.execute(found.order_by(usage_audit.c.host))
    return [Audited(row.host, row.servers, row.audited_at) for row in rows]


def forget(tx: Tx, older: int) -> int:
    """Drop what was written `KEEP` before a moment; answers how many. A period that may still be the last one that is
    over must be remembered, or it would be audited again."""
    return int(tx.execute(delete(usage_audit).where(usage_audit.c.audited_at < older - KEEP)).rowcount)
