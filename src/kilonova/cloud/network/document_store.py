"""What a host should hold of networks, and in which versions. For now every host with a port in a network realises the
network's DHCP and routers itself.

Versions rise whenever the content changes, without ever writing a row per port for a change of something they share:
- network, router: the row's revision, which everything that is part of the document raises in its own transaction;
- address set: the group's `members_version`, raised whenever a member's addresses change, or an address group's
  revision;
- port: its revision plus the revisions of its groups. A new rule raises its group's revision, and thereby every
  member's version. A port that leaves a group adds what that group contributed to its own revision (`port.regroup`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select

from kilonova.cloud.network import floating_store, port_store, router_store, subnet_store
from kilonova.cloud.network.address import disjoint
from kilonova.cloud.network.address_group_store import address_group
from kilonova.cloud.network.address_store import address
from kilonova.cloud.network.document import network_doc, port_doc, router_doc
from kilonova.cloud.network.group_store import group, rule, rules_of
from kilonova.cloud.network.listing_store import chunks
from kilonova.cloud.network.model import OWNER_DHCP, OWNER_GATEWAY, OWNER_INTERFACE, Change, Listing, Port
from kilonova.cloud.network.network_store import find as find_networks
from kilonova.cloud.network.network_store import network
from kilonova.cloud.network.port_store import membership, port
from kilonova.cloud.network.router_store import router
from kilonova.core.context import ALL
from kilonova.kit.db import Tx
from kilonova.wire.network import AddressSetDoc, NetworkDoc, PortDoc, RouterDoc
from kilonova.wire.node import DocKind, Docs, Version


def _port_version() -> ColumnElement[int]:
    shared = (
        select(func.coalesce(func.sum(group.c.revision), 0))
        .select_from(membership.join(group, group.c.id == membership.c.group_id))
        .where(membership.c.port_id == port.c.id)
        .correlate(port)
        .scalar_subquery()
    )
    return port.c.revision + shared


def _on(host_id: Any) -> ColumnElement[bool]:
    """Ports that a host has, or is about to have."""
    return or_(port.c.host_id == host_id, port.c.next_host_id == host_id)


# What every boot runs is composed once: that costs several times what running it does.
_NICS: Final = (
    select(port)
    .where(port.c.device_id == bindparam("which"), _on(bindparam("where")), port.c.nic_index.is_not(None))
    .order_by(port.c.nic_index)
)
_NUMBERS: Final = select(port.c.id, _port_version().label("version")).where(
    port.c.id.in_(bindparam("which", expanding=True))
)


def versions(tx: Tx, host_id: str) -> list[Version]:
    """Everything that a host should hold: its ports, their networks, those networks' routers with the other networks
    that these join, and the address sets that its ports' rules refer to. Five statements, however many there are."""
    sets = select(group.c.id, group.c.members_version.label("version")).where(group.c.id.in_(_sets(host_id)))
    lists = select(address_group.c.id, address_group.c.revision.label("version")).where(
        address_group.c.id.in_(_lists(host_id))
    )
    networks = select(network.c.id, network.c.revision.label("version")).where(network.c.id.in_(_networks(host_id)))
    routers = select(router.c.id, router.c.revision.label("version")).where(router.c.id.in_(_routers(host_id)))
    ports = select(port.c.id, _port_version().label("version")).where(_on(host_id))
    return [
        *_read(tx, "port", ports),
        *_read(tx, "network", networks),
        *_read(tx, "router", routers),
        *_read(tx, "address_set", sets),
        *_read(tx, "address_set", lists),
    ]


def existing(tx: Tx) -> dict[str, set[str]]:
    """Every network, router and port there is, by kind, for the audit."""
    tables = {"network": network, "router": router, "port": port}
    return {kind: {r.id for r in tx.execute(select(table.c.id))} for kind, table in tables.items()}


