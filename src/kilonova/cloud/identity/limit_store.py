"""Unified limits: what a service registers as the default of a resource, and what a project or domain has instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Index, Integer, String, Table, Text, delete, select, text, update
from sqlalchemy.exc import IntegrityError

from kilonova.cloud.identity.store import lost
from kilonova.core.errors import Conflict, Forbidden, NotFound
from kilonova.kit.db import Tx, insert_new, metadata

identity_registered_limit = Table(
    "identity_registered_limit",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("service_id", String(64), nullable=False),
    Column("region_id", String(255)),
    Column("resource_name", String(255), nullable=False),
    Column("default_limit", Integer, nullable=False),
    Column("description", Text),
    Index("identity_registered_limit_resource", "service_id", "resource_name"),
    # To a database no two NULLs are the same.
    Index(
        "identity_registered_limit_unique",
        "service_id",
        "resource_name",
        text("coalesce(region_id, '')"),
        unique=True,
    ),
)
identity_limit = Table(
    "identity_limit",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(64)),
    Column("domain_id", String(64)),
    Column("service_id", String(64), nullable=False),
    Column("region_id", String(255)),
    Column("resource_name", String(255), nullable=False),
    Column("resource_limit", Integer, nullable=False),
    Column("description", Text),
    Index("identity_limit_project", "project_id"),
    Index("identity_limit_domain", "domain_id"),
    Index("identity_limit_resource", "service_id", "resource_name"),
    Index(
        "identity_limit_unique",
        "service_id",
        "resource_name",
        text("coalesce(region_id, '')"),
        text("coalesce(project_id, '')"),
        text("coalesce(domain_id, '')"),
        unique=True,
    ),
)
_OWN = ("service_id", "region_id", "resource_name")
_REGISTERED_TWICE = "Conflict occurred attempting to store registered_limit - Duplicate entry."


@dataclass(frozen=True, slots=True)
class RegisteredLimit:
    """The default of one resource of a service, in a region or in all."""

    id: str
    service_id: str
    region_id: str | None
    resource_name: str
    default_limit: int
    description: str | None


@dataclass(frozen=True, slots=True)
class Limit:
    """What a project, or a domain, has instead of a default."""

    id: str
    project_id: str | None
    domain_id: str | None
    service_id: str
    region_id: str | None
    resource_name: str
    resource_limit: int
    description: str | None


def _registered(row: Any) -> RegisteredLimit:
    return RegisteredLimit(**row._mapping)


def _limit(row: Any) -> Limit:
    return Limit(**row._mapping)


def get_registered(tx: Tx, identifier: str) -> RegisteredLimit:
    """One by id. Raises NotFound."""
    table = identity_registered_limit
    row = tx.execute(select(table).where(table.c.id == identifier)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find registered limit for {identifier}.")
    return _registered(row)


def get_limit(tx: Tx, identifier: str) -> Limit:
    """One by id. Raises NotFound."""
    row = tx.execute(select(identity_limit).where(identity_limit.c.id == identifier)).one_or_none()
    if row is None:
        raise NotFound(f"Could not find limit for {identifier}.")
    return _limit(row)


def list_registered(tx: Tx, where: Mapping[str, str | None]) -> list[RegisteredLimit]:
    """Those whose columns equal `where`."""
    return [_registered(row) for row in tx.execute(_select(identity_registered_limit, where))]


def list_limits(tx: Tx, where: Mapping[str, str | None]) -> list[Limit]:
    """Those whose columns equal `where`."""
    return [_limit(row) for row in tx.execute(_select(identity_limit, where))]


def create_registered(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add one. Raises Conflict when its resource has one."""
    if not insert_new(tx, identity_registered_limit, values):
        raise Conflict(_REGISTERED_TWICE)


def create_limit(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add one. Raises Conflict when the project or domain has one, Forbidden when its resource is not registered."""
    own = {key: values.get(key) for key in _OWN}
    if not list_registered(tx, own):
        raise Forbidden("Unable to create a limit that has no corresponding registered limit.")
    if not insert_new(tx, identity_limit, values):
        raise Conflict("Conflict occurred attempting to store limit - Duplicate entry.")


def change_registered(tx: Tx, identifier: str, values: Mapping[str, Any]) -> None:
    """Set columns of one. Raises NotFound, Conflict, Forbidden when limits rest on what would change."""
    before = get_registered(tx, identifier)
    moved = {key: values.get(key, getattr(before, key)) for key in _OWN}
    if moved != {key: getattr(before, key) for key in _OWN}:
        _check_unused(tx, before)
    table = identity_registered_limit
    if values:
        try:
            tx.execute(update(table).where(table.c.id == identifier).values(**values))
        except IntegrityError as error:
            raise Conflict(_REGISTERED_TWICE) from error


def change_limit(tx: Tx, identifier: str, values: Mapping[str, Any]) -> None:
    """Set columns of one. Raises NotFound."""
    get_limit(tx, identifier)
    if values:
        tx.execute(update(identity_limit).where(identity_limit.c.id == identifier).values(**values))


def remove_registered(tx: Tx, identifier: str) -> None:
    """Delete one. Raises NotFound, Forbidden when limits rest on it."""
    _check_unused(tx, get_registered(tx, identifier))
    tx.execute(delete(identity_registered_limit).where(identity_registered_limit.c.id == identifier))


def remove_limit(tx: Tx, identifier: str) -> None:
    """Delete one. Raises NotFound."""
    if not tx.execute(delete(identity_limit).where(identity_limit.c.id == identifier)).rowcount:
        raise NotFound(f"Could not find limit for {identifier}.")


def remove_of(tx: Tx, **where: str) -> None:
    """Delete a project's or a domain's limits."""
    tx.execute(delete(identity_limit).where(*(identity_limit.c[key] == value for key, value in where.items())))


def remove_of_service(tx: Tx, service_id: str) -> None:
    """Delete what a service has registered, and the limits on it."""
    for table in (identity_limit, identity_registered_limit):
        tx.execute(delete(table).where(table.c.service_id == service_id))


def remove_lost(tx: Tx) -> None:
    """Delete the limits of domains and projects that are no more."""
    columns = identity_limit.c
    tx.execute(delete(identity_limit).where(lost(project=columns.project_id, domain=columns.domain_id)))


def _check_unused(tx: Tx, one: RegisteredLimit) -> None:
    if list_limits(tx, {key: getattr(one, key) for key in _OWN}):
        raise Forbidden(
            f"Unable to update or delete registered limit {one.id} because there are project limits associated with it."
        )


def _select(table: Table, where: Mapping[str, str | None]) -> Any:
    clauses = [table.c[k].is_(None) if v is None else table.c[k] == v for k, v in where.items()]
    return select(table).where(*clauses).order_by(table.c.id).limit(10_000)
