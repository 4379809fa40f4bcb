"""Rows of address groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, Row, String, Table, Text, delete, func, insert, select, update

from kilonova.cloud.network.grant_store import own_or_shared, seen_shared
from kilonova.cloud.network.listing_store import Fields, page
from kilonova.cloud.network.model import AddressGroup, Listing
from kilonova.core.context import Scope
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, json_column, metadata

KIND: Final = "address_group"

address_group = Table(
    "network_address_group",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    json_column("addresses"),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("network_address_group_order", "created_at", "id"),
)
_SAME: Final = ("id", "project_id", "name", "description", "revision", "created_at", "updated_at")
_FIELDS: Final[Fields] = {name: address_group.c[name] for name in _SAME}


def add(tx: Tx, row: AddressGroup) -> None:
    """A new address group."""
    values = {name: getattr(row, name) for name in _SAME}
    tx.execute(insert(address_group).values(**values, addresses=list(row.addresses)))


def get(tx: Tx, scope: Scope, group_id: str) -> AddressGroup:
    """One address group that `scope` may see. Raises NotFound."""
    query = select(address_group, seen_shared(address_group, KIND, scope.project_id).label("shared"))
    row = tx.execute(
        own_or_shared(address_group, KIND, scope, query).where(address_group.c.id == group_id)
    ).one_or_none()
    if row is None:
        raise _missing(group_id)
    return _group(row)


def get_own(tx: Tx, scope: Scope, group_id: str) -> AddressGroup:
    """One address group that `scope` may change. Raises NotFound."""
    found = get(tx, scope, group_id)
    if not scope.is_all and found.project_id != scope.project_id:
        raise _missing(group_id)
    return found


def find(tx: Tx, scope: Scope, listing: Listing) -> list[AddressGroup]:
    """A page of what `scope` may see."""
    shared = seen_shared(address_group, KIND, scope.project_id)
    query = own_or_shared(address_group, KIND, scope, select(address_group, shared.label("shared")))
    return [_group(r) for r in page(tx, address_group, query, {**_FIELDS, "shared": shared}, listing)]


def count(tx: Tx, project_id: str) -> int:
    """How many address groups a project has."""
    query = select(func.count()).select_from(address_group).where(address_group.c.project_id == project_id)
    return int(tx.execute(query).scalar_one())


def lock(tx: Tx, group_id: str) -> None:
    """Let nobody else use or change this address group until the commit."""
    tx.execute(select(address_group.c.id).where(address_group.c.id == group_id).with_for_update())


def change(tx: Tx, group_id: str, values: Mapping[str, Any]) -> None:
    """Set columns and let the revision, which is its document's version, rise."""
    risen = {"revision": address_group.c.revision + 1, "updated_at": tx.now}
    tx.execute(update(address_group).where(address_group.c.id == group_id).values(**{**values, **risen}))


def remove(tx: Tx, group_id: str) -> None:
    """Delete the row; no rule refers to it any more."""
    tx.execute(delete(address_group).where(address_group.c.id == group_id))


def _group(row: Row[Any]) -> AddressGroup:
    same = {name: getattr(row, name) for name in _SAME}
    return AddressGroup(**same, addresses=tuple(row.addresses), shared=bool(row.shared))


def _missing(group_id: str) -> NotFound:
    return NotFound(f"Address group {group_id} could not be found.", why="address_group_not_found")
