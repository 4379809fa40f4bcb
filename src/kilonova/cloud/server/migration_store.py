"""Moves of servers between hosts, and resizes: what was asked for, from where to where, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, Row, String, Table, and_, insert, or_, select, update

from kilonova.cloud.server.model import Migration
from kilonova.core.context import Scope
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, metadata

migration = Table(
    "migration",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("server_id", String(36), nullable=False),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("source", String(255), nullable=False),
    Column("dest", String(255), nullable=False),
    Column("old_flavor", String(255), nullable=False),
    Column("new_flavor", String(255), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("migration_server", "server_id"),
    Index("migration_page", "created_at", "id"),
)

FINISHED: Final = "finished"


def begin(tx: Tx, new: Mapping[str, Any]) -> int:
    """Note a move that begins; answers its number. Beginning the same one (`uuid`) again changes where it leads."""
    known = select(migration.c.id).where(migration.c.uuid == new["uuid"])
    row = {**new, "updated_at": tx.now}
    if (found := tx.execute(known).scalar_one_or_none()) is not None:
        tx.execute(update(migration).where(migration.c.id == found).values(**row))
        return int(found)
    made = insert(migration).values(**row, created_at=tx.now).returning(migration.c.id)
    return int(tx.execute(made).scalar_one())


def advance(tx: Tx, uuid: str, status: str) -> None:
    """Say how a move stands; one that never began has nothing to say."""
    tx.execute(update(migration).where(migration.c.uuid == uuid).values(status=status, updated_at=tx.now))


def status_of(tx: Tx, uuid: str) -> str:
    """How a move stands; empty when it never began."""
    found: str | None = tx.execute(select(migration.c.status).where(migration.c.uuid == uuid)).scalar_one_or_none()
    return found or ""


def settle(tx: Tx, server_id: str, status: str) -> None:
    """Say what became of the move of a server that was finished and not yet decided on."""
    open_one = and_(migration.c.server_id == server_id, migration.c.status == FINISHED)
    tx.execute(update(migration).where(open_one).values(status=status, updated_at=tx.now))


def undecided(tx: Tx, before: int, limit: int = 100) -> list[str]:
    """The servers whose move was finished before a moment and is neither confirmed nor reverted."""
    waiting = and_(migration.c.status == FINISHED, migration.c.updated_at < before)
    return list(tx.execute(select(migration.c.server_id).where(waiting).limit(limit)).scalars())


def page(
    tx: Tx, scope: Scope, filters: Mapping[str, Any], *, marker: str | None = None, limit: int = 1000
) -> list[Migration]:
    """The newest first. `filters`: column → value; `host` is source or destination; `changed_since` and
    `changed_before` are µs. An unknown marker (a uuid) raises NotFound."""
    table = migration.c
    query = select(migration).where(*(_condition(name, value) for name, value in filters.items()))
    if not scope.is_all:
        query = query.where(table.project_id == scope.project_id)
    if marker is not None:
        at = tx.execute(select(migration).where(table.uuid == marker)).one_or_none()
        if at is None:
            raise NotFound(f"Marker {marker} could not be found.")
        older = and_(table.created_at == at.created_at, table.id < at.id)
        query = query.where(or_(table.created_at < at.created_at, older))
    rows = tx.execute(query.order_by(table.created_at.desc(), table.id.desc()).limit(limit))
    return [_migration(row) for row in rows]


def _condition(name: str, value: Any) -> Any:
    if name == "host":
        return or_(migration.c.source == value, migration.c.dest == value)
    if name == "changed_since":
        return migration.c.updated_at >= value
    if name == "changed_before":
        return migration.c.updated_at <= value
    return migration.c[name] == value


def _migration(row: Row[Any]) -> Migration:
    return Migration(**row._asdict())
