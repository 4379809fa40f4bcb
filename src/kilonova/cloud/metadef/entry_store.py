"""All SQL of what namespaces hold, and of resource types. A function that takes a Namespace trusts that the caller got
it from `store.get` in the scope that asks, to change it where something is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, String, and_, delete, func, insert, or_, select, type_coerce, update

from kilonova.cloud.metadef.model import (
    KINDS,
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_RESOURCE_TYPES,
    Entry,
    Kind,
    Namespace,
    Page,
    ResourceType,
)
from kilonova.cloud.metadef.table import entry, resource_type
from kilonova.core.errors import Conflict, NotFound, TooLarge
from kilonova.kit.db import Tx, insert_new

_CHUNK: Final = 500


def get(tx: Tx, space: Namespace, kind: Kind, name: str) -> Entry:
    """One of what it holds. Raises NotFound."""
    row = tx.execute(select(entry).where(*_same(space, kind), entry.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"The metadata definition {kind} {name} was not found in namespace {space.name}.")
    return _to_entry(row)


def everything(
    tx: Tx, spaces: Sequence[Namespace], kinds: Sequence[Kind] = KINDS
) -> dict[str, dict[Kind, list[Entry]]]:
    """What several namespaces hold of some kinds: by id and kind, in the order of names."""
    ids = [space.id for space in spaces]
    found: dict[str, dict[Kind, list[Entry]]] = {one: {} for one in ids}
    for start in range(0, len(ids), _CHUNK):
        wanted = (entry.c.namespace_id.in_(ids[start : start + _CHUNK]), entry.c.kind.in_(kinds))
        for row in tx.execute(select(entry).where(*wanted).order_by(entry.c.name)):
            found[row.namespace_id].setdefault(row.kind, []).append(_to_entry(row))
    return found


def page(tx: Tx, space: Namespace, kind: Kind, window: Page) -> list[Entry]:
    """One page of one kind. Raises NotFound when the marker is not there."""
    statement = select(entry).where(*_same(space, kind))
    keys = list(dict.fromkeys((window.sort, "created_at", "name")))
    if window.marker is not None:
        statement = statement.where(_after(keys, window.descending, get(tx, space, kind, window.marker)))
    order = [entry.c[key].desc() if window.descending else entry.c[key].asc() for key in keys]
    return [_to_entry(row) for row in tx.execute(statement.order_by(*order).limit(window.limit))]


def add(tx: Tx, space: Namespace, kind: Kind, new: Sequence[Entry]) -> None:
    """Store new ones, all of one kind. Raises Conflict when a name is taken, TooLarge."""
    names = [one.name for one in new]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    for start in range(0, len(names), _CHUNK):
        some = entry.c.name.in_(names[start : start + _CHUNK])
        twice = twice or tx.execute(select(entry.c.name).where(*_same(space, kind), some).limit(1)).scalar_one_or_none()
    if twice is not None:
        raise _taken(space, kind, twice)
    if new:
        tx.execute(insert(entry), [{"namespace_id": space.id, "kind": kind, **_values(one)} for one in new])
        _check_size(tx, space)


def change(tx: Tx, space: Namespace, kind: Kind, name: str, new: Entry) -> None:
    """Replace one, its name too. Raises NotFound, Conflict when the new name is taken, TooLarge."""
    if new.name != name and _has(tx, space, kind, new.name):
        raise _taken(space, kind, new.name)
    tx.execute(update(entry).where(*_same(space, kind), entry.c.name == name).values(**_values(new)))
    _check_size(tx, space)


def remove(tx: Tx, space: Namespace, kind: Kind, name: str) -> None:
    """Delete one. Raises NotFound."""
    if not tx.execute(delete(entry).where(*_same(space, kind), entry.c.name == name)).rowcount:
        raise NotFound(f"The metadata definition {kind} {name} was not found in namespace {space.name}.")


def clear(tx: Tx, space: Namespace, kind: Kind) -> None:
    """Delete all of one kind."""
    tx.execute(delete(entry).where(*_same(space, kind)))


def resource_types(tx: Tx) -> list[ResourceType]:
    """All that are known, in the order of names."""
    rows = tx.execute(select(resource_type).order_by(resource_type.c.name))
    return [ResourceType(row.name, row.created_at, row.updated_at) for row in rows]


def know_resource_types(tx: Tx, names: Sequence[str]) -> None:
    """Make resource types known that are not. Raises TooLarge."""
    new = [insert_new(tx, resource_type, {"name": one, "created_at": tx.now, "updated_at": tx.now}) for one in names]
    if any(new) and tx.execute(select(func.count()).select_from(resource_type)).scalar_one() > MAX_RESOURCE_TYPES:
        raise TooLarge(f"A cloud may have {MAX_RESOURCE_TYPES} resource types.")


def _has(tx: Tx, space: Namespace, kind: Kind, name: str) -> bool:
    return tx.execute(select(entry.c.name).where(*_same(space, kind), entry.c.name == name)).first() is not None


def _check_size(tx: Tx, space: Namespace) -> None:
    count, length = func.count(), func.length(type_coerce(entry.c.document, String))
    sizes = select(count.label("entries"), func.sum(length).label("bytes")).where(entry.c.namespace_id == space.id)
    kinds = tx.execute(sizes.group_by(entry.c.kind)).all()
    if any(kind.entries > MAX_ENTRIES for kind in kinds) or sum(kind.bytes for kind in kinds) > MAX_BYTES:
        raise TooLarge(f"A namespace may hold {MAX_ENTRIES} definitions of a kind, and {MAX_BYTES >> 10} KiB in all.")


def _same(space: Namespace, kind: Kind) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return entry.c.namespace_id == space.id, entry.c.kind == kind


def _after(keys: list[str], descending: bool, last: Entry) -> ColumnElement[bool]:
    choices: list[ColumnElement[bool]] = []
    level: list[ColumnElement[bool]] = []
    for key in keys:
        column, value = entry.c[key], getattr(last, key)
        choices.append(and_(*level, column < value if descending else column > value))
        level.append(column == value)
    return or_(*choices)


def _values(one: Entry) -> Mapping[str, Any]:
    return {
        "name": one.name,
        "document": dict(one.document),
        "created_at": one.created_at,
        "updated_at": one.updated_at,
    }


def _to_entry(row: Row[Any]) -> Entry:
    return Entry(row.name, row.document, row.created_at, row.updated_at)


def _taken(space: Namespace, kind: Kind, name: str) -> Conflict:
    return Conflict(f"A metadata definition {kind} named {name} already exists in namespace {space.name}.")
