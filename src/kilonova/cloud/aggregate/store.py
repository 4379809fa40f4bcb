"""Aggregates and which hosts are in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, Row, String, Table, delete, insert, select, update

from kilonova.cloud.aggregate.model import Aggregate
from kilonova.core.errors import Conflict, NotFound
from kilonova.kit.db import Tx, insert_new, json_column, metadata

aggregate = Table(
    "aggregate",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("name", String(255), nullable=False, unique=True),
    json_column("metadata"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
member = Table(
    "aggregate_host",
    metadata,
    Column("aggregate_id", Integer, primary_key=True),
    Column("host_id", String(36), primary_key=True, index=True),
)


def add(tx: Tx, uuid: str, name: str, items: Mapping[str, str]) -> Aggregate:
    """A new aggregate without hosts. Raises Conflict when the name is taken."""
    _refuse_taken(tx, name)
    row = {"uuid": uuid, "name": name, "metadata": dict(items)}
    tx.execute(insert(aggregate).values(**row, created_at=tx.now, updated_at=0))
    return _aggregate(tx.execute(select(aggregate).where(aggregate.c.uuid == uuid)).one(), ())


def list_all(tx: Tx) -> list[Aggregate]:
    """Every aggregate, the oldest first."""
    hosts: dict[int, list[str]] = {}
    for row in tx.execute(select(member).order_by(member.c.host_id)):
        hosts.setdefault(row.aggregate_id, []).append(row.host_id)
    rows = tx.execute(select(aggregate).order_by(aggregate.c.id))
    return [_aggregate(row, tuple(hosts.get(row.id, ()))) for row in rows]


def lock(tx: Tx, aggregate_id: int) -> Aggregate:
    """One aggregate, which nobody else changes until the commit. Raises NotFound."""
    row = tx.execute(select(aggregate).where(aggregate.c.id == aggregate_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFound(f"Aggregate {aggregate_id} could not be found.")
    hosts = select(member.c.host_id).where(member.c.aggregate_id == aggregate_id).order_by(member.c.host_id)
    return _aggregate(row, tuple(tx.execute(hosts).scalars()))


def edit(tx: Tx, current: Aggregate, name: str, items: Mapping[str, str]) -> Aggregate:
    """Change name and metadata. Raises Conflict when the name is another's."""
    if name != current.name:
        _refuse_taken(tx, name)
    _touch(tx, current.id, name=name, metadata=dict(items))
    return lock(tx, current.id)


def drop(tx: Tx, aggregate_id: int) -> None:
    """Delete an aggregate that has no hosts."""
    tx.execute(delete(aggregate).where(aggregate.c.id == aggregate_id))


def add_host(tx: Tx, aggregate_id: int, host_id: str) -> bool:
    """Put a host in; False when it is there already."""
    _touch(tx, aggregate_id)
    return insert_new(tx, member, {"aggregate_id": aggregate_id, "host_id": host_id})


def remove_host(tx: Tx, aggregate_id: int, host_id: str) -> None:
    """Take a host out."""
    _touch(tx, aggregate_id)
    tx.execute(delete(member).where(member.c.aggregate_id == aggregate_id, member.c.host_id == host_id))


def zones_of(tx: Tx, host_id: str) -> dict[int, str]:
    """The zones that a host's aggregates form, by aggregate."""
    mine = select(member.c.aggregate_id).where(member.c.host_id == host_id)
    rows = tx.execute(select(aggregate).where(aggregate.c.id.in_(mine)))
    found = [_aggregate(row, ()) for row in rows]
    return {one.id: one.zone for one in found if one.zone}


def _touch(tx: Tx, aggregate_id: int, **values: Any) -> None:
    tx.execute(update(aggregate).where(aggregate.c.id == aggregate_id).values(updated_at=tx.now, **values))


def _refuse_taken(tx: Tx, name: str) -> None:
    if tx.execute(select(aggregate.c.id).where(aggregate.c.name == name)).first() is not None:
        raise Conflict(f"Aggregate {name} already exists.")


def _aggregate(row: Row[Any], hosts: tuple[str, ...]) -> Aggregate:
    items = dict(row._mapping["metadata"])
    return Aggregate(row.id, row.uuid, row.name, items, hosts, row.created_at, row.updated_at)
