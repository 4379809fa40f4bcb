"""Trusts in the database. They belong to two users; the edge decides which of them, or who else, sees one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, delete, insert, or_, select, update

from kilonova.cloud.identity.model import Trust
from kilonova.cloud.identity.store import lost
from kilonova.core.errors import Forbidden, NotFound
from kilonova.kit.db import Tx, json_column, metadata

identity_trust = Table(
    "identity_trust",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("trustor_user_id", String(64), nullable=False),
    Column("trustee_user_id", String(64), nullable=False),
    Column("project_id", String(64)),
    Column("impersonation", Boolean, nullable=False),
    Column("expires_at", BigInteger),
    Column("remaining_uses", Integer),
    Column("created_at", BigInteger, nullable=False),
    json_column("roles"),
    Index("identity_trust_trustor", "trustor_user_id"),
    Index("identity_trust_trustee", "trustee_user_id"),
    Index("identity_trust_project", "project_id"),
)


def _trust(row: Any) -> Trust:
    return Trust(
        row.id, row.trustor_user_id, row.trustee_user_id, row.project_id, tuple(row.roles),
        row.impersonation, row.expires_at, row.remaining_uses,
    )  # fmt: skip


def create(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add one."""
    tx.execute(insert(identity_trust).values(**values, created_at=tx.now))


def get(tx: Tx, identifier: str, *, spent: bool = False) -> Trust:
    """One that has not expired; `spent` also takes one of which no use is left. Raises NotFound."""
    columns = identity_trust.c
    living = [or_(columns.expires_at.is_(None), columns.expires_at > tx.now)]
    if not spent:
        living.append(or_(columns.remaining_uses.is_(None), columns.remaining_uses > 0))
    row = tx.execute(select(identity_trust).where(columns.id == identifier, *living)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find trust: {identifier}.")
    return _trust(row)


def list_trusts(tx: Tx, where: Mapping[str, str], limit: int = 10_000) -> list[Trust]:
    """Those whose columns equal `where` and that have not expired, oldest first."""
    columns = identity_trust.c
    living = or_(columns.expires_at.is_(None), columns.expires_at > tx.now)
    clauses = [columns[key] == value for key, value in where.items()]
    found = select(identity_trust).where(living, *clauses).order_by(columns.created_at, columns.id)
    return [_trust(row) for row in tx.execute(found.limit(limit))]


def use(tx: Tx, identifier: str) -> None:
    """Count one use where uses are counted. Raises Forbidden when none is left."""
    columns = identity_trust.c
    counted = update(identity_trust).where(columns.id == identifier, columns.remaining_uses > 0)
    if tx.execute(counted.values(remaining_uses=columns.remaining_uses - 1)).rowcount:
        return
    if get(tx, identifier, spent=True).remaining_uses is not None:
        raise Forbidden(f"No remaining uses for trust: {identifier}.")


def remove(tx: Tx, identifier: str) -> None:
    """Delete one. Raises NotFound."""
    if not tx.execute(delete(identity_trust).where(identity_trust.c.id == identifier)).rowcount:
        raise NotFound(f"Could not find trust: {identifier}.")


def remove_lost(tx: Tx) -> None:
    """Delete those of users and projects that are no more."""
    columns = identity_trust.c
    trustor, trustee = lost(user=columns.trustor_user_id), lost(user=columns.trustee_user_id)
    tx.execute(delete(identity_trust).where(or_(trustor, trustee, lost(project=columns.project_id))))


def remove_of_user(tx: Tx, user_id: str) -> None:
    """Delete those in which a user has a part."""
    columns = identity_trust.c
    party = or_(columns.trustor_user_id == user_id, columns.trustee_user_id == user_id)
    tx.execute(delete(identity_trust).where(party))


def remove_of_project(tx: Tx, project_id: str) -> None:
    """Delete those on a project."""
    tx.execute(delete(identity_trust).where(identity_trust.c.project_id == project_id))
