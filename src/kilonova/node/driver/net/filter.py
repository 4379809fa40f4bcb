"""What a port may send and receive: anti-spoofing and security group rules, as rules of its three chains. Pure.

As Neutron has it: a port speaks only with its own addresses, never answers as DHCP server or IPv6 router, always gets
DHCP, neighbour discovery and metadata, and of everything else what its allow rules say, with replies. A connection
lives as long as a rule allows it, whichever that is: see connection.py for what becomes of one that none allows.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from kilonova.node.driver.net.expression import (
    ACCEPT,
    DROP,
    ESTABLISHED,
    INVALID,
    RETURN,
    Rule,
    Statement,
    match,
    members,
    meta,
    one_of,
    payload,
    prefix,
    version_of,
)
from kilonova.node.driver.net.name import LETTER
from kilonova.wire.network import PortDoc, RuleDoc

METADATA: Final = "169.254.169.254"
METADATA6: Final = "fe80::a9fe:a9fe"
METADATA_BY_VERSION: Final = {"ip": METADATA, "ip6": METADATA6}
NOWHERE: Final = str(ipaddress.IPv4Address(0))
UNSPECIFIED_SENDER: Final = [131, 132, 133, 135, 143]
"""ICMPv6 that a host sends before it has an address (RFC 4862, 3810): MLD, router and neighbour solicitation."""
EGRESS_ICMPV6: Final = [130, 131, 132, 133, 135, 136, 143]
INGRESS_ICMPV6: Final = [130, 134, 135, 136]
NEIGHBOUR_ADVERTISEMENT: Final = 136
ROUTER_ADVERTISEMENT: Final = 134
TARGET: Final[Statement] = {"payload": {"base": "th", "offset": 64, "len": 128}}
"""The target address of a neighbour advertisement (RFC 4861 §4.4)."""
PROTOCOLS: Final = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "ipv6-icmp": "icmpv6"}
PORTED: Final = ("tcp", "udp", "sctp", "dccp", "udplite")


OPERATOR_SSH: Final[Rule] = [
    match(meta("iifname"), LETTER["leg"] + "*"),
    match(meta("protocol"), "ip"),
    match(payload("tcp", "dport"), 22),
    ACCEPT,
]
"""`kilonova ssh`: from the network's own namespace, where only root of this host is and nothing is forwarded (IPv4)."""


def set_name(group_id: str, version: str) -> str:
    """The nftables set of a group's `ip` or `ip6` addresses."""
    return f"{'g6' if version == 'ip6' else 'g4'}-{group_id}"


def link_local(mac: str) -> str:
    """The IPv6 link-local address that a MAC address stands for (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    host = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return str(ipaddress.IPv6Address(bytes.fromhex("fe80000000000000") + host))


def source_rules(doc: PortDoc) -> list[Rule]:
    """What may come out of the port's device at all."""
    if not doc.admin_up:
        return [[DROP]]
    if not doc.port_security:
        return [[ACCEPT]]
    # A tagged frame would pass for what is inside the tag.
    rules: list[Rule] = [[match(payload("ether", "type"), {"set": ["arp", "ip", "ip6"]}, "!="), DROP]]
    for mac, addresses in _sources(doc).items():
        rules += _source(mac, addresses)
    return [*rules, [DROP]]


def egress_rules(doc: PortDoc) -> list[Rule]:
    """What may go from the port to another: RETURN lets it pass on to the receiver's filter."""
    if not doc.port_security:
        return [[RETURN]]
    return [
        [*_udp_pair(67, 68), DROP],
        [*_udp_pair(547, 546), DROP],
        [match(payload("icmpv6", "type"), ROUTER_ADVERTISEMENT), DROP],
        *_known(doc, RETURN),
        [*_udp_pair(68, 67), RETURN],
        [*_udp_pair(546, 547), RETURN],
        [match(payload("icmpv6", "type"), {"set": EGRESS_ICMPV6}), RETURN],
        *(
            [match(payload(version, "daddr"), address), match(payload("tcp", "dport"), 80), RETURN]
            for version, address in METADATA_BY_VERSION.items()
        ),
        *([*_condition(rule), RETURN] for rule in doc.rules if rule.direction == "egress"),
        [DROP],
    ]


def ingress_rules(doc: PortDoc) -> list[Rule]:
    """What may go out of the bridge into the port's device."""
    if not doc.admin_up:
        return [[DROP]]
    if not doc.port_security:
        return [[ACCEPT]]
    # A port without connection tracking gets what it asked for from the metadata service all the same.
    answers: list[Rule] = [
        [match(payload(version, "saddr"), address), match(payload("tcp", "sport"), 80), ACCEPT]
        for version, address in METADATA_BY_VERSION.items()
    ]
    return [
        *_known(doc, ACCEPT),
        *([] if tracked(doc) else answers),
        [*_udp_pair(67, 68), ACCEPT],
        [*_udp_pair(547, 546), ACCEPT],
        [match(payload("icmpv6", "type"), {"set": INGRESS_ICMPV6}), ACCEPT],
        OPERATOR_SSH,
        *([*_condition(rule), ACCEPT] for rule in doc.rules if rule.direction == "ingress"),
        [DROP],
    ]


