"""All SQL of namespaces; what they hold is in `entry_store.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, delete, func, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from kilonova.cloud.metadef.model import Filter, Namespace, Page
from kilonova.cloud.metadef.table import entry, namespace
from kilonova.core.context import Scope
from kilonova.core.errors import Conflict, NotFound
from kilonova.kit.db import Tx, insert_new

_COLUMNS: Final = tuple(field.name for field in fields(Namespace))


def add(tx: Tx, new: Namespace) -> None:
    """Store a new namespace. Raises Conflict when its name is taken."""
    if not insert_new(tx, namespace, asdict(new)):
        raise _taken(new.name)


def get(tx: Tx, scope: Scope, name: str, *, to_change: bool = False) -> Namespace:
    """One namespace that the scope may see: its own, or a public one. Raises NotFound.

    `to_change` keeps others from changing it, or what it holds, until the end of `tx`.
    """
    statement = select(namespace).where(namespace.c.name == name, _visible(scope))
    row = tx.execute(statement.with_for_update() if to_change else statement).one_or_none()
    if row is None:
        raise NotFound(f"Metadata definition namespace {name} was not found.")
    return _to_namespace(row)


def page(tx: Tx, scope: Scope, wanted: Filter, window: Page) -> list[Namespace]:
    """One page of what the scope may see. Raises NotFound when the marker is not there."""
    statement = select(namespace).where(_visible(scope), *_conditions(wanted))
    keys = list(dict.fromkeys((window.sort, "created_at", "id")))
    if window.marker is not None:
        statement = statement.where(_after(keys, window.descending, get(tx, scope, window.marker)))
    order = [_sortable(key).desc() if window.descending else _sortable(key).asc() for key in keys]
    return [_to_namespace(row) for row in tx.execute(statement.order_by(*order).limit(window.limit))]


def change(tx: Tx, new: Namespace) -> None:
    """Replace everything but its id. Raises Conflict when the new name is taken."""
    try:
        tx.execute(update(namespace).where(namespace.c.id == new.id).values(**asdict(new)))
    except IntegrityError as error:
        raise _taken(new.name) from error


def remove(tx: Tx, old: Namespace) -> None:
    """Delete it with all that it holds."""
    tx.execute(delete(namespace).where(namespace.c.id == old.id))


def _visible(scope: Scope) -> ColumnElement[bool]:
    if scope.is_all:
        return true()
    return or_(namespace.c.owner == scope.project_id, namespace.c.visibility == "public")


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    if wanted.visibility is not None:
        yield namespace.c.visibility == wanted.visibility
    if wanted.resource_types:
        named = (entry.c.kind == "association", entry.c.name.in_(wanted.resource_types))
        yield namespace.c.id.in_(select(entry.c.namespace_id).where(*named))


def _sortable(key: str) -> ColumnElement[Any]:
    column: ColumnElement[Any] = namespace.c[key]
    return func.coalesce(column, "") if key == "display_name" else column


def _after(keys: list[str], descending: bool, last: Namespace) -> ColumnElement[bool]:
    """Rows behind `last`: behind in the first key, or level there and behind in the second, and so on."""
    choices: list[ColumnElement[bool]] = []
    level: list[ColumnElement[bool]] = []
    for key in keys:
        column, value = _sortable(key), getattr(last, key)
        value = "" if value is None else value
        choices.append(and_(*level, column < value if descending else column > value))
        level.append(column == value)
    return or_(*choices)


def _to_namespace(row: Row[Any]) -> Namespace:
    return Namespace(**{name: getattr(row, name) for name in _COLUMNS})


def _taken(name: str) -> Conflict:
    return Conflict(f"The metadata definition namespace {name} already exists.")
