"""One network on one host: its bridge, its namespace with DHCP and the metadata address, its rules.
All functions block.

The host has no address in an internal network. In an external one it is the gateway, and masquerades what leaves.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net import link, nft
from kilonova.node.driver.net.dnsmasq import ANYWHERE, Dnsmasq, configuration
from kilonova.node.driver.net.filter import METADATA, METADATA6
from kilonova.node.driver.net.forwarding import IPV4, IPV6, Forwarding
from kilonova.node.driver.net.link import Route
from kilonova.node.driver.net.name import Naming
from kilonova.node.driver.net.namespace import RUN, add_namespace, remove_namespace, run_inside
from kilonova.node.driver.net.ruleset import Ruleset
from kilonova.wire.network import NetworkDoc, SubnetDoc

INNER: Final = "net0"
"""The leg's name inside the namespace."""
METADATA_PORT: Final = 80
ZONES: Final = 65535
BACKLOG: Final = 128
SYSTEMD_RESOLV: Final = Path("/run/systemd/resolve/resolv.conf")


@dataclass(frozen=True, slots=True)
class Bridge:
    """A network's bridge as the kernel knows it. `zone` is its connections' in conntrack (0: the host's own)."""

    name: str
    mtu: int
    external: bool
    zone: int


def zone_of(index: int, *, external: bool) -> int:
    """The zone of a bridge: its interface index is unique on the host, across clouds, so the zone is too."""
    return 0 if external else (index - 1) % ZONES + 1


def stable_mac(*parts: str) -> str:
    """A locally administered MAC address that follows from the parts."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x0E, *digest[:5]))


class NetworkPlant:
    """Builds and removes the networks of one cloud, whose files lie below `folder`."""

    def __init__(self, naming: Naming, ruleset: Ruleset, folder: Path, forwarding: Forwarding, resolv: Path) -> None:
        self._naming = naming
        self._ruleset = ruleset
        self._folder = folder
        self._forwarding = forwarding
        self._resolv = resolv

    def bridges(self) -> dict[str, Bridge]:
        """This cloud's bridges by network id, read from the kernel."""
        external = ruled_bridges(self._naming.table, "external")
        links = [entry for entry in link.list_links(self._naming.prefix("bridge")) if entry.alias]
        return {entry.alias: _bridge(entry, external=entry.name in external) for entry in links}

    def dnsmasq(self, network_id: str) -> Dnsmasq:
        """The network's dnsmasq, running or not."""
        return Dnsmasq(self._folder / network_id)

    def build(self, doc: NetworkDoc) -> Bridge:
        """Make the network so."""
        name = link.pick_name(self._naming.candidates("bridge", doc.network_id), doc.network_id)
        leg = link.pick_name(self._naming.candidates("leg", doc.network_id), doc.network_id)
        gateways = [_on_subnet(subnet.gateway, subnet) for subnet in doc.subnets if subnet.gateway and doc.external]
        for subnet in doc.subnets if doc.external else ():
            _check_free(subnet.cidr, name)
        mac = stable_mac(self._naming.cloud_id, doc.network_id, "bridge")
        index = link.ensure_bridge(name, doc.network_id, mac, doc.mtu, gateways, up=doc.admin_up)
        zone = zone_of(index, external=doc.external)
        rules = self._ruleset.network(doc.network_id, name, zone or None, [subnet.cidr for subnet in doc.subnets])
        nft.apply(rules + self._ruleset.outside(leg, member=doc.external))
        for setting in {IPV6 if ":" in gateway else IPV4 for gateway in gateways}:
            self._forwarding.ensure(setting)
        self._build_namespace(doc, name, leg)
        self._serve(doc)
        return Bridge(name, doc.mtu, doc.external, zone)

    def set_port(self, network_id: str, port_id: str, entries: tuple[str, str, str] = ("", "", "")) -> None:
        """What DHCP and the resolver know of a port: its lines for addresses, names, and options of its own."""
        server = self.dnsmasq(network_id)
        if server.set_port(port_id, *entries):
            server.stop()
            run_inside(self._naming.network_namespace(network_id), server.start)

    def standing(self, doc: NetworkDoc, bridge: Bridge) -> bool:
        """Whether what `build` made is still there; a cheap look."""
        namespace = self._naming.network_namespace(doc.network_id)
        served = not _served(doc) or self.dnsmasq(doc.network_id).running() is not None
        return Path("/sys/class/net", bridge.name).exists() and (RUN / namespace).exists() and served

    def remove(self, network_id: str, bridge: Bridge | None) -> None:
        """Take everything of a network away."""
        self.dnsmasq(network_id).remove()
        rules: list[dict[str, Any]] = []
        if leg := link.find_named(self._naming.candidates("leg", network_id), network_id):
            link.remove_link(leg)
            rules += self._ruleset.outside(leg, member=False)
        if bridge is not None:
            link.remove_link(bridge.name)
            rules += self._ruleset.no_network(network_id, bridge.name)
        if rules:
            nft.apply(rules)
        remove_namespace(self._naming.network_namespace(network_id))

    def metadata_sockets(self, network_id: str) -> tuple[socket.socket, ...]:
        """Listening, non-blocking sockets on the metadata addresses inside the network."""

        def listen() -> tuple[socket.socket, ...]:
            scope = socket.if_nametoindex(INNER)
            wanted: list[tuple[int, tuple[Any, ...]]] = [(socket.AF_INET, (METADATA, METADATA_PORT))]
            wanted += [(socket.AF_INET6, (METADATA6, METADATA_PORT, 0, scope))] if link.has_ipv6() else []
            return tuple(_listen(family, address) for family, address in wanted)

        return run_inside(self._naming.network_namespace(network_id), listen)

    def _build_namespace(self, doc: NetworkDoc, bridge: str, leg: str) -> None:
        namespace = self._naming.network_namespace(doc.network_id)
        add_namespace(namespace)
        mac = stable_mac(self._naming.cloud_id, doc.network_id, "leg")
        link.ensure_leg(leg, bridge, doc.network_id, namespace, INNER, mac, doc.mtu)
        run_inside(namespace, lambda: _furnish(doc))

    def _serve(self, doc: NetworkDoc) -> None:
        server = self.dnsmasq(doc.network_id)
        if not _served(doc):
            server.stop()
            return
        resolv = SYSTEMD_RESOLV if SYSTEMD_RESOLV.exists() else self._resolv
        changed = server.write(configuration(doc, server.folder, INNER, resolv))
        if changed:
            server.stop()
        if server.running() is None:
            run_inside(self._naming.network_namespace(doc.network_id), server.start)


