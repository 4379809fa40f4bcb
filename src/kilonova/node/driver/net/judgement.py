"""Whether a connection would be let in as things are now: filter.py's rules, asked of what conntrack knows. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final

from kilonova.node.driver.net import filter as port_filter
from kilonova.node.driver.net.connection import ICMP, ICMPV6, Connection
from kilonova.node.driver.net.filter import EGRESS_ICMPV6, INGRESS_ICMPV6, METADATA, METADATA6, PROTOCOLS, tracked
from kilonova.wire.network import AddressSetDoc, Direction, NetworkDoc, PortDoc, RuleDoc

Remote = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Test = Callable[[Remote, Connection], bool]

NUMBERS: Final = {"tcp": 6, "udp": 17, "icmp": ICMP, "icmpv6": ICMPV6, "sctp": 132, "dccp": 33, "udplite": 136}
TCP: Final = 6
UDP: Final = 17
ALWAYS_UDP: Final[dict[Direction, tuple[int, int]]] = {"egress": (67, 547), "ingress": (68, 546)}
ALWAYS_ICMPV6: Final[dict[Direction, list[int]]] = {"egress": EGRESS_ICMPV6, "ingress": INGRESS_ICMPV6}
SSH: Final = 22
SERVICE: Final = (METADATA, METADATA6)


class Judgement:
    """What one network's ports on this host, with the sets that their rules name, say about connections."""

    def __init__(self, network: NetworkDoc | None, ports: Iterable[PortDoc], sets: Iterable[AddressSetDoc]) -> None:
        self._ports = {address: port for port in ports for address in own_addresses(port)}
        self._sets = {doc.group_id: [ipaddress.ip_network(a, strict=False) for a in doc.addresses] for doc in sets}
        self._operator = {subnet.dhcp_address for subnet in network.subnets} if network else set()
        self._tests: dict[tuple[str, Direction], list[Test]] = {}

    def allows(self, connection: Connection) -> bool:
        """Whether both ends, as far as they are ports here, allow it."""
        sender, receiver = self._ports.get(connection.source), self._ports.get(connection.destination)
        return (sender is None or self._lets(sender, "egress", connection)) and (
            receiver is None or self._lets(receiver, "ingress", connection)
        )

    def _lets(self, port: PortDoc, direction: Direction, connection: Connection) -> bool:
        if not port.port_security or not tracked(port) or self._always(direction, connection):
            return True
        key = port.port_id, direction
        if key not in self._tests:
            self._tests[key] = [self._test(rule) for rule in port.rules if rule.direction == direction]
        remote = ipaddress.ip_address(connection.destination if direction == "egress" else connection.source)
        return any(test(remote, connection) for test in self._tests[key])

    def _always(self, direction: Direction, connection: Connection) -> bool:
        if connection.protocol == UDP:
            return connection.port in ALWAYS_UDP[direction]
        if connection.protocol == ICMPV6 and connection.icmp:
            return connection.icmp[0] in ALWAYS_ICMPV6[direction]
        if direction == "egress":
            return (connection.protocol, connection.port) == (TCP, 80) and connection.destination in SERVICE
        return (connection.protocol, connection.port) == (TCP, SSH) and connection.source in self._operator

    def _test(self, rule: RuleDoc) -> Test:
        version = int(rule.ethertype[-1])
        remotes = self._remotes(rule)
        number, icmp = _protocol(rule)
        low = rule.port_min if rule.port_min is not None else rule.port_max
        high = rule.port_max if rule.port_max is not None else rule.port_min

        def test(remote: Remote, connection: Connection) -> bool:
            if remote.version != version or number not in (None, connection.protocol):
                return False
            if remotes is not None and not any(remote in network for network in remotes):
                return False
            if icmp:
                kind, code = connection.icmp or (None, None)
                return rule.port_min in (None, kind) and rule.port_max in (None, code)
            if low is None or high is None or number is None or connection.port is None:
                return True
            return low <= connection.port <= high

        return test

    def _remotes(self, rule: RuleDoc) -> list[Network] | None:
        if rule.remote_prefix:
            return [ipaddress.ip_network(rule.remote_prefix, strict=False)]
        name = port_filter.named_set(rule)
        return self._sets.get(name, []) if name else None


def own_addresses(port: PortDoc) -> list[str]:
    """The port's addresses, and those allowed pairs that are single ones."""
    pairs = [pair.address for pair in port.allowed_pairs if is_single(pair.address)]
    addresses = [*(fixed.address for fixed in port.fixed_ips), *pairs]
    return list(dict.fromkeys(plain(address) for address in addresses))


def takes_away(before: object, after: PortDoc) -> bool:
    """Whether what `before` (the port's earlier document, if it is known) allowed may be allowed no more."""
    if not isinstance(before, PortDoc):
        return True
    checked = after.port_security and tracked(after)
    was_checked = before.port_security and tracked(before)
    return checked and (not was_checked or not set(before.rules) <= set(after.rules))


def plain(address: str) -> str:
    """An address as the kernel writes it, without its prefix length."""
    return str(ipaddress.ip_interface(address).ip)


def is_single(address: str) -> bool:
    """Whether this is one address, and not a prefix of several."""
    network = ipaddress.ip_network(address, strict=False)
    return network.num_addresses == 1


def _protocol(rule: RuleDoc) -> tuple[int | None, bool]:
    """The protocol's number (None: any), and whether it is one of the two ICMPs."""
    if rule.protocol in (None, "any", "0"):
        return None, False
    name = PROTOCOLS.get(rule.protocol, rule.protocol)
    if name in ("icmp", "icmpv6"):
        return (ICMPV6 if rule.ethertype == "IPv6" else ICMP), True
    return NUMBERS.get(name) or int(name), False
