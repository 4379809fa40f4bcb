"""Who belongs to which group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, Index, String, Table, delete, select

from kilonova.cloud.identity import store
from kilonova.cloud.identity.model import Group, User
from kilonova.cloud.identity.store import identity_group, identity_user
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, insert_new, metadata

identity_member = Table(
    "identity_member",
    metadata,
    Column("group_id", String(64), primary_key=True),
    Column("user_id", String(64), primary_key=True),
    Index("identity_member_user", "user_id"),
)


def add(tx: Tx, group_id: str, user_id: str) -> bool:
    """Let a user belong to a group; False when it did."""
    return insert_new(tx, identity_member, {"group_id": group_id, "user_id": user_id})


def leave(tx: Tx, group_id: str, user_id: str) -> None:
    """End a membership. Raises NotFound."""
    if not tx.execute(delete(identity_member).where(*_one(group_id, user_id))).rowcount:
        raise NotFound(f"User {user_id!r} not found in group {group_id!r}.")


def is_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Whether the user belongs to the group."""
    return tx.execute(select(identity_member.c.user_id).where(*_one(group_id, user_id))).first() is not None


def forget(tx: Tx, *, group_id: str | None = None, user_id: str | None = None) -> None:
    """End every membership of a group or of a user."""
    columns = identity_member.c
    which = columns.group_id == group_id if group_id is not None else columns.user_id == user_id
    tx.execute(delete(identity_member).where(which))


def forget_domain(tx: Tx, domain_id: str) -> None:
    """End every membership that a group or a user of the domain has."""
    for column, table in ((identity_member.c.group_id, identity_group), (identity_member.c.user_id, identity_user)):
        tx.execute(delete(identity_member).where(column.in_(select(table.c.id).where(table.c.domain_id == domain_id))))


def member_ids(tx: Tx, group_ids: Iterable[str], limit: int | None = None) -> list[tuple[str, str]]:
    """(group, user) of everybody who belongs to these groups."""
    columns = identity_member.c
    wanted = select(columns.group_id, columns.user_id).where(columns.group_id.in_(list(group_ids)))
    return [(row.group_id, row.user_id) for row in tx.execute(wanted.limit(limit))]


def list_users(tx: Tx, group_id: str, where: Mapping[str, Any], marker: str | None, limit: int) -> list[User]:
    """The users of a group, as `store.list_all` filters and pages them."""
    inside = select(identity_member.c.user_id).where(identity_member.c.group_id == group_id)
    return store.list_all(tx, "user", where, also=[identity_user.c.id.in_(inside)], marker=marker, limit=limit)


def list_groups(tx: Tx, user_id: str, where: Mapping[str, Any], marker: str | None, limit: int) -> list[Group]:
    """The groups of a user, as `store.list_all` filters and pages them."""
    inside = select(identity_member.c.group_id).where(identity_member.c.user_id == user_id)
    return store.list_all(tx, "group", where, also=[identity_group.c.id.in_(inside)], marker=marker, limit=limit)


def _one(group_id: str, user_id: str) -> tuple[Any, Any]:
    return identity_member.c.group_id == group_id, identity_member.c.user_id == user_id
