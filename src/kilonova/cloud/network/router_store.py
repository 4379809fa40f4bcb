"""Rows of routers. Their interfaces and gateways are ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Row,
    Select,
    String,
    Table,
    Text,
    case,
    delete,
    insert,
    literal,
    select,
    update,
)

from kilonova.cloud.network import port_store
from kilonova.cloud.network.address_store import address
from kilonova.cloud.network.listing_store import Fields, page
from kilonova.cloud.network.model import ACTIVE, OWNER_GATEWAY, OWNER_INTERFACE, Gateway, Listing, Route, Router
from kilonova.cloud.network.subnet_store import subnet
from kilonova.core.context import Scope
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, json_column, metadata

router = Table(
    "network_router",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    Column("admin_up", Boolean, nullable=False),
    Column("gateway_network_id", String(36), ForeignKey("network.id"), index=True),
    Column("snat", Boolean, nullable=False),
    json_column("routes"),
    json_column("tags"),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("network_router_order", "created_at", "id"),
)

_SAME: Final = (
    "id", "project_id", "name", "description", "admin_up", "revision", "created_at", "updated_at",
)  # fmt: skip
FIELDS: Final[Fields] = {**{name: router.c[name] for name in _SAME}, "status": literal(ACTIVE)}


def add(tx: Tx, row: Router) -> None:
    """A new router, without a gateway yet."""
    values = {name: getattr(row, name) for name in _SAME}
    lists = {"routes": [list(r) for r in row.routes], "tags": list(row.tags)}
    tx.execute(insert(router).values(**values, **lists, gateway_network_id=None, snat=True))


def get(tx: Tx, scope: Scope, router_id: str) -> Router:
    """One router of the scope. Raises NotFound."""
    row = tx.execute(_own(select(router), scope).where(router.c.id == router_id)).one_or_none()
    if row is None:
        raise NotFound(f"Router {router_id} could not be found", why="router_not_found")
    return _assemble(tx, [row])[0]


def lock(tx: Tx, router_id: str) -> None:
    """Let nobody else change this router until the commit."""
    tx.execute(select(router.c.id).where(router.c.id == router_id).with_for_update())


def find(tx: Tx, scope: Scope, listing: Listing) -> list[Router]:
    """A page of the scope's routers."""
    return _assemble(tx, page(tx, router, _own(select(router), scope), FIELDS, listing))


def change(tx: Tx, router_id: str, values: Mapping[str, Any] | None = None) -> None:
    """Set columns, or none, and let the revision rise: what the router's document says is new."""
    risen = {"revision": router.c.revision + 1, "updated_at": tx.now}
    tx.execute(update(router).where(router.c.id == router_id).values(**{**(values or {}), **risen}))


def with_gateway_in(tx: Tx, network_id: str) -> list[str]:
    """Routers that have their gateway in this network."""
    return list(tx.execute(select(router.c.id).where(router.c.gateway_network_id == network_id)).scalars())


def between(tx: Tx, network_id: str, subnet_id: str) -> str | None:
    """A router with its gateway in this network and a leg in this subnet; where there are several, the one that is the
    subnet's gateway, else the oldest."""
    leg, taken = port_store.port, address
    is_gateway = case((taken.c.address == subnet.c.gateway_ip, 0), else_=1)
    query = (
        select(router.c.id)
        .join(leg, leg.c.device_id == router.c.id)
        .join(taken, taken.c.port_id == leg.c.id)
        .join(subnet, subnet.c.id == taken.c.subnet_id)
        .where(
            router.c.gateway_network_id == network_id,
            leg.c.device_owner == OWNER_INTERFACE,
            taken.c.subnet_id == subnet_id,
        )
        .order_by(is_gateway, router.c.created_at, router.c.id)
    )
    return tx.execute(query.limit(1)).scalar_one_or_none()


def remove(tx: Tx, router_id: str) -> None:
    """Delete the row."""
    tx.execute(delete(router).where(router.c.id == router_id))


def _own(query: Select[Any], scope: Scope) -> Select[Any]:
    return query if scope.is_all else query.where(router.c.project_id == scope.project_id)


def _assemble(tx: Tx, rows: Sequence[Row[Any]]) -> list[Router]:
    with_gateway = [r.id for r in rows if r.gateway_network_id is not None]
    legs = {p.device_id: p for p in port_store.of_device(tx, with_gateway, OWNER_GATEWAY)}
    return [
        Router(
            **{name: getattr(row, name) for name in _SAME},
            routes=tuple(Route(*r) for r in row.routes),
            tags=tuple(row.tags),
            gateway=Gateway(row.gateway_network_id, row.snat, legs[row.id].fixed_ips) if row.id in legs else None,
        )
        for row in rows
    ]