def tracked(doc: PortDoc) -> bool:
    """Whether answers pass without a rule of their own: always, unless all its rules are stateless."""
    return not doc.rules or any(rule.stateful for rule in doc.rules)


def named_sets(doc: PortDoc) -> list[str]:
    """The address sets that the port's rules name."""
    return sorted({name for rule in doc.rules if (name := named_set(rule))})


def named_set(rule: RuleDoc) -> str | None:
    """The address set that a rule names."""
    return rule.remote_group or rule.remote_addresses


def _sources(doc: PortDoc) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {doc.mac.lower(): [fixed.address for fixed in doc.fixed_ips]}
    for pair in doc.allowed_pairs:
        sources.setdefault((pair.mac or doc.mac).lower(), []).append(pair.address)
    return sources


def _source(mac: str, addresses: list[str]) -> list[Rule]:
    sender = match(payload("ether", "saddr"), mac)
    four = members([a for a in addresses if version_of(a) == "ip"])
    six = members([*(a for a in addresses if version_of(a) == "ip6"), link_local(mac)])
    arp = [sender, match(payload("arp", "saddr ether"), mac)]
    nowhere = match(payload("ip6", "saddr"), "::")
    advert = match(payload("icmpv6", "type"), NEIGHBOUR_ADVERTISEMENT)
    rules: list[Rule] = [
        # Probing for a duplicate (RFC 5227) and asking for an address come from nowhere.
        [*arp, match(payload("arp", "operation"), "request"), match(payload("arp", "saddr ip"), NOWHERE), ACCEPT],
        [sender, match(payload("ip", "saddr"), NOWHERE), *_udp_pair(68, 67), ACCEPT],
        [sender, nowhere, match(payload("icmpv6", "type"), {"set": UNSPECIFIED_SENDER}), ACCEPT],
        [sender, advert, match(TARGET, one_of([_number(member) for member in six]), "!="), DROP],
        [sender, match(payload("ip6", "saddr"), one_of(six)), ACCEPT],
    ]
    if four:
        rules.append([*arp, match(payload("arp", "saddr ip"), one_of(four)), ACCEPT])
        rules.append([sender, match(payload("ip", "saddr"), one_of(four)), ACCEPT])
    return rules


def _number(member: Any) -> Any:
    if isinstance(member, str):
        return hex(int(ipaddress.IPv6Address(member)))
    network = ipaddress.IPv6Network((member["prefix"]["addr"], member["prefix"]["len"]))
    return {"range": [hex(int(network[0])), hex(int(network[-1]))]}


def _known(doc: PortDoc, verdict: Statement) -> list[Rule]:
    by_mark: list[Rule] = [[match(meta("mark"), ESTABLISHED), verdict], [match(meta("mark"), INVALID), DROP]]
    return [*(by_mark if tracked(doc) else []), [match(payload("ether", "type"), "arp"), verdict]]


def _udp_pair(source: int, destination: int) -> list[Statement]:
    return [match(payload("udp", "sport"), source), match(payload("udp", "dport"), destination)]


def _condition(rule: RuleDoc) -> list[Statement]:
    version = "ip6" if rule.ethertype == "IPv6" else "ip"
    field = "saddr" if rule.direction == "ingress" else "daddr"
    condition = [match(payload("ether", "type"), version)]
    if rule.remote_prefix:
        condition.append(match(payload(version, field), prefix(rule.remote_prefix)))
    if group := named_set(rule):
        condition.append(match(payload(version, field), f"@{set_name(group, version)}"))
    return condition + (_protocol(rule, version) if rule.protocol not in (None, "any", "0") else [])


def _protocol(rule: RuleDoc, version: str) -> list[Statement]:
    name = PROTOCOLS.get(str(rule.protocol), str(rule.protocol))
    if name in ("icmp", "icmpv6"):
        name = "icmpv6" if version == "ip6" else "icmp"
        condition = [match(meta("l4proto"), 58 if name == "icmpv6" else 1)]
        for field, value in (("type", rule.port_min), ("code", rule.port_max)):
            if value is not None:
                condition.append(match(payload(name, field), value))
        return condition
    number = int(name) if name.isdigit() else name
    condition = [match(meta("l4proto"), number)]
    low = rule.port_min if rule.port_min is not None else rule.port_max
    high = rule.port_max if rule.port_max is not None else rule.port_min
    if name in PORTED and low is not None and high is not None:
        condition.append(match(payload("th", "dport"), low if low == high else {"range": [low, high]}))
    return condition
