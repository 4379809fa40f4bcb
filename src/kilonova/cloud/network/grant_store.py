"""Rows of grants: what a project may do with another's network, security group, subnet pool, address scope or group."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    Index,
    Row,
    Select,
    String,
    Table,
    UniqueConstraint,
    delete,
    exists,
    or_,
    select,
    update,
)

from kilonova.cloud.network.listing_store import Fields, page
from kilonova.cloud.network.model import Grant, Listing
from kilonova.core.context import Scope
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, insert_new, metadata

EVERYONE: Final = "*"
SHARED: Final = "access_as_shared"
EXTERNAL: Final = "access_as_external"
Whose = str | BindParameter[str] | None
"""A project's id, or where it will be put in; None: nobody's in particular."""

grant = Table(
    "network_grant",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("object_type", String(32), nullable=False),
    Column("object_id", String(36), nullable=False),
    Column("action", String(32), nullable=False),
    Column("target", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("object_id", "action", "target", name="network_grant_object"),
    Index("network_grant_target", "target", "object_type", "object_id"),
    Index("network_grant_order", "created_at", "id"),
)
_ALL: Final = ("id", "project_id", "object_type", "object_id", "action", "target", "created_at")
FIELDS: Final[Fields] = {name: grant.c[name] for name in _ALL}


def add(tx: Tx, row: Grant) -> bool:
    """A new grant; False when there is the same already."""
    return insert_new(tx, grant, {name: getattr(row, name) for name in _ALL})


def get(tx: Tx, scope: Scope, grant_id: str) -> Grant:
    """One grant of the scope's. Raises NotFound."""
    row = tx.execute(_visible(select(grant), scope).where(grant.c.id == grant_id)).one_or_none()
    if row is None:
        raise NotFound(f"RBAC policy of ID {grant_id} not found.", why="rbac_policy_not_found")
    return _grant(row)


def find(tx: Tx, scope: Scope, listing: Listing) -> list[Grant]:
    """A page of the scope's grants."""
    return [_grant(r) for r in page(tx, grant, _visible(select(grant), scope), FIELDS, listing)]


def of(tx: Tx, object_id: str, action: str | None = None) -> list[Grant]:
    """Every grant on an object, of one action only when it is given."""
    query = select(grant).where(grant.c.object_id == object_id).order_by(grant.c.created_at, grant.c.id)
    return [_grant(r) for r in tx.execute(query if action is None else query.where(grant.c.action == action))]


def retarget(tx: Tx, grant_id: str, target: str) -> None:
    """Another project has it from now on."""
    tx.execute(update(grant).where(grant.c.id == grant_id).values(target=target))


def remove(tx: Tx, grant_id: str) -> None:
    """Delete one."""
    tx.execute(delete(grant).where(grant.c.id == grant_id))


def remove_of(tx: Tx, object_id: str) -> list[str]:
    """Delete every grant on an object that is going; returns their ids."""
    gone = delete(grant).where(grant.c.object_id == object_id).returning(grant.c.id)
    return list(tx.execute(gone).scalars())


def granted(object_type: str, whose: Whose, *actions: str) -> Select[Any]:
    """A subquery: ids of the objects that a project may use by a grant (`SHARED` unless told)."""
    targets = (EVERYONE,) if whose is None else (EVERYONE, whose)
    return select(grant.c.object_id).where(
        grant.c.object_type == object_type, grant.c.action.in_(actions or (SHARED,)), grant.c.target.in_(targets)
    )


def seen_shared(table: Table, object_type: str, whose: Whose) -> ColumnElement[bool]:
    """Whether a row of `table` is shared with a project (None: with everyone)."""
    targets = (EVERYONE,) if whose is None else (EVERYONE, whose)
    return exists().where(
        grant.c.object_id == table.c.id,
        grant.c.object_type == object_type,
        grant.c.action == SHARED,
        grant.c.target.in_(targets),
    )


def is_external(network_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether anyone reaches the outside by this network."""
    return exists().where(grant.c.object_id == network_id, grant.c.action == EXTERNAL)


def own_or_shared(table: Table, object_type: str, scope: Scope, query: Select[Any]) -> Select[Any]:
    """Only rows of the scope's own or shared with it."""
    if scope.is_all:
        return query
    return query.where(
        or_(table.c.project_id == scope.project_id, table.c.id.in_(granted(object_type, scope.project_id)))
    )


def _visible(query: Select[Any], scope: Scope) -> Select[Any]:
    if scope.is_all:
        return query
    return query.where(grant.c.project_id == scope.project_id)


def _grant(row: Row[Any]) -> Grant:
    return Grant(**{name: getattr(row, name) for name in _ALL})
