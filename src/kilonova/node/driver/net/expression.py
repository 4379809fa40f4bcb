"""Words of nftables' JSON (libnftables-json(5)), as far as the rules here need them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, Final

Statement = dict[str, Any]
Rule = list[Statement]

ACCEPT: Final[Statement] = {"accept": None}
DROP: Final[Statement] = {"drop": None}
RETURN: Final[Statement] = {"return": None}

ESTABLISHED: Final = 1
INVALID: Final = 2
"""What the inet table tells the bridge table of a packet, in its mark."""


def meta(key: str) -> Statement:
    """A property of the packet: iifname, oifname, mark, l4proto …"""
    return {"meta": {"key": key}}


def ct(key: str) -> Statement:
    """What conntrack knows: state, status, zone."""
    return {"ct": {"key": key}}


def payload(protocol: str, field: str) -> Statement:
    """A header field."""
    return {"payload": {"protocol": protocol, "field": field}}


def match(left: Statement, right: Any, op: str = "==") -> Statement:
    """A comparison: `==`, `!=`, or `in` for bit fields such as a conntrack state."""
    return {"match": {"op": op, "left": left, "right": right}}


def mark(value: int) -> Statement:
    """Write the packet's mark."""
    return {"mangle": {"key": meta("mark"), "value": value}}


def version_of(address: str) -> str:
    """`ip` or `ip6`, by the form of an address or prefix."""
    return "ip6" if ":" in address else "ip"


def prefix(text: str) -> Any:
    """An address, or a prefix unless it covers a single one. Raises ValueError when it is neither."""
    network = ipaddress.ip_network(text, strict=False)
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}


def members(addresses: Iterable[str]) -> list[Any]:
    """Addresses and prefixes as elements of an interval set: nftables refuses those that overlap."""
    networks = [ipaddress.ip_network(address, strict=False) for address in addresses]
    four = ipaddress.collapse_addresses(network for network in networks if isinstance(network, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(network for network in networks if isinstance(network, ipaddress.IPv6Network))
    return [prefix(str(network)) for network in (*four, *six)]


def one_of(values: list[Any]) -> Any:
    """A set to compare with; a single value stands for itself."""
    return values[0] if len(values) == 1 else {"set": values}
