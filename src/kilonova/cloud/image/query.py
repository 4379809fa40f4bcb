"""The list of images: one statement a page, by keyset over any sort order."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, and_, func, or_, select, true

from kilonova.cloud.image.model import Filter, Image, Page
from kilonova.cloud.image.store import to_image, visible
from kilonova.cloud.image.table import image, image_label, image_member
from kilonova.core.context import Scope
from kilonova.core.errors import Invalid
from kilonova.kit.db import Tx

_COMPARE: Final[dict[str, Callable[[Any, Any], ColumnElement[bool]]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
}
_NULLABLE: Final[dict[str, str | int]] = {
    "name": "",
    "disk_format": "",
    "container_format": "",
    "size": -1,
    "virtual_size": -1,
}
"""What an absent value sorts as."""


def page(tx: Tx, scope: Scope, wanted: Filter, window: Page) -> list[Image]:
    """One page of the images that the scope may see. Raises Invalid when the marker is none of them."""
    keys = _keys(window)
    statement = select(image).where(_visible(scope, wanted), *_conditions(wanted))
    if window.marker is not None:
        statement = statement.where(_after(keys, _marker(tx, scope, window.marker)))
    order = [column.desc() if descending else column.asc() for _, column, descending in keys]
    return [to_image(row) for row in tx.execute(statement.order_by(*order).limit(window.limit))]


def _visible(scope: Scope, wanted: Filter) -> ColumnElement[bool]:
    mine = true() if scope.is_all else image.c.owner == scope.project_id
    own = or_(mine, and_(image.c.visibility == "shared", _offered(scope, wanted.member_status)))
    if wanted.visibility is None:
        return or_(own, image.c.visibility == "public")
    if wanted.visibility == "all":
        return or_(own, image.c.visibility.in_(("public", "community")))
    asked = image.c.visibility == wanted.visibility
    return asked if wanted.visibility in ("public", "community") else and_(own, asked)


def _offered(scope: Scope, status: str) -> ColumnElement[bool]:
    """That the scope's project is a member, and has answered so."""
    offered = select(image_member.c.image_id).where(image_member.c.member_id == scope.project_id)
    return image.c.id.in_(offered if status == "all" else offered.where(image_member.c.status == status))


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    yield image.c.hidden == wanted.hidden
    for name, value in wanted.equal.items():
        yield image.c[name] == value
    for name, values in wanted.one_of.items():
        yield image.c[name].in_(values)
    for name, comparison, moment in wanted.times:
        # A moment is a whole second to the API, and µs to us.
        second = image.c[name] - image.c[name] % 1_000_000
        yield _COMPARE[comparison](second, moment)
    if wanted.size_min is not None:
        yield image.c.size >= wanted.size_min
    if wanted.size_max is not None:
        yield image.c.size <= wanted.size_max
    for tag in wanted.tags:
        yield _labelled("t", tag, "")
    for name, value in wanted.properties.items():
        yield _labelled("p", name, value[:255])


def _labelled(kind: str, name: str, value: str) -> ColumnElement[bool]:
    same = (image_label.c.kind == kind, image_label.c.name == name, image_label.c.value == value)
    return image.c.id.in_(select(image_label.c.image_id).where(*same))


Key = tuple[str, ColumnElement[Any], bool]


def _keys(window: Page) -> list[Key]:
    """Every sort key, made total: equal rows go by time and id, in the direction of the first key."""
    sort = list(window.sort) or [("created_at", True)]
    for last in ("created_at", "id"):
        if last not in {name for name, _ in sort}:
            sort.append((last, sort[0][1]))
    return [(name, _sortable(name), descending) for name, descending in sort]


def _sortable(name: str) -> ColumnElement[Any]:
    column: Column[Any] = image.c[name]
    return func.coalesce(column, _NULLABLE[name]) if name in _NULLABLE else column


def _marker(tx: Tx, scope: Scope, marker: str) -> Image:
    row = tx.execute(select(image).where(image.c.id == marker, *visible(scope))).one_or_none()
    if row is None:
        raise Invalid(f"Marker image {marker} could not be found.")
    return to_image(row)


def _after(keys: list[Key], last: Image) -> ColumnElement[bool]:
    """Rows behind `last`: behind in the first key, or level there and behind in the second, and so on."""
    choices: list[ColumnElement[bool]] = []
    level: list[ColumnElement[bool]] = []
    for name, column, descending in keys:
        value = getattr(last, name)
        value = _NULLABLE[name] if value is None else value
        choices.append(and_(*level, column < value if descending else column > value))
        level.append(column == value)
    return or_(*choices)
