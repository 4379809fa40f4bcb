"""Rows of floating IPs and of their port forwardings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from kilonova.cloud.network.listing_store import Fields, chunks, page
from kilonova.cloud.network.model import ACTIVE, DOWN, FloatingIp, Forwarding, Listing
from kilonova.core.context import Scope
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, json_column, metadata

floating_ip = Table(
    "network_floating_ip",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("description", Text, nullable=False),
    Column("network_id", String(36), ForeignKey("network.id"), nullable=False, index=True),
    Column("address", String(64), nullable=False, index=True),
    Column("floating_port_id", String(36), ForeignKey("network_port.id"), nullable=False),
    Column("port_id", String(36), ForeignKey("network_port.id"), index=True),
    Column("fixed_address", String(64)),
    Column("router_id", String(36), ForeignKey("network_router.id"), index=True),
    json_column("tags"),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("network_id", "port_id", "fixed_address", name="network_floating_ip_fixed"),
    Index("network_floating_ip_order", "created_at", "id"),
)
forwarding = Table(
    "network_forwarding",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("floating_ip_id", String(36), ForeignKey("network_floating_ip.id", ondelete="CASCADE"), nullable=False),
    Column("protocol", String(16), nullable=False),
    Column("external_min", Integer, nullable=False),
    Column("external_max", Integer, nullable=False),
    Column("port_id", String(36), ForeignKey("network_port.id"), nullable=False, index=True),
    Column("address", String(64), nullable=False),
    Column("internal_min", Integer, nullable=False),
    Column("internal_max", Integer, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("floating_ip_id", "protocol", "external_min", name="network_forwarding_external"),
    Index("network_forwarding_order", "floating_ip_id", "created_at", "id"),
)
_SAME: Final = (
    "id", "project_id", "description", "network_id", "address", "floating_port_id", "port_id", "fixed_address",
    "router_id", "revision", "created_at", "updated_at",
)  # fmt: skip
_FORWARDING: Final = (
    "id", "floating_ip_id", "protocol", "external_min", "external_max", "port_id", "address", "internal_min",
    "internal_max", "description",
)  # fmt: skip
# What every delete of a server runs is composed once: that costs several times what running it does.
_LED: Final = select(floating_ip.c.id, floating_ip.c.router_id, floating_ip.c.fixed_address.label("fixed")).where(
    floating_ip.c.port_id.in_(bindparam("which", expanding=True))
)
_FORWARDED: Final = (
    select(forwarding.c.id, forwarding.c.floating_ip_id, floating_ip.c.router_id, forwarding.c.address.label("fixed"))
    .join(floating_ip, floating_ip.c.id == forwarding.c.floating_ip_id)
    .where(forwarding.c.port_id.in_(bindparam("which", expanding=True)))
)
FIELDS: Final[Fields] = {
    **{name: floating_ip.c[name] for name in _SAME},
    **{name: func.coalesce(floating_ip.c[name], "") for name in ("port_id", "fixed_address", "router_id")},
    "status": case((floating_ip.c.router_id.is_(None), DOWN), else_=ACTIVE),
}
_FORWARDING_FIELDS: Final[Fields] = {
    **{name: forwarding.c[name] for name in _FORWARDING},
    "created_at": forwarding.c.created_at,
}


def add(tx: Tx, row: FloatingIp) -> None:
    """A new floating IP."""
    tx.execute(insert(floating_ip).values(**{name: getattr(row, name) for name in _SAME}, tags=list(row.tags)))


def get(tx: Tx, scope: Scope, floating_ip_id: str) -> FloatingIp:
    """One floating IP of the scope. Raises NotFound."""
    query = _own(select(floating_ip), scope).where(floating_ip.c.id == floating_ip_id)
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"Floating IP {floating_ip_id} could not be found", why="floating_ip_not_found")
    return _assemble(tx, [row])[0]


def find(tx: Tx, scope: Scope, listing: Listing) -> list[FloatingIp]:
    """A page of the scope's floating IPs."""
    return _assemble(tx, page(tx, floating_ip, _own(select(floating_ip), scope), FIELDS, listing))


def lock(tx: Tx, floating_ip_id: str) -> None:
    """Let nobody else change this floating IP until the commit."""
    tx.execute(select(floating_ip.c.id).where(floating_ip.c.id == floating_ip_id).with_for_update())


def change(tx: Tx, floating_ip_id: str, values: Mapping[str, Any] | None = None) -> None:
    """Set columns, or none, and let the revision rise."""
    risen = {"revision": floating_ip.c.revision + 1, "updated_at": tx.now}
    tx.execute(update(floating_ip).where(floating_ip.c.id == floating_ip_id).values(**{**(values or {}), **risen}))


def leading_to(tx: Tx, port_id: str, address: str, network_id: str) -> FloatingIp | None:
    """The floating IP of a network that leads to this address of a port already."""
    query = select(floating_ip).where(
        floating_ip.c.port_id == port_id,
        floating_ip.c.fixed_address == address,
        floating_ip.c.network_id == network_id,
    )
    row = tx.execute(query).one_or_none()
    return None if row is None else _assemble(tx, [row])[0]


