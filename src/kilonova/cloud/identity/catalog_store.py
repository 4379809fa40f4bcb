"""Regions, services and endpoints. They belong to the whole cloud, so nothing here takes a project's scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table, Text, delete, select, update

from kilonova.cloud.identity.store import identity_history
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, insert_new, json_column, metadata

Noun = Literal["region", "service", "endpoint"]

identity_region = Table(
    "identity_region",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("parent_region_id", String(255)),
    Column("description", Text, nullable=False, default=""),
    Column("created_at", BigInteger, nullable=False),
    json_column("extra"),
    Index("identity_region_parent", "parent_region_id"),
)
identity_service = Table(
    "identity_service",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("type", String(255), nullable=False),
    Column("name", String(255)),
    Column("description", Text),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("created_at", BigInteger, nullable=False),
    json_column("extra"),
)
identity_endpoint = Table(
    "identity_endpoint",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("service_id", String(64), nullable=False),
    Column("region_id", String(255)),
    Column("interface", String(8), nullable=False),
    Column("url", Text, nullable=False),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("created_at", BigInteger, nullable=False),
    json_column("extra"),
    Index("identity_endpoint_service", "service_id"),
    Index("identity_endpoint_region", "region_id"),
)
_TABLES: Final[Mapping[Noun, Table]] = {
    "region": identity_region,
    "service": identity_service,
    "endpoint": identity_endpoint,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A region, a service or an endpoint. `fields`: its columns but for the id, by the API's names. An endpoint whose
    `url` is a path ("/compute/v2.1") lies on the cloud's own listener."""

    noun: Noun
    id: str
    fields: Mapping[str, Any]
    extra: Mapping[str, Any]


def _entry(noun: Noun, row: Any) -> Entry:
    hidden = ("id", "extra", "created_at")
    return Entry(noun, row.id, {k: v for k, v in row._mapping.items() if k not in hidden}, row.extra)


def create(tx: Tx, noun: Noun, values: Mapping[str, Any]) -> bool:
    """Add one; False when there is one with this id."""
    return insert_new(tx, _TABLES[noun], {"extra": {}, **values, "created_at": tx.now})


def find(tx: Tx, noun: Noun, identifier: str) -> Entry | None:
    """One by id, or None."""
    table = _TABLES[noun]
    row = tx.execute(select(table).where(table.c.id == identifier)).one_or_none()
    return None if row is None else _entry(noun, row)


def get(tx: Tx, noun: Noun, identifier: str) -> Entry:
    """One by id. Raises NotFound."""
    found = find(tx, noun, identifier)
    if found is None:
        raise NotFound(f"Could not find {noun}: {identifier}.")
    return found


def list_entries(tx: Tx, noun: Noun, where: Mapping[str, Any]) -> list[Entry]:
    """Those whose columns equal `where`, oldest first."""
    table = _TABLES[noun]
    clauses = [table.c[key] == value for key, value in where.items()]
    rows = tx.execute(select(table).where(*clauses).order_by(table.c.created_at, table.c.id).limit(10_000))
    return [_entry(noun, row) for row in rows]


def change(tx: Tx, noun: Noun, identifier: str, values: Mapping[str, Any]) -> None:
    """Set columns of one. Raises NotFound."""
    table = _TABLES[noun]
    if values and not tx.execute(update(table).where(table.c.id == identifier).values(**values)).rowcount:
        raise NotFound(f"Could not find {noun}: {identifier}.")


def remove(tx: Tx, noun: Noun, identifier: str) -> None:
    """Move one to history. Raises NotFound."""
    entry = get(tx, noun, identifier)
    name = str(entry.fields.get("name") or entry.fields.get("type") or identifier)
    record = {"kind": noun, "id": identifier[:64], "name": name, "deleted_at": tx.now, "row": dict(entry.fields)}
    if not insert_new(tx, identity_history, record):
        key = (identity_history.c.kind == noun, identity_history.c.id == identifier[:64])
        tx.execute(update(identity_history).where(*key).values(deleted_at=tx.now, row=record["row"]))
    table = _TABLES[noun]
    tx.execute(delete(table).where(table.c.id == identifier))


def was_removed(tx: Tx, noun: Noun, identifier: str) -> bool:
    """Whether history has one of this id."""
    columns = identity_history.c
    found = tx.execute(select(columns.id).where(columns.kind == noun, columns.id == identifier))
    return found.first() is not None
