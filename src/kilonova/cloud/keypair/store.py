"""All SQL of key pairs. A scope is not what they belong to: they are a user's, whatever the project."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, Row, String, Table, Text, UniqueConstraint, and_, delete, select

from kilonova.cloud.keypair.model import Keypair
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Tx, insert_new, metadata

keypair = Table(
    "keypair",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("user_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("type", String(8), nullable=False),
    Column("fingerprint", String(255), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("user_id", "name"),
)


def add(tx: Tx, user_id: str, name: str, kind: str, fingerprint: str, public_key: str) -> Keypair:
    """Store a new key pair. Raises Conflict when the user has one of this name."""
    values = {"user_id": user_id, "name": name, "type": kind, "fingerprint": fingerprint, "public_key": public_key}
    if not insert_new(tx, keypair, {**values, "created_at": tx.now}):
        raise Conflict(f"Key pair '{name}' already exists.")
    return get(tx, user_id, name)


def get(tx: Tx, user_id: str, name: str) -> Keypair:
    """One of a user's key pairs. Raises NotFound."""
    row = tx.execute(select(keypair).where(_is(user_id, name))).one_or_none()
    if row is None:
        raise NotFound(f"Keypair {name} not found for user {user_id}")
    return _to_keypair(row)


def page(tx: Tx, user_id: str, limit: int, marker: str | None) -> list[Keypair]:
    """A user's key pairs by name, behind the one named `marker`. Raises Invalid when there is none such."""
    statement = select(keypair).where(keypair.c.user_id == user_id)
    if marker is not None:
        if tx.execute(select(keypair.c.number).where(_is(user_id, marker))).one_or_none() is None:
            raise Invalid(f"marker [{marker}] not found")
        statement = statement.where(keypair.c.name > marker)
    return [_to_keypair(row) for row in tx.execute(statement.order_by(keypair.c.name).limit(limit))]


def remove(tx: Tx, number: int) -> None:
    """Delete one."""
    tx.execute(delete(keypair).where(keypair.c.number == number))


def _is(user_id: str, name: str) -> Any:
    return and_(keypair.c.user_id == user_id, keypair.c.name == name)


def _to_keypair(row: Row[Any]) -> Keypair:
    return Keypair(row.number, row.user_id, row.name, row.type, row.fingerprint, row.public_key, row.created_at)
