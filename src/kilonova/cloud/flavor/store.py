"""All SQL of flavors."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)

from kilonova.cloud.flavor.model import Flavor, FlavorFilter, FlavorPage
from kilonova.core.context import Scope
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Tx, insert_new, json_column, metadata

flavor = Table(
    "flavor",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("vcpus", Integer, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("root_gb", Integer, nullable=False),
    Column("ephemeral_gb", Integer, nullable=False),
    Column("swap_mb", Integer, nullable=False),
    Column("rxtx_factor", Float, nullable=False),
    Column("is_public", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("description", Text),
    json_column("extra_specs"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger),
    Index("flavor_by_size", "memory_mb", "root_gb", "vcpus", "id"),
)
flavor_access = Table(
    "flavor_access",
    metadata,
    Column("flavor_id", String(255), ForeignKey("flavor.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", String(64), primary_key=True),
    Index("flavor_access_by_project", "project_id"),
)
COLUMNS: Final = tuple(field.name for field in fields(Flavor))


def add(tx: Tx, new: Flavor) -> None:
    """Store a new flavor. Raises Conflict when its id or name is taken."""
    values = {name: getattr(new, name) for name in COLUMNS}
    if insert_new(tx, flavor, {**values, "extra_specs": dict(new.extra_specs)}):
        return
    same_id = tx.execute(select(flavor.c.id).where(flavor.c.id == new.id)).one_or_none()
    raise Conflict(f"Flavor with {'ID' if same_id else 'name'} {new.id if same_id else new.name} already exists.")


def get(tx: Tx, scope: Scope, flavor_id: str, *, to_change: bool = False) -> Flavor:
    """One flavor that the scope may use; `to_change` keeps others from changing it until the end of `tx`.

    Raises NotFound.
    """
    statement = select(flavor).where(flavor.c.id == flavor_id, _usable(scope))
    row = tx.execute(statement.with_for_update() if to_change else statement).one_or_none()
    if row is None:
        raise NotFound(f"Flavor {flavor_id} could not be found.")
    return _to_flavor(row)


def page(tx: Tx, scope: Scope, wanted: FlavorFilter, window: FlavorPage) -> list[Flavor]:
    """One page. Raises Invalid when the marker is unknown."""
    statement = select(flavor).where(_usable(scope))
    if scope.is_all and wanted.is_public is not None:
        statement = statement.where(flavor.c.is_public == wanted.is_public)
    if wanted.min_memory_mb is not None:
        statement = statement.where(flavor.c.memory_mb >= wanted.min_memory_mb)
    if wanted.min_root_gb is not None:
        statement = statement.where(flavor.c.root_gb >= wanted.min_root_gb)
    if wanted.name is not None:
        statement = statement.where(flavor.c.name == wanted.name)
    if wanted.name_contains is not None:
        statement = statement.where(func.lower(flavor.c.name).contains(wanted.name_contains.lower(), autoescape=True))
    keys = [*window.sort] if "id" in dict(window.sort) else [*window.sort, ("id", False)]
    if window.marker is not None:
        statement = statement.where(_after(keys, _marker(tx, scope, window.marker)))
    order = [flavor.c[name].desc() if descending else flavor.c[name].asc() for name, descending in keys]
    return [_to_flavor(row) for row in tx.execute(statement.order_by(*order).limit(window.limit))]


def describe(tx: Tx, flavor_id: str, description: str | None) -> None:
    """Change the description."""
    tx.execute(update(flavor).where(flavor.c.id == flavor_id).values(description=description, updated_at=tx.now))


def set_specs(tx: Tx, flavor_id: str, specs: dict[str, str]) -> None:
    """Replace all extra specs."""
    tx.execute(update(flavor).where(flavor.c.id == flavor_id).values(extra_specs=specs, updated_at=tx.now))


def remove(tx: Tx, flavor_id: str) -> bool:
    """Delete a flavor (servers keep their copy); whether it was there."""
    return bool(tx.execute(delete(flavor).where(flavor.c.id == flavor_id)).rowcount)


def projects(tx: Tx, flavor_id: str) -> list[str]:
    """Who may use a private flavor."""
    rows = tx.execute(select(flavor_access.c.project_id).where(flavor_access.c.flavor_id == flavor_id))
    return sorted(row.project_id for row in rows)


def grant(tx: Tx, flavor_id: str, project_id: str) -> bool:
    """Let a project use it; False when it may already."""
    return insert_new(tx, flavor_access, {"flavor_id": flavor_id, "project_id": project_id})


def revoke(tx: Tx, flavor_id: str, project_id: str) -> bool:
    """No longer let it; False when it might not."""
    same = and_(flavor_access.c.flavor_id == flavor_id, flavor_access.c.project_id == project_id)
    return bool(tx.execute(delete(flavor_access).where(same)).rowcount)


def is_empty(tx: Tx) -> bool:
    """Whether there is no flavor at all."""
    return tx.execute(select(flavor.c.id).limit(1)).one_or_none() is None


def _usable(scope: Scope) -> ColumnElement[bool]:
    if scope.is_all:
        return flavor.c.id.is_not(None)
    allowed = select(flavor_access.c.flavor_id).where(flavor_access.c.project_id == scope.project_id)
    return or_(flavor.c.is_public, flavor.c.id.in_(allowed))


def _marker(tx: Tx, scope: Scope, marker: str) -> Flavor:
    try:
        return get(tx, scope, marker)
    except NotFound:
        raise Invalid(f"marker [{marker}] not found") from None


def _after(keys: list[tuple[str, bool]], last: Flavor) -> ColumnElement[bool]:
    """Rows behind `last`: behind in the first key, or level there and behind in the second, and so on."""
    choices: list[ColumnElement[bool]] = []
    level: list[ColumnElement[bool]] = []
    for name, descending in keys:
        column, value = flavor.c[name], getattr(last, name)
        choices.append(and_(*level, column < value if descending else column > value))
        level.append(column == value)
    return or_(*choices)


def _to_flavor(row: Row[Any]) -> Flavor:
    return Flavor(**{name: getattr(row, name) for name in COLUMNS})
