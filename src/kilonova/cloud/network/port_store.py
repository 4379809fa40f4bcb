"""Rows of ports, and which security groups they are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from kilonova.cloud.network import address_store
from kilonova.cloud.network.listing_store import Fields, chunks, page
from kilonova.cloud.network.model import OWNER_COMPUTE, AllowedPair, DhcpOption, Listing, Port
from kilonova.cloud.network.network_store import owned_ids
from kilonova.core.context import Scope
from kilonova.core.errors import Conflict, Forbidden, NotFound
from kilonova.kit.db import Json, Tx, insert_new, json_column, metadata

port = Table(
    "network_port",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("network_id", String(36), ForeignKey("network.id"), nullable=False),
    Column("project_id", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    Column("admin_up", Boolean, nullable=False),
    Column("mac", String(17), nullable=False, index=True),
    Column("device_id", String(255), nullable=False),
    Column("device_owner", String(255), nullable=False, index=True),
    Column("host_id", String(255), nullable=False, index=True),
    Column("next_host_id", String(36), nullable=False, server_default="", index=True),
    Column("hostname", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    Column("port_security", Boolean, nullable=False),
    Column("nic_index", Integer),
    Column("made", Boolean, nullable=False),
    Column("tag", String(255), nullable=False),
    json_column("tags"),
    Column("allowed_pairs", Json, nullable=False, server_default="[]"),
    Column("dhcp_options", Json, nullable=False, server_default="[]"),
    Column("vnic_type", String(64), nullable=False, server_default="normal"),
    Column("profile", Json, nullable=False, server_default="{}"),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("network_id", "mac", name="network_port_mac"),
    UniqueConstraint("device_id", "nic_index", name="network_port_nic"),
    Index("network_port_order", "created_at", "id"),
)
membership = Table(
    "network_port_group",
    metadata,
    Column("port_id", String(36), ForeignKey("network_port.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", String(36), ForeignKey("security_group.id"), primary_key=True),
    Index("network_port_group_group", "group_id", "port_id"),
)

_SAME: Final = (
    "id", "network_id", "project_id", "name", "description", "admin_up", "mac", "device_id", "device_owner", "host_id",
    "hostname", "status", "port_security", "nic_index", "made", "tag", "vnic_type",
    "profile", "revision", "created_at", "updated_at", "next_host_id",
)  # fmt: skip
_SORTED: Final = tuple(name for name in _SAME if name not in ("nic_index", "profile"))
# What every boot runs is composed once: that costs several times what running it does.
_GROUPS: Final = (
    select(membership)
    .where(membership.c.port_id.in_(bindparam("which", expanding=True)))
    .order_by(membership.c.group_id)
)
_JOIN: Final = insert(membership)
FIELDS: Final[Fields] = {name: port.c[name] for name in _SORTED}


def add(tx: Tx, row: Port) -> bool:
    """A new port with its groups, without addresses; False when its MAC is taken in the network."""
    values = {name: getattr(row, name) for name in _SAME}
    lists = {"tags": list(row.tags), **columns({"allowed_pairs": row.allowed_pairs, "dhcp_options": row.dhcp_options})}
    if not insert_new(tx, port, {**values, **lists}):
        return False
    _join(tx, row.id, row.groups)
    return True


def columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as their columns hold them."""
    lists = {n: [list(one) for one in values[n]] for n in ("allowed_pairs", "dhcp_options") if n in values}
    return {**values, **lists}


def get(tx: Tx, scope: Scope, port_id: str) -> Port:
    """One port of the scope's own or in a network of its own. Raises NotFound."""
    row = tx.execute(_visible(select(port), scope).where(port.c.id == port_id)).one_or_none()
    if row is None:
        raise NotFound(f"Port {port_id} could not be found.", why="port_not_found")
    return assemble(tx, [row])[0]


def get_own(tx: Tx, scope: Scope, port_id: str) -> Port:
    """One port that the scope may change. Raises NotFound; Forbidden for another project's in a network of its own."""
    found = get(tx, scope, port_id)
    if not scope.is_all and found.project_id != scope.project_id:
        raise Forbidden(f"Port {port_id} is another project's.", why="policy_not_authorized")
    return found


def lock(tx: Tx, port_id: str) -> None:
    """Let nobody else change this port until the commit."""
    tx.execute(select(port.c.id).where(port.c.id == port_id).with_for_update())


def find(tx: Tx, scope: Scope, listing: Listing) -> list[Port]:
    """A page of what the scope may see. Beside `FIELDS` it may be filtered by `subnet_id`, `ip_address`, `ip_part` (of
    fixed ips) and `group_id`."""
    filters = dict(listing.filters)
    query = _visible(select(port), scope)
    taken = address_store.address
    for name, column in (("subnet_id", taken.c.subnet_id), ("ip_address", taken.c.address)):
        if name in filters:
            query = query.where(port.c.id.in_(select(taken.c.port_id).where(column.in_(filters.pop(name)))))
    if "ip_part" in filters:
        parts = [taken.c.address.contains(part, autoescape=True) for part in filters.pop("ip_part")]
        query = query.where(port.c.id.in_(select(taken.c.port_id).where(or_(*parts))))
    if "group_id" in filters:
        members = select(membership.c.port_id).where(membership.c.group_id.in_(filters.pop("group_id")))
        query = query.where(port.c.id.in_(members))
    return assemble(tx, page(tx, port, query, FIELDS, replace(listing, filters=filters)))


