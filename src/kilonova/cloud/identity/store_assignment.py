"""Who was given which role where. What follows from that stands in `store_effective`.

The column `user_id` holds a group's id where `actor_kind` says so; it is older than groups. An inherited assignment has
the target kind `under_project` or `under_domain`: what it gives, it gives there and not on the project itself.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Index, String, Table, and_, delete, or_, select

from kilonova.cloud.identity.model import Assignment, Kind, Sought
from kilonova.cloud.identity.store import identity_group, identity_project, identity_role, identity_user
from kilonova.cloud.identity.store_project import below
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, insert_new, metadata

UNDER: Final = "under_"
LISTED: Final = 10_000

identity_assignment = Table(
    "identity_assignment",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("target_kind", String(16), primary_key=True),
    Column("target_id", String(64), primary_key=True),
    Column("role_id", String(64), primary_key=True),
    Column("actor_kind", String(8), nullable=False, default="user"),
    Index("identity_assignment_target", "target_kind", "target_id"),
    Index("identity_assignment_role", "role_id"),
)


def grant(tx: Tx, one: Assignment) -> bool:
    """Give a role; False when it was there."""
    return insert_new(tx, identity_assignment, {**_key(one), "actor_kind": one.actor_kind})


def revoke(tx: Tx, one: Assignment) -> None:
    """Take a role away. Raises NotFound."""
    if not tx.execute(delete(identity_assignment).where(*_match(one))).rowcount:
        raise NotFound(f"Could not find role assignment with role: {one.role_id}.")


def holds(tx: Tx, one: Assignment) -> bool:
    """Whether exactly this was given."""
    return tx.execute(select(identity_assignment.c.role_id).where(*_match(one))).first() is not None


def revoke_all(tx: Tx, kind: Kind, identifier: str) -> None:
    """Take away every assignment that names this."""
    columns = identity_assignment.c
    which: dict[str, list[Any]] = {
        "role": [columns.role_id == identifier],
        "project": [columns.target_kind.in_(kinds("project")), columns.target_id == identifier],
        "domain": [columns.target_kind.in_(kinds("domain")), columns.target_id == identifier],
    }
    tx.execute(delete(identity_assignment).where(*which.get(kind, [columns.user_id == identifier])))


def revoke_domain(tx: Tx, domain_id: str) -> None:
    """Take away every assignment that names the domain, or a project, user, group or role in it."""
    columns = identity_assignment.c
    within = (
        (columns.target_id, identity_project),
        (columns.user_id, identity_user),
        (columns.user_id, identity_group),
    )
    tx.execute(delete(identity_assignment).where(columns.target_id == domain_id))
    for column, table in (*within, (columns.role_id, identity_role)):
        inside = select(table.c.id).where(table.c.domain_id == domain_id)
        tx.execute(delete(identity_assignment).where(column.in_(inside)))


def list_assignments(tx: Tx, sought: Sought, limit: int = LISTED) -> list[Assignment]:
    """What was given, as far as `sought` says."""
    columns = identity_assignment.c
    rows = tx.execute(
        select(identity_assignment)
        .where(*_clauses(sought))
        .order_by(columns.user_id, columns.target_kind, columns.target_id, columns.role_id)
        .limit(limit)
    )
    return [to_assignment(row) for row in rows]


def to_assignment(row: Any) -> Assignment:
    """A row of the table."""
    kind = row.target_kind.removeprefix(UNDER)
    return Assignment(row.user_id, kind, row.target_id, row.role_id, row.actor_kind, kind != row.target_kind)


def kinds(kind: str) -> tuple[str, str]:
    """The target kinds of assignments on a project or domain: its own, and what lies below it."""
    return kind, UNDER + kind


def in_domain(domain_id: str) -> ColumnElement[bool]:
    """Whose target is this domain or a project in it."""
    columns = identity_assignment.c
    projects = select(identity_project.c.id).where(identity_project.c.domain_id == domain_id)
    return or_(
        and_(columns.target_kind.in_(kinds("domain")), columns.target_id == domain_id),
        and_(columns.target_kind.in_(kinds("project")), columns.target_id.in_(projects)),
    )


def _clauses(sought: Sought) -> list[Any]:
    columns = identity_assignment.c
    found: list[Any] = []
    for column, value in (
        (columns.actor_kind, sought.actor_kind),
        (columns.user_id, sought.actor_id),
        (columns.role_id, sought.role_id),
    ):
        if value is not None:
            found.append(column == value)
    if sought.target_kind is not None:
        found.append(columns.target_kind.in_(kinds(sought.target_kind)))
    if sought.target_id is not None and sought.subtree:
        tree = below(identity_project.c.id == sought.target_id)
        found.append(columns.target_id.in_(select(tree.c.id)))
    elif sought.target_id is not None:
        found.append(columns.target_id == sought.target_id)
    if sought.inherited is not None:
        below_it = columns.target_kind.startswith(UNDER, autoescape=True)
        found.append(below_it if sought.inherited else ~below_it)
    if sought.domain_id is not None:
        found.append(in_domain(sought.domain_id))
    return found


def _key(one: Assignment) -> dict[str, str]:
    kind = UNDER + one.target_kind if one.inherited else one.target_kind
    return {"user_id": one.actor_id, "target_kind": kind, "target_id": one.target_id, "role_id": one.role_id}


def _match(one: Assignment) -> list[Any]:
    return [identity_assignment.c[key] == value for key, value in {**_key(one), "actor_kind": one.actor_kind}.items()]
