"""IP protocols by the names that Neutron's API takes (API reference: security group rules, `protocol`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kilonova.core.errors import Invalid

NUMBERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "icmpv6": 58, "igmp": 2, "ipip": 4,
        "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
        "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
    }
)  # fmt: skip
ICMP: Final = frozenset({1, 58})
IPV6_ONLY: Final = frozenset({41, 43, 44, 58, 59, 60})
"""What Neutron takes in rules for IPv6 only."""
PORTED: Final = frozenset({6, 17, 33, 132, 136})
_WIRE: Final[Mapping[int, str]] = MappingProxyType({1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"})


def number_of(protocol: str) -> int:
    """A protocol's number, from its name or from the number as text. Raises Invalid."""
    if protocol in NUMBERS:
        return NUMBERS[protocol]
    if protocol.isascii() and protocol.isdecimal() and len(protocol) <= 3 and int(protocol) <= 255:
        return int(protocol)
    raise Invalid(
        f"Security group rule protocol {protocol[:32]} not supported. Only protocol values "
        f"{', '.join(NUMBERS)} and integer representations [0 to 255] are supported.",
        why="security_group_rule_invalid_protocol",
    )


def on_wire(protocol: str | None, ethertype: str) -> str | None:
    """A protocol as `wire.network.RuleDoc` has it; `icmp` in an IPv6 rule means ICMPv6, as Neutron reads it."""
    if protocol is None:
        return None
    number = number_of(protocol)
    if number == 1 and ethertype == "IPv6":
        return "icmpv6"
    return _WIRE.get(number, str(number))
