"""What making, readdressing, regrouping and removing a port means. Works inside the caller's transaction.

Whoever calls holds the network (`network_store.hold`), so that neither it nor its subnets can vanish meanwhile: whoever
changes a network's subnets locks it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from kilonova.cloud.network import (
    address_store,
    floating_store,
    group_store,
    network_store,
    port_store,
    router_store,
    subnet_store,
)
from kilonova.cloud.network.address import eui64, holds, parse_address, parse_prefix
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.model import (
    ACTIVE,
    DOWN,
    OWNER_DHCP,
    OWNER_FLOATING,
    OWNER_GATEWAY,
    OWNER_INTERFACE,
    OWNER_SYSTEM,
    Change,
    FixedIp,
    FloatingIp,
    Port,
    Subnet,
    WantedIp,
)
from kilonova.cloud.quota import store as quota
from kilonova.core.errors import Conflict, Invalid, NoCapacity, Unavailable
from kilonova.kit.db import Tx

MAC_ATTEMPTS: Final = 16
MAX_FIXED_IPS: Final = 5
UNCHARGED: Final = frozenset({OWNER_DHCP, OWNER_GATEWAY, OWNER_FLOATING})
"""Ports that nobody asked for count against no quota."""


def blank(tx: Tx, port_id: str, network_id: str, project_id: str) -> Port:
    """A port with nothing set, to be filled in by `dataclasses.replace`; an empty MAC means one drawn at random."""
    return Port(
        id=port_id, network_id=network_id, project_id=project_id, name="", description="", admin_up=True, mac="",
        device_id="", device_owner="", host_id="", hostname="", status=DOWN, port_security=True, nic_index=None,
        made=False, tag="", tags=(), revision=1, created_at=tx.now, updated_at=tx.now,
    )  # fmt: skip


def make(tx: Tx, ground: Ground, new: Port, wanted: Sequence[WantedIp] | None, subnets: Sequence[Subnet]) -> Port:
    """Store a new port with addresses (`wanted`, or one of each IP version) and charge it.

    Raises QuotaExceeded, Conflict (MAC or address in use), Invalid (address not of this network), NoCapacity.
    """
    if new.device_owner not in UNCHARGED:
        quota.charge(tx, new.project_id, f"port:{new.id}", {"port": 1})
    stored = _insert(tx, ground, replace(new, status=status_of(new)))
    fixed = assign(tx, stored, wanted, subnets)
    group_store.change_members(tx, stored.groups)
    _announce(tx, ground, stored, stored.groups)
    return replace(stored, fixed_ips=fixed)


def assign(tx: Tx, port: Port, wanted: Sequence[WantedIp] | None, subnets: Sequence[Subnet]) -> tuple[FixedIp, ...]:
    """Give addresses to a port; see `make` for what it raises."""
    if wanted is None:
        return _assign_any(tx, port, subnets)
    if len(wanted) > MAX_FIXED_IPS:
        raise Invalid("Exceeded maximum amount of fixed ips per port.", why="invalid_input")
    # Addresses asked for by name are taken first, so that none of them is given out to an entry without one.
    exact = [w for w in wanted if w.address is not None]
    return tuple(_assign_one(tx, port, w, subnets) for w in (*exact, *(w for w in wanted if w.address is None)))


def readdress(tx: Tx, ground: Ground, port: Port, wanted: Sequence[WantedIp], subnets: Sequence[Subnet]) -> None:
    """Give a port exactly these addresses; what it has and is wanted still, it keeps."""
    kept: list[FixedIp] = []
    fresh: list[WantedIp] = []
    for one in sorted(wanted, key=lambda w: w.address is None):
        match = next((f for f in port.fixed_ips if f not in kept and _fits(f, one)), None)
        if match is None:
            fresh.append(one)
        else:
            kept.append(match)
    if len(kept) + len(fresh) > MAX_FIXED_IPS:
        raise Invalid("Exceeded maximum amount of fixed ips per port.", why="invalid_input")
    gone = [fixed for fixed in port.fixed_ips if fixed not in kept]
    for fixed in gone:
        address_store.give_back_one(tx, port.id, fixed)
    if gone:
        _detach(tx, ground, [port.id], [fixed.address for fixed in gone])
    if fresh:
        assign(tx, port, fresh, subnets)
    _readdressed(tx, ground, port)
    raise_owner(tx, ground, port)


def regroup(tx: Tx, ground: Ground, port: Port, groups: Sequence[str]) -> None:
    """Put a port into exactly these groups.

    The version of its document is its revision plus that of its groups. What a group that it leaves contributed is
    added to its own, so that the sum rises; the groups are locked until the commit, so that it cannot rise meanwhile.
    """
    left = group_store.revisions(tx, [g for g in port.groups if g not in groups])
    port_store.set_groups(tx, port.id, groups)
    port_store.change(tx, port.id, rise=1 + sum(left.values()))
    touched = set(port.groups) ^ set(groups)
    group_store.change_members(tx, touched)
    _announce(tx, ground, port, touched)


def remove(tx: Tx, ground: Ground, ports: Collection[Port]) -> None:
    """Delete ports, whatever they are for, and refund them; their addresses are free again."""
    if not ports:
        return
    for one in ports:
        quota.refund(tx, f"port:{one.id}")
    groups = {g for one in ports for g in one.groups}
    group_store.change_members(tx, groups)
    _detach(tx, ground, [one.id for one in ports])
    port_store.remove(tx, [one.id for one in ports])
    for one in ports:
        _announce(tx, ground, one, one.groups)


def remove_floating(tx: Tx, ground: Ground, rows: Collection[FloatingIp]) -> None:
    """Give outside addresses back, with their forwardings."""
    for one in rows:
        floating_store.remove(tx, one.id)
        quota.refund(tx, f"floatingip:{one.id}")
        if one.router_id is not None:
            router_store.change(tx, one.router_id)
            ground.tell(tx, Change("router", one.router_id))
        if one.port_id is not None:
            ground.tell(tx, Change("port", one.port_id))
    remove(tx, ground, port_store.by_ids(tx, [one.floating_port_id for one in rows]))


def free(tx: Tx, ground: Ground, port: Port) -> None:
    """Take a port from its device; the port stays."""
    unbound = {
        "device_id": "", "device_owner": "", "host_id": "", "hostname": "", "status": DOWN, "nic_index": None,
        "tag": "",
    }  # fmt: skip
    port_store.change(tx, port.id, unbound)
    _announce(tx, ground, port, ())


def derive_all(tx: Tx, ground: Ground, subnet: Subnet) -> None:
    """Ports that are there already get their address in a new subnet where guests derive it themselves."""
    for port in port_store.in_network(tx, subnet.network_id):
        if not port.device_owner.startswith(OWNER_SYSTEM):
            _take_derived(tx, port, subnet)
            _readdressed(tx, ground, port)


def forget_derived(tx: Tx, ground: Ground, subnet: Subnet) -> None:
    """Take back what `derive_all` gave: nobody asked for these addresses, so they hold no subnet."""
    for port in port_store.in_network(tx, subnet.network_id):
        if not port.device_owner.startswith(OWNER_SYSTEM) and any(f.subnet_id == subnet.id for f in port.fixed_ips):
            address_store.give_back(tx, port.id, [subnet.id])
            _readdressed(tx, ground, port)


def derive_again(tx: Tx, port: Port, subnets: Sequence[Subnet]) -> None:
    """A port with a new MAC derives other addresses; the caller raises its revision."""
    for subnet in subnets:
        if subnet.is_auto_address and any(f.subnet_id == subnet.id for f in port.fixed_ips):
            address_store.give_back(tx, port.id, [subnet.id])
            _take_derived(tx, port, subnet)
    group_store.change_members(tx, port.groups)


def keep_dhcp(tx: Tx, ground: Ground, network_id: str) -> None:
    """Make a network's DHCP port have one address in each subnet with DHCP, and exist only while there is one.

    A subnet without a free address goes without (its document then has no `dhcp_address`, so nobody serves it).
    The caller raises the network's revision.
    """
    subnets = subnet_store.of_network(tx, network_id)
    served = {s.id: s for s in subnets if s.enable_dhcp}
    found = port_store.in_network(tx, network_id, OWNER_DHCP)
    port = found[0] if found else None
    if not served:
        remove(tx, ground, found)
        return
    if port is None:
        project_id = subnets[0].project_id
        empty = replace(
            blank(tx, ground.new_id(), network_id, project_id), device_owner=OWNER_DHCP, device_id=f"dhcp-{network_id}",
            port_security=False,
        )  # fmt: skip
        port = make(tx, ground, empty, (), subnets)
    has = {f.subnet_id for f in port.fixed_ips}
    address_gone = [s for s in has if s not in served]
    if address_gone:
        address_store.give_back(tx, port.id, address_gone)
    for one in served.values():
        if one.id not in has:
            _take_if_free(tx, port, one)


def raise_owner(tx: Tx, ground: Ground, port: Port) -> None:
    """A router's or DHCP server's own port changed: so did the router or the network."""
    if port.device_owner in (OWNER_INTERFACE, OWNER_GATEWAY):
        router_store.change(tx, port.device_id)
        ground.tell(tx, Change("router", port.device_id))
    elif port.device_owner == OWNER_DHCP:
        network_store.change(tx, port.network_id)
        ground.tell(tx, Change("network", port.network_id))


def _detach(tx: Tx, ground: Ground, port_ids: Collection[str], addresses: Collection[str] | None = None) -> None:
    """What was led to by floating IPs is there no more."""
    for router_id in sorted(floating_store.detach(tx, port_ids, addresses)):
        router_store.change(tx, router_id)
        ground.tell(tx, Change("router", router_id))


def status_of(port: Port) -> str:
    """ACTIVE once something is plugged into it: a host's guest, or a part of the network itself."""
    plugged = port.host_id or port.device_owner.startswith(OWNER_SYSTEM)
    return ACTIVE if plugged and port.admin_up else DOWN


