"""Rows of subnet pools and address scopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from kilonova.cloud.network.grant_store import own_or_shared, seen_shared
from kilonova.cloud.network.listing_store import Fields, page
from kilonova.cloud.network.model import Listing
from kilonova.cloud.network.pool_model import AddressScope, SubnetPool
from kilonova.cloud.network.subnet_store import subnet
from kilonova.core.context import Scope
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, json_column, metadata

SCOPE: Final = "address_scope"
POOL: Final = "subnetpool"

address_scope = Table(
    "network_address_scope",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("ip_version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("network_address_scope_order", "created_at", "id"),
)
subnet_pool = Table(
    "network_subnet_pool",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    Column("ip_version", Integer, nullable=False),
    Column("scope_id", String(36), ForeignKey("network_address_scope.id"), index=True),
    json_column("prefixes"),
    Column("default_prefixlen", Integer, nullable=False),
    Column("min_prefixlen", Integer, nullable=False),
    Column("max_prefixlen", Integer, nullable=False),
    Column("default_quota", BigInteger),
    Column("is_default", Boolean, nullable=False),
    json_column("tags"),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("network_subnet_pool_order", "created_at", "id"),
)
_SCOPE: Final = ("id", "project_id", "name", "ip_version", "created_at")
_POOL: Final = (
    "id", "project_id", "name", "description", "ip_version", "scope_id", "default_prefixlen", "min_prefixlen",
    "max_prefixlen", "default_quota", "is_default", "revision", "created_at", "updated_at",
)  # fmt: skip
_SCOPE_FIELDS: Final[Fields] = {name: address_scope.c[name] for name in _SCOPE}
_POOL_FIELDS: Final[Fields] = {
    **{name: subnet_pool.c[name] for name in _POOL},
    "scope_id": func.coalesce(subnet_pool.c.scope_id, ""),
    "default_quota": func.coalesce(subnet_pool.c.default_quota, -1),
}


def add_scope(tx: Tx, row: AddressScope) -> None:
    """A new address scope."""
    tx.execute(insert(address_scope).values(**{name: getattr(row, name) for name in _SCOPE}))


def get_scope(tx: Tx, scope: Scope, scope_id: str) -> AddressScope:
    """One address scope that `scope` may see. Raises NotFound."""
    query = select(address_scope, seen_shared(address_scope, SCOPE, scope.project_id).label("shared"))
    query = own_or_shared(address_scope, SCOPE, scope, query).where(address_scope.c.id == scope_id)
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"Address scope {scope_id} could not be found", why="address_scope_not_found")
    return _scope(row)


def find_scopes(tx: Tx, scope: Scope, listing: Listing) -> list[AddressScope]:
    """A page of what `scope` may see."""
    shared = seen_shared(address_scope, SCOPE, scope.project_id)
    query = own_or_shared(address_scope, SCOPE, scope, select(address_scope, shared.label("shared")))
    return [_scope(r) for r in page(tx, address_scope, query, {**_SCOPE_FIELDS, "shared": shared}, listing)]


def count_scopes(tx: Tx, project_id: str) -> int:
    """How many address scopes a project has."""
    query = select(func.count()).select_from(address_scope).where(address_scope.c.project_id == project_id)
    return int(tx.execute(query).scalar_one())


def lock_scope(tx: Tx, scope_id: str) -> None:
    """Let nobody else use or change this address scope until the commit."""
    tx.execute(select(address_scope.c.id).where(address_scope.c.id == scope_id).with_for_update())


def rename_scope(tx: Tx, scope_id: str, name: str) -> None:
    """Another name."""
    tx.execute(update(address_scope).where(address_scope.c.id == scope_id).values(name=name))


def remove_scope(tx: Tx, scope_id: str) -> None:
    """Delete the row; no pool is in it any more."""
    tx.execute(delete(address_scope).where(address_scope.c.id == scope_id))


def add(tx: Tx, row: SubnetPool) -> None:
    """A new subnet pool."""
    values = {name: getattr(row, name) for name in _POOL}
    tx.execute(insert(subnet_pool).values(**values, prefixes=list(row.prefixes), tags=list(row.tags)))


def get(tx: Tx, scope: Scope, pool_id: str) -> SubnetPool:
    """One subnet pool that `scope` may see. Raises NotFound."""
    query = select(subnet_pool, seen_shared(subnet_pool, POOL, scope.project_id).label("shared"))
    row = tx.execute(own_or_shared(subnet_pool, POOL, scope, query).where(subnet_pool.c.id == pool_id)).one_or_none()
    if row is None:
        raise NotFound(f"Subnet pool {pool_id} could not be found.", why="subnet_pool_not_found")
    return _pool(row)


def get_own(tx: Tx, scope: Scope, pool_id: str) -> SubnetPool:
    """One subnet pool that `scope` may change. Raises NotFound."""
    found = get(tx, scope, pool_id)
    if not scope.is_all and found.project_id != scope.project_id:
        raise NotFound(f"Subnet pool {pool_id} could not be found.", why="subnet_pool_not_found")
    return found


def find(tx: Tx, scope: Scope, listing: Listing) -> list[SubnetPool]:
    """A page of what `scope` may see."""
    shared = seen_shared(subnet_pool, POOL, scope.project_id)
    query = own_or_shared(subnet_pool, POOL, scope, select(subnet_pool, shared.label("shared")))
    return [_pool(r) for r in page(tx, subnet_pool, query, {**_POOL_FIELDS, "shared": shared}, listing)]


def default_id(tx: Tx, ip_version: int) -> str | None:
    """The pool that subnets of an IP version come from by default."""
    query = select(subnet_pool.c.id).where(subnet_pool.c.is_default, subnet_pool.c.ip_version == ip_version)
    return tx.execute(query.limit(1)).scalar_one_or_none()


def in_scope(tx: Tx, scope_id: str) -> list[SubnetPool]:
    """The pools of an address scope."""
    return [_pool(r) for r in tx.execute(select(subnet_pool).where(subnet_pool.c.scope_id == scope_id))]


def lock(tx: Tx, pool_id: str) -> None:
    """Let nobody else take from or change this pool until the commit."""
    tx.execute(select(subnet_pool.c.id).where(subnet_pool.c.id == pool_id).with_for_update())


def taken(tx: Tx, pool_id: str) -> list[tuple[str, str]]:
    """What was cut from a pool: (project, prefix) of each subnet."""
    query = select(subnet.c.project_id, subnet.c.cidr).where(subnet.c.pool_id == pool_id)
    return [(r.project_id, r.cidr) for r in tx.execute(query)]


def change(tx: Tx, pool_id: str, values: Mapping[str, Any] | None = None) -> None:
    """Set columns, or none, and let the revision rise."""
    risen = {"revision": subnet_pool.c.revision + 1, "updated_at": tx.now}
    tx.execute(update(subnet_pool).where(subnet_pool.c.id == pool_id).values(**{**(values or {}), **risen}))


def remove(tx: Tx, pool_id: str) -> None:
    """Delete the row; no subnet comes from it any more."""
    tx.execute(delete(subnet_pool).where(subnet_pool.c.id == pool_id))


def _scope(row: Row[Any]) -> AddressScope:
    return replace(AddressScope(**{name: getattr(row, name) for name in _SCOPE}), shared=bool(row.shared))


def _pool(row: Row[Any]) -> SubnetPool:
    same = {name: getattr(row, name) for name in _POOL}
    shared = bool(getattr(row, "shared", False))
    return SubnetPool(**same, prefixes=tuple(row.prefixes), tags=tuple(row.tags), shared=shared)
