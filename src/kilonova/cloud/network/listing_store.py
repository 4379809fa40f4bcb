"""Pages of any of this noun's tables: filters, sort and keyset in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Row, Select, Table, Text, and_, false, func, not_, or_, select, type_coerce

from kilonova.cloud.network.model import Listing
from kilonova.core.errors import Invalid, NotFound
from kilonova.kit.db import Tx

T = TypeVar("T")
CHUNK: Final = 400
"""Values bound in one statement."""

Fields = Mapping[str, ColumnElement[Any]]


def chunks(values: Iterable[T]) -> Iterator[Sequence[T]]:
    """Values in bounded lists; nothing when there are none."""
    some = list(values)
    for start in range(0, len(some), CHUNK):
        yield some[start : start + CHUNK]


def page(tx: Tx, table: Table, query: Select[Any], fields: Fields, listing: Listing) -> list[Row[Any]]:
    """Rows of `query` (already scoped) that pass the filters, in order, from the marker on.

    `fields` are what may be filtered and sorted by. Raises Invalid for another field, NotFound for an unknown marker.
    """
    for name, values in listing.filters.items():
        query = query.where(_filter(_field(fields, name), values))
    for how, tags in listing.tags.items():
        query = query.where(_tagged(table, how, tags))
    order = [(_field(fields, name), ascending != listing.reverse) for name, ascending in _order(listing)]
    if listing.marker is not None:
        query = query.where(_after(tx, table, order, listing.marker))
    query = query.order_by(*(column.asc() if ascending else column.desc() for column, ascending in order))
    if listing.limit is not None:
        query = query.limit(listing.limit)
    rows = list(tx.execute(query))
    return rows[::-1] if listing.reverse else rows


def _order(listing: Listing) -> list[tuple[str, bool]]:
    """The order asked for, made total by the id; by default the order of creation."""
    order = list(listing.sort) or [("created_at", True)]
    return order if any(name == "id" for name, _ in order) else [*order, ("id", True)]


def _field(fields: Fields, name: str) -> ColumnElement[Any]:
    column = fields.get(name)
    if column is None:
        raise Invalid(f"'{name[:64]}' cannot be filtered or sorted by")
    return column


def _filter(column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    if not values:
        return false()
    return or_(*(column.in_(some) for some in chunks(values)))


def _tagged(table: Table, how: str, tags: Sequence[str]) -> ColumnElement[bool]:
    """Whether a row has all, or any, of these tags.

    A quote within a tag stands behind a backslash in the column's text, so what begins with a bare quote after `[` or a
    comma is an element. `replace` compares letter by letter on every dialect, as LIKE does not.
    """
    text = type_coerce(table.c.tags, Text)
    has = []
    for tag in tags:
        element = msgspec.json.encode(tag).decode()
        has.append(or_(*(func.replace(text, before + element, "") != text for before in "[,")))
    found = (and_ if how.endswith("all") else or_)(*has) if has else false()
    return not_(found) if how.startswith("not") else found


def _after(tx: Tx, table: Table, order: Sequence[tuple[ColumnElement[Any], bool]], marker: str) -> ColumnElement[bool]:
    row = tx.execute(select(*(column for column, _ in order)).select_from(table).where(table.c.id == marker)).first()
    if row is None:
        raise NotFound(f"The marker {marker[:64]} could not be found.")
    steps = []
    for depth, (column, ascending) in enumerate(order):
        same = [order[i][0] == row[i] for i in range(depth)]
        steps.append(and_(*same, column > row[depth] if ascending else column < row[depth]))
    return or_(*steps)