def _insert(tx: Tx, ground: Ground, new: Port) -> Port:
    if new.mac:
        if not port_store.add(tx, new):
            raise Conflict(
                f"Unable to complete operation for network {new.network_id}. The mac address {new.mac} is in use.",
                why="mac_address_in_use",
            )
        return new
    for _ in range(MAC_ATTEMPTS):
        stored = replace(new, mac=ground.new_mac())
        if port_store.add(tx, stored):
            return stored
    raise Unavailable("Unable to generate unique mac.", why="mac_address_generation_failure")


def _serving(port: Port, subnets: Sequence[Subnet]) -> list[Subnet]:
    """Subnets that give this port an address unasked: by version those for its owner, else those for anyone."""
    found: list[Subnet] = []
    for version in (4, 6):
        some = [s for s in subnets if s.ip_version == version]
        owned = [s for s in some if port.device_owner in s.service_types]
        found.extend(owned or [s for s in some if not s.service_types])
    if subnets and not found:
        raise Conflict(
            f"No valid service subnet for the given device owner, network {port.network_id}, device owner "
            f"{port.device_owner}.",
            why="ip_address_generation_failure_no_matching_subnet",
        )
    return found


def _assign_any(tx: Tx, port: Port, subnets: Sequence[Subnet]) -> tuple[FixedIp, ...]:
    fixed: list[FixedIp] = []
    subnets = _serving(port, subnets)
    for version in (4, 6):
        pooled = [s for s in subnets if s.ip_version == version and not s.is_auto_address]
        if pooled:
            fixed.append(_take_from_any(tx, port, pooled))
    for subnet in subnets:
        if subnet.is_auto_address:
            fixed.append(_take_derived(tx, port, subnet))
    return tuple(fixed)