def documents(tx: Tx, host_id: str, wanted: Sequence[Version]) -> Docs:
    """Those of the wanted documents that this host should hold, as they are now."""
    ids: dict[str, list[str]] = {}
    for one in wanted:
        ids.setdefault(one.kind, []).append(one.id)
    mine = select(port).where(_on(host_id))
    return Docs(
        networks=_network_docs(tx, _among(tx, select(network.c.id), network.c.id, _networks(host_id), ids, "network")),
        routers=_router_docs(tx, _among(tx, select(router.c.id), router.c.id, _routers(host_id), ids, "router")),
        ports=_port_docs(tx, _some(tx, mine, port.c.id, ids.get("port", ()))),
        address_sets=(
            *_set_docs(tx, _among(tx, select(group.c.id), group.c.id, _sets(host_id), ids, "address_set")),
            *_list_docs(
                tx, _among(tx, select(address_group.c.id), address_group.c.id, _lists(host_id), ids, "address_set")
            ),
        ),
    )


def port_docs(tx: Tx, server_id: str, host_id: str) -> tuple[PortDoc, ...]:
    """A server's NICs on a host, in their order."""
    rows = tx.execute(_NICS, {"which": server_id, "where": host_id})
    return _port_docs(tx, port_store.assemble(tx, list(rows)))


def hosts_of(tx: Tx, changes: Iterable[Change]) -> list[str]:
    """Hosts that hold what changed, so that they may be told at once; the digest finds what is missed here."""
    hosts: set[str] = set()
    for kind, identifier in set(changes):
        query = select(port.c.host_id, port.c.next_host_id).where(_is_somewhere(), _concerned(kind, identifier))
        for row in tx.execute(query.distinct()):
            hosts.update(row)
    return sorted(hosts - {""})


def _is_somewhere() -> ColumnElement[bool]:
    return or_(port.c.host_id != "", port.c.next_host_id != "")


def _concerned(kind: str, identifier: str) -> ColumnElement[bool]:
    """Which ports' hosts a change concerns."""
    if kind == "port":
        return port.c.id == identifier
    if kind == "group":
        return port.c.id.in_(select(membership.c.port_id).where(membership.c.group_id == identifier))
    if kind in ("members", "addresses"):
        remote = rule.c.remote_group if kind == "members" else rule.c.remote_addresses
        referring = select(rule.c.group_id).where(remote == identifier)
        return port.c.id.in_(select(membership.c.port_id).where(membership.c.group_id.in_(referring)))
    leg = port.alias()
    if kind == "router":
        inside = select(leg.c.network_id).where(leg.c.device_id == identifier, leg.c.device_owner == OWNER_INTERFACE)
        return port.c.network_id.in_(inside)
    other = port.alias()
    joined = select(other.c.device_id).where(
        other.c.network_id == identifier, other.c.device_owner.in_((OWNER_INTERFACE, OWNER_GATEWAY))
    )
    neighbours = select(leg.c.network_id).where(leg.c.device_owner == OWNER_INTERFACE, leg.c.device_id.in_(joined))
    return or_(port.c.network_id == identifier, port.c.network_id.in_(neighbours))


def _own_networks(host_id: str) -> Select[Any]:
    return select(port.c.network_id).where(_on(host_id))


def _routers(host_id: str) -> Select[Any]:
    leg = port.alias()
    return select(leg.c.device_id).where(
        leg.c.device_owner == OWNER_INTERFACE, leg.c.network_id.in_(_own_networks(host_id))
    )


def _networks(host_id: str) -> Select[Any]:
    leg = port.alias()
    joined = select(leg.c.network_id).where(
        leg.c.device_owner.in_((OWNER_INTERFACE, OWNER_GATEWAY)), leg.c.device_id.in_(_routers(host_id))
    )
    return select(network.c.id).where(or_(network.c.id.in_(_own_networks(host_id)), network.c.id.in_(joined)))


def _groups(host_id: str) -> Select[Any]:
    return (
        select(membership.c.group_id)
        .select_from(membership.join(port, port.c.id == membership.c.port_id))
        .where(_on(host_id))
    )


def _sets(host_id: str) -> Select[Any]:
    return select(rule.c.remote_group).where(rule.c.remote_group.is_not(None), rule.c.group_id.in_(_groups(host_id)))


def _lists(host_id: str) -> Select[Any]:
    return select(rule.c.remote_addresses).where(
        rule.c.remote_addresses.is_not(None), rule.c.group_id.in_(_groups(host_id))
    )