def leading_to_ports(tx: Tx, port_ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """(fixed address, outside address) of what leads to these ports, by port."""
    found: dict[str, list[tuple[str, str]]] = {}
    for some in chunks(port_ids):
        query = select(floating_ip.c.port_id, floating_ip.c.fixed_address, floating_ip.c.address)
        for row in tx.execute(query.where(floating_ip.c.port_id.in_(some)).order_by(floating_ip.c.address)):
            found.setdefault(row.port_id, []).append((row.fixed_address, row.address))
    return found


def of_routers(tx: Tx, router_ids: Iterable[str]) -> dict[str, list[FloatingIp]]:
    """Floating IPs by the router that they lead through, oldest first."""
    found: dict[str, list[FloatingIp]] = {}
    for some in chunks(router_ids):
        query = select(floating_ip).where(floating_ip.c.router_id.in_(some))
        for one in _assemble(tx, list(tx.execute(query.order_by(floating_ip.c.created_at, floating_ip.c.id)))):
            found.setdefault(one.router_id or "", []).append(one)
    return found


def leading_nowhere(tx: Tx, network_id: str) -> list[FloatingIp]:
    """Floating IPs of a network that nothing is led to by; none of them changes until the commit."""
    query = select(floating_ip).where(floating_ip.c.network_id == network_id, floating_ip.c.router_id.is_(None))
    return _assemble(tx, list(tx.execute(query.order_by(floating_ip.c.id).with_for_update())))


def detach(tx: Tx, port_ids: Collection[str], addresses: Collection[str] | None = None) -> set[str]:
    """Ports (or only these addresses of theirs) are led to no more. Returns the routers that this concerns."""
    routers: set[str] = set()
    for some in chunks(port_ids):
        led, forwarded = (
            [r for r in tx.execute(query, {"which": list(some)}) if addresses is None or r.fixed in addresses]
            for query in (_LED, _FORWARDED)
        )
        routers.update(r.router_id for r in (*led, *forwarded) if r.router_id is not None)
        if led:
            nowhere = {"port_id": None, "fixed_address": None, "router_id": None}
            _change_all(tx, [r.id for r in led], nowhere)
        if forwarded:
            tx.execute(delete(forwarding).where(forwarding.c.id.in_([r.id for r in forwarded])))
            affected = {r.floating_ip_id for r in forwarded}
            left = set(
                tx.execute(
                    select(forwarding.c.floating_ip_id).where(forwarding.c.floating_ip_id.in_(affected))
                ).scalars()
            )
            _change_all(tx, left, {})
            _change_all(tx, affected - left, {"router_id": None})
    return routers


def remove(tx: Tx, floating_ip_id: str) -> None:
    """Delete the row with its forwardings."""
    tx.execute(delete(floating_ip).where(floating_ip.c.id == floating_ip_id))


def add_forwarding(tx: Tx, row: Forwarding) -> None:
    """A new port forwarding."""
    tx.execute(insert(forwarding).values(**{n: getattr(row, n) for n in _FORWARDING}, created_at=tx.now))


def get_forwarding(tx: Tx, floating_ip_id: str, forwarding_id: str) -> Forwarding:
    """One port forwarding of a floating IP. Raises NotFound."""
    query = select(forwarding).where(forwarding.c.id == forwarding_id, forwarding.c.floating_ip_id == floating_ip_id)
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"Port Forwarding {forwarding_id} could not be found.", why="port_forwarding_not_found")
    return _forwarding(row)


def find_forwardings(tx: Tx, floating_ip_id: str, listing: Listing) -> list[Forwarding]:
    """A page of a floating IP's port forwardings."""
    query = select(forwarding).where(forwarding.c.floating_ip_id == floating_ip_id)
    return [_forwarding(r) for r in page(tx, forwarding, query, _FORWARDING_FIELDS, listing)]


def change_forwarding(tx: Tx, forwarding_id: str, values: Mapping[str, Any]) -> None:
    """Set columns."""
    if values:
        tx.execute(update(forwarding).where(forwarding.c.id == forwarding_id).values(**values))


def remove_forwarding(tx: Tx, forwarding_id: str) -> None:
    """Delete one."""
    tx.execute(delete(forwarding).where(forwarding.c.id == forwarding_id))


def forwarded(tx: Tx, port_id: str, address: str) -> bool:
    """Whether any port forwarding leads to this address of a port."""
    query = select(forwarding.c.id).where(forwarding.c.port_id == port_id, forwarding.c.address == address)
    return tx.execute(query.limit(1)).first() is not None


def _change_all(tx: Tx, floating_ip_ids: Collection[str], values: Mapping[str, Any]) -> None:
    risen = {"revision": floating_ip.c.revision + 1, "updated_at": tx.now}
    if floating_ip_ids:
        there = floating_ip.c.id.in_(sorted(floating_ip_ids))
        tx.execute(update(floating_ip).where(there).values(**{**values, **risen}))


def _own(query: Select[Any], scope: Scope) -> Select[Any]:
    return query if scope.is_all else query.where(floating_ip.c.project_id == scope.project_id)


def _assemble(tx: Tx, rows: Sequence[Row[Any]]) -> list[FloatingIp]:
    found: dict[str, list[Forwarding]] = {}
    for some in chunks(r.id for r in rows):
        query = select(forwarding).where(forwarding.c.floating_ip_id.in_(some))
        for one in tx.execute(query.order_by(forwarding.c.created_at, forwarding.c.id)):
            found.setdefault(one.floating_ip_id, []).append(_forwarding(one))
    return [
        FloatingIp(
            **{name: getattr(row, name) for name in _SAME},
            tags=tuple(row.tags),
            forwardings=tuple(found.get(row.id, ())),
        )
        for row in rows
    ]


def _forwarding(row: Row[Any]) -> Forwarding:
    return Forwarding(**{name: getattr(row, name) for name in _FORWARDING})