def of_device(tx: Tx, device_ids: Iterable[str], owner: str = "", *, lock: bool = False) -> list[Port]:
    """Ports of these devices, whose owner begins with `owner`; NICs of a server in their order. With `lock` nobody else
    changes them until the commit."""
    found: list[Port] = []
    for some in chunks(device_ids):
        query = select(port).where(port.c.device_id.in_(some), port.c.device_owner.startswith(owner, autoescape=True))
        query = query.order_by(port.c.nic_index, port.c.created_at, port.c.id)
        found.extend(assemble(tx, list(tx.execute(query.with_for_update() if lock else query))))
    return found


def in_network(tx: Tx, network_id: str, *owners: str) -> list[Port]:
    """Ports of a network, of these owners only when any are given."""
    query = select(port).where(port.c.network_id == network_id)
    if owners:
        query = query.where(port.c.device_owner.in_(owners))
    return assemble(tx, list(tx.execute(query.order_by(port.c.created_at, port.c.id))))


def occupants(tx: Tx, network_id: str, but: str, limit: int) -> list[str]:
    """Ids of ports in a network with another owner than `but`, at most `limit`."""
    query = select(port.c.id).where(port.c.network_id == network_id, port.c.device_owner != but).limit(limit)
    return list(tx.execute(query).scalars())


def by_ids(tx: Tx, port_ids: Iterable[str]) -> list[Port]:
    """Those of these ports that exist."""
    found: list[Port] = []
    for some in chunks(port_ids):
        found.extend(assemble(tx, list(tx.execute(select(port).where(port.c.id.in_(some))))))
    return found


def change(tx: Tx, port_id: str, values: Mapping[str, Any] | None = None, rise: int = 1) -> None:
    """Set columns, or none, and let the revision rise. Raises Conflict when the MAC is taken in the network."""
    new = columns(values or {})
    mac = new.get("mac")
    if mac is not None:
        other = port.alias()
        same = select(other.c.id).where(
            other.c.mac == mac,
            other.c.id != port_id,
            other.c.network_id == select(port.c.network_id).where(port.c.id == port_id).scalar_subquery(),
        )
        if tx.execute(same).first() is not None:
            raise Conflict(f"Unable to complete operation. The mac address {mac} is in use.", why="mac_address_in_use")
    risen = {"revision": port.c.revision + rise, "updated_at": tx.now}
    tx.execute(update(port).where(port.c.id == port_id).values(**{**new, **risen}))


def bind(tx: Tx, port_id: str, values: Mapping[str, Any]) -> bool:
    """Give a free port to a device; False when it is not free (any more)."""
    risen = {"revision": port.c.revision + 1, "updated_at": tx.now}
    free = update(port).where(port.c.id == port_id, port.c.device_id == "")
    return tx.execute(free.values(**{**values, **risen})).rowcount == 1


def set_groups(tx: Tx, port_id: str, group_ids: Sequence[str]) -> None:
    """The port is in exactly these groups from now on."""
    tx.execute(delete(membership).where(membership.c.port_id == port_id))
    _join(tx, port_id, group_ids)


def members(tx: Tx, group_id: str, limit: int) -> list[str]:
    """Ports in a group, at most `limit`."""
    query = select(membership.c.port_id).where(membership.c.group_id == group_id).limit(limit)
    return list(tx.execute(query).scalars())


def remove(tx: Tx, port_ids: Iterable[str]) -> None:
    """Delete ports with their addresses and memberships."""
    for some in chunks(port_ids):
        tx.execute(delete(port).where(port.c.id.in_(some)))


def bound(tx: Tx) -> list[tuple[str, str, bool]]:
    """Every NIC of a server as (port, server, whether it was made for it)."""
    query = select(port.c.id, port.c.device_id, port.c.made).where(
        port.c.device_owner.startswith(OWNER_COMPUTE, autoescape=True), port.c.nic_index.is_not(None)
    )
    return [(r.id, r.device_id, r.made) for r in tx.execute(query)]


def assemble(tx: Tx, rows: Sequence[Row[Any]]) -> list[Port]:
    """Ports from their rows, with addresses and groups: two statements however many."""
    ids = [r.id for r in rows]
    fixed = address_store.of_ports(tx, ids)
    groups: dict[str, list[str]] = {}
    for some in chunks(ids):
        for row in tx.execute(_GROUPS, {"which": list(some)}):
            groups.setdefault(row.port_id, []).append(row.group_id)
    return [
        Port(
            **{name: getattr(row, name) for name in _SAME},
            tags=tuple(row.tags),
            allowed_pairs=tuple(AllowedPair(*p) for p in row.allowed_pairs),
            dhcp_options=tuple(DhcpOption(*o) for o in row.dhcp_options),
            fixed_ips=tuple(fixed.get(row.id, ())),
            groups=tuple(groups.get(row.id, ())),
        )
        for row in rows
    ]


def _join(tx: Tx, port_id: str, group_ids: Sequence[str]) -> None:
    if group_ids:
        tx.execute(_JOIN, [{"port_id": port_id, "group_id": g} for g in dict.fromkeys(group_ids)])


def _visible(query: Select[Any], scope: Scope) -> Select[Any]:
    if scope.is_all:
        return query
    return query.where(or_(port.c.project_id == scope.project_id, port.c.network_id.in_(owned_ids(scope))))