def _read(tx: Tx, kind: DocKind, query: Select[Any]) -> list[Version]:
    return [Version(kind=kind, id=row.id, version=int(row.version)) for row in tx.execute(query)]


def _among(
    tx: Tx, query: Select[Any], column: ColumnElement[Any], held: Select[Any], ids: dict[str, list[str]], kind: str
) -> list[str]:
    """Those of the wanted ids that the host should hold."""
    found: list[str] = []
    for some in chunks(ids.get(kind, ())):
        found.extend(tx.execute(query.where(column.in_(some), column.in_(held))).scalars())
    return found


def _some(tx: Tx, query: Select[Any], column: ColumnElement[Any], ids: Iterable[str]) -> list[Port]:
    found: list[Port] = []
    for some in chunks(ids):
        found.extend(port_store.assemble(tx, list(tx.execute(query.where(column.in_(some))))))
    return found


def _network_docs(tx: Tx, ids: Sequence[str]) -> tuple[NetworkDoc, ...]:
    if not ids:
        return ()
    subnets = subnet_store.of_networks(tx, ids)
    listing = Listing({"network_id": tuple(ids), "device_owner": (OWNER_DHCP,)})
    dhcp = {p.network_id: p.fixed_ips for p in port_store.find(tx, ALL, listing)}
    rows = find_networks(tx, ALL, Listing({"id": tuple(ids)}))
    return tuple(network_doc(r, subnets.get(r.id, ()), dhcp.get(r.id, ())) for r in rows)


def _router_docs(tx: Tx, ids: Sequence[str]) -> tuple[RouterDoc, ...]:
    if not ids:
        return ()
    legs: dict[str, list[Port]] = {}
    for one in port_store.of_device(tx, ids, "network:router"):
        legs.setdefault(one.device_id, []).append(one)
    joined = {p.network_id for ports in legs.values() for p in ports}
    subnets = {s.id: s for found in subnet_store.of_networks(tx, joined).values() for s in found}
    rows = router_store.find(tx, ALL, Listing({"id": tuple(ids)}))
    floating = floating_store.of_routers(tx, ids)
    return tuple(router_doc(r, legs.get(r.id, ()), subnets, floating.get(r.id, ())) for r in rows)


def _port_docs(tx: Tx, rows: Sequence[Port]) -> tuple[PortDoc, ...]:
    if not rows:
        return ()
    numbers: dict[str, int] = {}
    for some in chunks(r.id for r in rows):
        numbers.update((r.id, int(r.version)) for r in tx.execute(_NUMBERS, {"which": list(some)}))
    rules = rules_of(tx, sorted({g for r in rows for g in r.groups}))
    return tuple(port_doc(r, numbers[r.id], [one for g in r.groups for one in rules.get(g, ())]) for r in rows)


def _set_docs(tx: Tx, ids: Sequence[str]) -> tuple[AddressSetDoc, ...]:
    members: dict[str, list[str]] = {i: [] for i in ids}
    rows: dict[str, int] = {}
    for some in chunks(ids):
        query = (
            select(membership.c.group_id, address.c.address)
            .select_from(membership.join(address, address.c.port_id == membership.c.port_id))
            .where(membership.c.group_id.in_(some))
            .order_by(address.c.position)
        )
        for row in tx.execute(query):
            members[row.group_id].append(row.address)
        rows.update(
            (r.id, r.members_version)
            for r in tx.execute(select(group.c.id, group.c.members_version).where(group.c.id.in_(some)))
        )
    return tuple(AddressSetDoc(group_id=i, version=v, addresses=tuple(members[i])) for i, v in rows.items())


def _list_docs(tx: Tx, ids: Sequence[str]) -> tuple[AddressSetDoc, ...]:
    found: list[AddressSetDoc] = []
    for some in chunks(ids):
        for row in tx.execute(select(address_group).where(address_group.c.id.in_(some))):
            found.append(AddressSetDoc(group_id=row.id, version=row.revision, addresses=disjoint(row.addresses)))
    return tuple(found)