def _listen(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def ruled_bridges(table: str, name: Literal["network", "external"]) -> Collection[str]:
    """The bridges that the rules know, or those of them that are the way out."""
    return {str(member) for member in nft.list_elements("inet", table, "set", name)}


def _bridge(entry: link.Link, *, external: bool) -> Bridge:
    return Bridge(entry.name, entry.mtu, external, zone_of(entry.index, external=external))


def _served(doc: NetworkDoc) -> list[SubnetDoc]:
    return [subnet for subnet in doc.subnets if subnet.enable_dhcp and subnet.dhcp_address]


def _on_subnet(address: str | None, subnet: SubnetDoc) -> str:
    return f"{ipaddress.ip_address(address or '')}/{ipaddress.ip_network(subnet.cidr).prefixlen}"


def _furnish(doc: NetworkDoc) -> None:
    # A new namespace may inherit the host's switch: no guest shall reach another by way of this one.
    link.write_setting(IPV4, "0")
    served = _served(doc)
    addresses = [_on_subnet(subnet.dhcp_address, subnet) for subnet in served] + [f"{METADATA}/32"]
    addresses += [f"{METADATA6}/64"] if link.has_ipv6() else []
    # Replies of the metadata service find guests of subnets in which the namespace has no address.
    routes = [Route(str(ipaddress.ip_network(subnet.cidr))) for subnet in doc.subnets if subnet not in served]
    for version, anywhere in ((4, ANYWHERE), (6, "::/0")):
        gateways = [subnet.gateway for subnet in served if subnet.ip_version == version and subnet.gateway]
        routes += [Route(anywhere, gateway) for gateway in gateways[:1]]
    if any(subnet.ip_version == 6 and subnet.gateway for subnet in served):
        # Guests learn this namespace as their IPv6 router by its advertisements; it hands on to the gateway.
        link.write_setting("ipv6/conf/all/forwarding", "1")
    link.ensure_inside(INNER, doc.mtu, addresses, routes)


def _check_free(cidr: str, bridge: str) -> None:
    wanted = ipaddress.ip_network(cidr)
    for device, address in link.list_addresses():
        if device != bridge and address.network.overlaps(wanted):
            raise DriverError("driver", f"the external subnet {cidr} is in use on this host, on {device}")
