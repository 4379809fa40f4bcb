"""Who has which role where, and which roles imply others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, Index, String, Table, delete, or_, select

from kilonova.cloud.identity.model import Assignment, Role, ScopeKind
from kilonova.cloud.identity.store import identity_role
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, insert_new, metadata

identity_assignment = Table(
    "identity_assignment",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("target_kind", String(16), primary_key=True),
    Column("target_id", String(64), primary_key=True),
    Column("role_id", String(64), primary_key=True),
    Index("identity_assignment_target", "target_kind", "target_id"),
    Index("identity_assignment_role", "role_id"),
)
identity_implication = Table(
    "identity_implication",
    metadata,
    Column("prior_id", String(64), primary_key=True),
    Column("implied_id", String(64), primary_key=True),
)


def grant(tx: Tx, one: Assignment) -> bool:
    """Give a role; False when it was there."""
    return insert_new(tx, identity_assignment, _values(one))


def revoke(tx: Tx, one: Assignment) -> None:
    """Take a role away. Raises NotFound."""
    if not tx.execute(delete(identity_assignment).where(*_match(_values(one)))).rowcount:
        raise NotFound(f"Could not find role assignment with role: {one.role_id}.")


def revoke_all(tx: Tx, **where: str) -> None:
    """Take away every assignment that names this user, role or target."""
    tx.execute(delete(identity_assignment).where(*_match(where)))
    if "role_id" in where:
        role_id = where["role_id"]
        tx.execute(
            delete(identity_implication).where(
                or_(identity_implication.c.prior_id == role_id, identity_implication.c.implied_id == role_id)
            )
        )


def list_assignments(tx: Tx, where: Mapping[str, str], limit: int = 10_000) -> list[Assignment]:
    """Direct assignments whose columns equal `where`."""
    columns = identity_assignment.c
    rows = tx.execute(
        select(identity_assignment)
        .where(*_match(where))
        .order_by(columns.user_id, columns.target_kind, columns.target_id, columns.role_id)
        .limit(limit)
    )
    return [Assignment(r.user_id, r.target_kind, r.target_id, r.role_id) for r in rows]


def roles_on(tx: Tx, user_id: str, kind: ScopeKind, target_id: str) -> list[Role]:
    """The user's effective roles there: those assigned and those that they imply, by name."""
    given = {one.role_id for one in list_assignments(tx, _where(user_id, kind, target_id))}
    if not given:
        return []
    wanted = given | implied_by(tx, given)
    rows = tx.execute(select(identity_role).where(identity_role.c.id.in_(sorted(wanted))))
    found = [Role(r.id, r.name, r.domain_id or None, r.description, r.extra) for r in rows]
    return sorted(found, key=lambda role: role.name)


def implied_by(tx: Tx, role_ids: Iterable[str]) -> set[str]:
    """Every role that these imply, at any distance."""
    implied: dict[str, list[str]] = {}
    for row in implications(tx):
        implied.setdefault(row[0], []).append(row[1])
    found: set[str] = set()
    waiting = list(role_ids)
    while waiting:
        for role_id in implied.get(waiting.pop(), ()):
            if role_id not in found:
                found.add(role_id)
                waiting.append(role_id)
    return found


def implications(tx: Tx) -> list[tuple[str, str]]:
    """Every (prior role, implied role)."""
    return [(r.prior_id, r.implied_id) for r in tx.execute(select(identity_implication))]


def imply(tx: Tx, prior_id: str, implied_id: str) -> bool:
    """Let one role imply another; False when it did."""
    return insert_new(tx, identity_implication, {"prior_id": prior_id, "implied_id": implied_id})


def _where(user_id: str, kind: ScopeKind, target_id: str) -> dict[str, str]:
    return {"user_id": user_id, "target_kind": kind, "target_id": target_id}


def _values(one: Assignment) -> dict[str, str]:
    return {**_where(one.user_id, one.target_kind, one.target_id), "role_id": one.role_id}


def _match(where: Mapping[str, str]) -> list[Any]:
    return [identity_assignment.c[key] == value for key, value in where.items()]