def _take_from_any(tx: Tx, port: Port, subnets: Sequence[Subnet]) -> FixedIp:
    for subnet in subnets:
        try:
            return FixedIp(subnet.id, address_store.take_next(tx, subnet.id, port.id))
        except NoCapacity:
            continue
    raise NoCapacity(
        f"No more IP addresses available on network {port.network_id}.", why="ip_address_generation_failure"
    )


def _take_derived(tx: Tx, port: Port, subnet: Subnet) -> FixedIp:
    derived = eui64(parse_prefix(subnet.cidr), port.mac)
    if not address_store.take(tx, subnet.id, port.id, derived):
        raise _in_use(derived, subnet.id)
    return FixedIp(subnet.id, derived)


def _take_if_free(tx: Tx, port: Port, subnet: Subnet) -> None:
    try:
        if subnet.is_auto_address:
            _take_derived(tx, port, subnet)
        else:
            address_store.take_next(tx, subnet.id, port.id)
    except (NoCapacity, Conflict):
        return


def _assign_one(tx: Tx, port: Port, wanted: WantedIp, subnets: Sequence[Subnet]) -> FixedIp:
    subnet = _subnet_for(port, wanted, subnets)
    if wanted.address is None:
        if subnet.is_auto_address:
            return _take_derived(tx, port, subnet)
        return FixedIp(subnet.id, address_store.take_next(tx, subnet.id, port.id))
    address = str(parse_address(wanted.address))
    if not address_store.take(tx, subnet.id, port.id, address):
        raise _in_use(address, subnet.id)
    return FixedIp(subnet.id, address)


def _subnet_for(port: Port, wanted: WantedIp, subnets: Sequence[Subnet]) -> Subnet:
    address = None if wanted.address is None else parse_address(wanted.address)
    if wanted.subnet_id is not None:
        subnet = next((s for s in subnets if s.id == wanted.subnet_id), None)
        if subnet is None:
            raise Invalid(
                f"Failed to create port on network {port.network_id}, because fixed_ips included invalid subnet "
                f"{wanted.subnet_id[:64]}.",
                why="invalid_input",
            )
        if address is not None and not holds(parse_prefix(subnet.cidr), address):
            raise Invalid(
                f"IP address {address} is not a valid IP for the specified subnet.", why="invalid_ip_for_subnet"
            )
        return subnet
    if address is None:
        raise Invalid("IP allocation requires subnet_id or ip_address.", why="invalid_input")
    for subnet in subnets:
        if holds(parse_prefix(subnet.cidr), address):
            return subnet
    raise Invalid(
        f"IP address {address} is not a valid IP for any of the subnets on the specified network.",
        why="invalid_ip_for_network",
    )


def _fits(fixed: FixedIp, wanted: WantedIp) -> bool:
    if wanted.address is not None and str(parse_address(wanted.address)) != fixed.address:
        return False
    return wanted.subnet_id in (None, fixed.subnet_id)


def _in_use(address: str, subnet_id: str) -> Conflict:
    return Conflict(f"IP address {address} already allocated in subnet {subnet_id}", why="ip_address_already_allocated")


def _readdressed(tx: Tx, ground: Ground, port: Port) -> None:
    port_store.change(tx, port.id)
    group_store.change_members(tx, port.groups)
    _announce(tx, ground, port, port.groups)


def _announce(tx: Tx, ground: Ground, port: Port, groups: Collection[str]) -> None:
    if port.host_id:
        ground.tell(tx, Change("port", port.id))
    ground.tell(tx, *(Change("members", g) for g in sorted(groups)))
