"""One router on one host: a namespace with a leg in each of its networks. All functions block."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net import link, nft
from kilonova.node.driver.net.connection import forget, list_connections, list_translated
from kilonova.node.driver.net.dnsmasq import ANYWHERE
from kilonova.node.driver.net.link import Route
from kilonova.node.driver.net.name import Naming
from kilonova.node.driver.net.namespace import RUN, add_namespace, remove_namespace, run_inside
from kilonova.node.driver.net.nat import router_rules
from kilonova.node.driver.net.network import Bridge
from kilonova.node.driver.net.ruleset import Ruleset
from kilonova.wire.network import RouterDoc, RouterInterface

ETHERTYPE_ARP: Final = 0x0806


def inner_name(interface: RouterInterface) -> str:
    """A leg's name inside the router's namespace."""
    return "in-" + interface.port_id.replace("-", "")[:11]


def floating_addresses(doc: RouterDoc) -> list[str]:
    """The external addresses that the router answers for beside its own, each once."""
    one_to_one = [entry.floating for entry in doc.floating_ips]
    return list(dict.fromkeys([*one_to_one, *(entry.floating for entry in doc.port_forwardings)]))


class RouterPlant:
    """Builds and removes the routers of one cloud."""

    def __init__(self, naming: Naming, ruleset: Ruleset) -> None:
        self._naming = naming
        self._ruleset = ruleset

    def build(self, doc: RouterDoc, bridges: dict[str, Bridge], before: RouterDoc | None = None) -> None:
        """Make the router so; `before` is what it was. Raises DriverError when one of its networks is not here."""
        wanted = [*doc.interfaces, *([doc.external] if doc.external else [])]
        if any(interface.network_id not in bridges for interface in wanted):
            raise DriverError("driver", "a network of the router is not on this host yet", retryable=True)
        namespace = self._naming.router_namespace(doc.router_id)
        add_namespace(namespace)
        legs = {entry.alias: entry.name for entry in self._legs(doc.router_id)}
        aliases = {f"{doc.router_id} {interface.port_id}": interface for interface in wanted}
        for alias in legs.keys() - aliases.keys():
            self._drop(legs[alias])
        run_inside(namespace, _forward)
        for alias, interface in aliases.items():
            bridge = bridges[interface.network_id]
            outer = link.pick_name(self._naming.candidates("router", interface.port_id), alias)
            nft.apply(self._ruleset.outside(outer, member=bridge.external))
            name = inner_name(interface)
            link.ensure_leg(outer, bridge.name, alias, namespace, name, interface.mac, bridge.mtu)
        mtus = {interface.port_id: bridges[interface.network_id].mtu for interface in wanted}
        run_inside(namespace, lambda: self._furnish(doc, mtus))
        if before is not None:
            run_inside(namespace, lambda: end_translations(before, doc))

    def standing(self, doc: RouterDoc) -> bool:
        """Whether what `build` made is still there; a cheap look."""
        wanted = len(doc.interfaces) + (doc.external is not None)
        return (RUN / self._naming.router_namespace(doc.router_id)).exists() and wanted == len(
            self._legs(doc.router_id)
        )

    def remove(self, router_id: str) -> None:
        """Take everything of a router away."""
        for entry in self._legs(router_id):
            self._drop(entry.name)
        remove_namespace(self._naming.router_namespace(router_id))

    def _legs(self, router_id: str) -> list[link.Link]:
        return [entry for entry in link.list_links(self._naming.prefix("router")) if entry.alias.startswith(router_id)]

    def _drop(self, leg: str) -> None:
        link.remove_link(leg)
        nft.apply(self._ruleset.outside(leg, member=False))

    def _furnish(self, doc: RouterDoc, mtus: dict[str, int]) -> None:
        outside = inner_name(doc.external) if doc.external else None
        nft.apply(router_rules(doc, self._naming.table, outside))
        for interface in doc.interfaces:
            name = inner_name(interface)
            routes = _static(doc, interface)
            link.ensure_inside(name, mtus[interface.port_id], interface.addresses, routes, up=doc.admin_up)
        if doc.external and outside:
            addresses = [*doc.external.addresses, *(f"{address}/32" for address in floating_addresses(doc))]
            hops = [Route("::/0" if ":" in hop else ANYWHERE, hop) for hop in doc.next_hops]
            routes = [*hops, *_static(doc, doc.external)]
            link.ensure_inside(outside, mtus[doc.external.port_id], addresses, routes, up=doc.admin_up)
            if doc.admin_up:
                announce(outside, doc.external.mac, [address.split("/")[0] for address in addresses])
        if doc.admin_up:
            link.set_metadata_rules([inner_name(interface) for interface in doc.interfaces])


def end_translations(before: RouterDoc, after: RouterDoc) -> None:
    """Forget the connections that live by a translation which is no more: conntrack would keep it for them."""
    for entry in set(before.floating_ips) - set(after.floating_ips):
        for found in list_connections((entry.floating, entry.fixed)):
            if entry.floating in (found.destination, found.seen_as):
                forget(found)
    for forwarding in set(before.port_forwardings) - set(after.port_forwardings):
        ports = range(forwarding.floating_port_min, forwarding.floating_port_max + 1)
        for found in list_connections((forwarding.floating,)):
            if found.destination == forwarding.floating and found.port in ports:
                forget(found)
    if before.external and (after.external is None or after.external.addresses != before.external.addresses):
        for address in (text.split("/")[0] for text in before.external.addresses):
            for found in list_translated(address):
                forget(found)


def announce(device: str, mac: str, addresses: list[str]) -> None:
    """Tell the neighbours which MAC address these IPv4 addresses have now (gratuitous ARP, RFC 5227 §3)."""
    source = bytes.fromhex(mac.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ARP)) as sender:
        sender.bind((device, ETHERTYPE_ARP))
        for address in (ipaddress.ip_address(text) for text in addresses):
            if address.version == 4:
                head = b"\xff" * 6 + source + ETHERTYPE_ARP.to_bytes(2, "big")
                body = bytes.fromhex("0001080006040001") + source + address.packed + bytes(6) + address.packed
                sender.send(head + body)


def _forward() -> None:
    for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        link.write_setting(setting, "1")
    # A guest that asks for a floating address of its own network is to come back here, not to go straight there.
    for setting in ("all", "default"):
        link.write_setting(f"ipv4/conf/{setting}/send_redirects", "0")


def _static(doc: RouterDoc, interface: RouterInterface) -> list[Route]:
    """The router's extra routes whose next hop is reached by this leg."""
    networks = [ipaddress.ip_interface(address).network for address in interface.addresses]
    found = [r for r in doc.routes if any(ipaddress.ip_address(r.nexthop) in network for network in networks)]
    return [Route(str(ipaddress.ip_network(route.destination)), route.nexthop) for route in found]
