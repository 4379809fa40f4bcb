"""Rows of subnets and their allocation pools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from kilonova.cloud.network.address import at, parse_address, position
from kilonova.cloud.network.grant_store import granted, is_external
from kilonova.cloud.network.listing_store import Fields, chunks, page
from kilonova.cloud.network.model import Listing, Pool, Route, Subnet
from kilonova.core.errors import NotFound
from kilonova.kit.db import Json, Tx, json_column, metadata

Position = String(32).with_variant(String(32, collation="C"), "postgresql")
"""An address as `address.position` writes it: its order as text is the order of addresses, on every dialect."""

subnet = Table(
    "network_subnet",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("network_id", String(36), ForeignKey("network.id"), nullable=False),
    Column("project_id", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    Column("ip_version", Integer, nullable=False),
    Column("cidr", String(64), nullable=False),
    Column("gateway_ip", String(64)),
    Column("enable_dhcp", Boolean, nullable=False),
    json_column("dns_servers"),
    json_column("host_routes"),
    Column("ra_mode", String(20), nullable=False),
    Column("address_mode", String(20), nullable=False),
    json_column("tags"),
    Column("service_types", Json, nullable=False, server_default="[]"),
    Column("pool_id", String(36), ForeignKey("network_subnet_pool.id"), index=True),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("network_subnet_network", "network_id", "created_at", "id"),
    Index("network_subnet_order", "created_at", "id"),
)
pool = Table(
    "network_pool",
    metadata,
    Column("subnet_id", String(36), ForeignKey("network_subnet.id", ondelete="CASCADE"), primary_key=True),
    Column("first", Position, primary_key=True),
    Column("last", Position, nullable=False),
    Column("cursor", Position, nullable=False),
)

_SAME: Final = (
    "id", "network_id", "project_id", "name", "description", "ip_version", "cidr", "gateway_ip", "enable_dhcp",
    "ra_mode", "address_mode", "pool_id", "revision", "created_at", "updated_at",
)  # fmt: skip
# What every boot runs is composed once: that costs several times what running it does.
_OF_NETWORK: Final = (
    select(subnet).where(subnet.c.network_id == bindparam("which")).order_by(subnet.c.created_at, subnet.c.id)
)
_SEEN: Final = select(subnet, is_external(subnet.c.network_id).label("external"))
FIELDS: Final[Fields] = {
    **{name: subnet.c[name] for name in _SAME},
    "external": is_external(subnet.c.network_id),
    "gateway_ip": func.coalesce(subnet.c.gateway_ip, ""),
    "pool_id": func.coalesce(subnet.c.pool_id, ""),
}


def add(tx: Tx, row: Subnet) -> None:
    """A new subnet with its pools."""
    values = {name: getattr(row, name) for name in _SAME} | {
        "dns_servers": list(row.dns_servers),
        "host_routes": [list(r) for r in row.host_routes],
        "tags": list(row.tags),
        "service_types": list(row.service_types),
    }
    tx.execute(insert(subnet).values(**values))
    _add_pools(tx, row.id, row.pools)


def get(tx: Tx, visible: Select[Any] | None, subnet_id: str) -> Subnet:
    """One subnet of the networks `visible` (None: any). Raises NotFound."""
    row = tx.execute(_within(_SEEN, visible).where(subnet.c.id == subnet_id)).one_or_none()
    if row is None:
        raise NotFound(f"Subnet {subnet_id} could not be found.", why="subnet_not_found")
    return _assemble(tx, [row])[0]


def find(tx: Tx, visible: Select[Any] | None, listing: Listing, whose: str | None = None) -> list[Subnet]:
    """A page of the subnets of the networks `visible` (None: any). They may be filtered by `shared` too: whether the
    network is shared with the project `whose` (None: with everyone)."""
    fields = {**FIELDS, "shared": subnet.c.network_id.in_(granted("network", whose))}
    return _assemble(tx, page(tx, subnet, _within(_SEEN, visible), fields, listing))


def of_networks(tx: Tx, network_ids: Iterable[str]) -> dict[str, list[Subnet]]:
    """Subnets by network, oldest first."""
    found: dict[str, list[Subnet]] = {}
    for some in chunks(network_ids):
        query = select(subnet).where(subnet.c.network_id.in_(some)).order_by(subnet.c.created_at, subnet.c.id)
        for one in _assemble(tx, list(tx.execute(query))):
            found.setdefault(one.network_id, []).append(one)
    return found


def of_network(tx: Tx, network_id: str) -> list[Subnet]:
    """A network's subnets, oldest first, without their pools."""
    return [_subnet(row, ()) for row in tx.execute(_OF_NETWORK, {"which": network_id})]


def ids_by_network(tx: Tx, network_ids: Iterable[str]) -> dict[str, list[str]]:
    """Ids of subnets by network, oldest first."""
    found: dict[str, list[str]] = {}
    for some in chunks(network_ids):
        query = (
            select(subnet.c.id, subnet.c.network_id)
            .where(subnet.c.network_id.in_(some))
            .order_by(subnet.c.created_at, subnet.c.id)
        )
        for row in tx.execute(query):
            found.setdefault(row.network_id, []).append(row.id)
    return found


def change(tx: Tx, subnet_id: str, values: Mapping[str, Any]) -> None:
    """Set columns and let the revision rise; its network's revision is the caller's to raise."""
    risen = {"revision": subnet.c.revision + 1, "updated_at": tx.now}
    tx.execute(update(subnet).where(subnet.c.id == subnet_id).values(**{**values, **risen}))


def replace_pools(tx: Tx, subnet_id: str, pools: Sequence[Pool]) -> None:
    """Other pools from now on; addresses that were given out stay."""
    tx.execute(delete(pool).where(pool.c.subnet_id == subnet_id))
    _add_pools(tx, subnet_id, pools)


def remove(tx: Tx, subnet_id: str) -> None:
    """Delete the row with its pools."""
    tx.execute(delete(subnet).where(subnet.c.id == subnet_id))


def _add_pools(tx: Tx, subnet_id: str, pools: Sequence[Pool]) -> None:
    for start, end in pools:
        first, last = position(parse_address(start)), position(parse_address(end))
        tx.execute(insert(pool).values(subnet_id=subnet_id, first=first, last=last, cursor=first))


def _within(query: Select[Any], visible: Select[Any] | None) -> Select[Any]:
    return query if visible is None else query.where(subnet.c.network_id.in_(visible))


def _assemble(tx: Tx, rows: Sequence[Row[Any]]) -> list[Subnet]:
    pools: dict[str, list[Pool]] = {}
    for some in chunks(r.id for r in rows):
        query = select(pool).where(pool.c.subnet_id.in_(some)).order_by(pool.c.subnet_id, pool.c.first)
        for row in tx.execute(query):
            pools.setdefault(row.subnet_id, []).append(Pool(str(at(row.first)), str(at(row.last))))
    return [_subnet(row, tuple(pools.get(row.id, ()))) for row in rows]


def _subnet(row: Row[Any], pools: tuple[Pool, ...]) -> Subnet:
    return Subnet(
        **{name: getattr(row, name) for name in _SAME},
        dns_servers=tuple(row.dns_servers),
        host_routes=tuple(Route(*r) for r in row.host_routes),
        tags=tuple(row.tags),
        service_types=tuple(row.service_types),
        pools=pools,
        external=bool(getattr(row, "external", False)),
    )
