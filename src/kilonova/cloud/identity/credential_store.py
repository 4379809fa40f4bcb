"""Credentials: secrets that identity keeps for users, encrypted. A row holds what its key ring made of the blob."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Index, String, Table, Text, delete, select, update

from kilonova.cloud.identity.store import lost
from kilonova.core.errors import Conflict, NotFound
from kilonova.kit.db import Tx, insert_new, metadata

identity_credential = Table(
    "identity_credential",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", String(64), nullable=False),
    Column("project_id", String(64)),
    Column("type", String(255), nullable=False),
    Column("secret", Text, nullable=False),
    Column("used_step", BigInteger, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    Index("identity_credential_user", "user_id", "type"),
    Index("identity_credential_project", "project_id"),
)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A credential as stored: `secret` is encrypted."""

    id: str
    user_id: str
    project_id: str | None
    type: str
    secret: str


def _sealed(row: Any) -> Sealed:
    return Sealed(row.id, row.user_id, row.project_id, row.type, row.secret)


def create(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add one. Raises Conflict when there is one with this id."""
    if not insert_new(tx, identity_credential, {**values, "used_step": 0, "created_at": tx.now}):
        raise Conflict("Conflict occurred attempting to store credential - Duplicate entry.")


def get(tx: Tx, identifier: str) -> Sealed:
    """One by id. Raises NotFound."""
    row = tx.execute(select(identity_credential).where(identity_credential.c.id == identifier)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find credential: {identifier}.")
    return _sealed(row)


def exists(tx: Tx, identifier: str) -> bool:
    """Whether there is one of this id."""
    return (
        tx.execute(select(identity_credential.c.id).where(identity_credential.c.id == identifier)).first() is not None
    )


def list_credentials(tx: Tx, where: Mapping[str, str], limit: int = 10_000) -> list[Sealed]:
    """Those whose columns equal `where`, oldest first."""
    columns = identity_credential.c
    clauses = [columns[key] == value for key, value in where.items()]
    found = select(identity_credential).where(*clauses).order_by(columns.created_at, columns.id)
    return [_sealed(row) for row in tx.execute(found.limit(limit))]


def change(tx: Tx, identifier: str, values: Mapping[str, Any]) -> None:
    """Set columns of one. Raises NotFound."""
    if not tx.execute(
        update(identity_credential).where(identity_credential.c.id == identifier).values(**values)
    ).rowcount:
        raise NotFound(f"Could not find credential: {identifier}.")


def use_step(tx: Tx, identifier: str, step: int) -> bool:
    """Remember the time step of a one-time password; False when it, or a later one, was used before."""
    columns = identity_credential.c
    fresh = update(identity_credential).where(columns.id == identifier, columns.used_step < step)
    return tx.execute(fresh.values(used_step=step)).rowcount == 1


def remove(tx: Tx, identifier: str) -> None:
    """Delete one. Raises NotFound."""
    if not tx.execute(delete(identity_credential).where(identity_credential.c.id == identifier)).rowcount:
        raise NotFound(f"Could not find credential: {identifier}.")


def remove_lost(tx: Tx) -> None:
    """Delete those of users and projects that are no more."""
    columns = identity_credential.c
    tx.execute(delete(identity_credential).where(lost(user=columns.user_id, project=columns.project_id)))


def remove_all(tx: Tx, **where: str) -> None:
    """Delete those whose columns equal `where`."""
    columns = identity_credential.c
    tx.execute(delete(identity_credential).where(*(columns[key] == value for key, value in where.items())))
