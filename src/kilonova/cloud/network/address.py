"""Arithmetic on addresses, prefixes and MACs. Pure; everything wrong raises Invalid (or Conflict) in public words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from itertools import pairwise
from typing import Final, TypeVar

from kilonova.cloud.network.model import AllowedPair, Pool
from kilonova.core.errors import Conflict, Invalid

Prefix = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Net = TypeVar("Net", IPv4Network, IPv6Network)

MOST_PAIRS: Final = 10
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def parse_any_prefix(text: str) -> Prefix:
    """What an address or prefix means, host bits or not. Raises Invalid, also for an IPv6 zone (RFC 4007): it may hold
    any characters, and means nothing beyond one machine."""
    try:
        if "%" not in text:
            return ip_network(text, strict=False)
    except ValueError:
        pass
    raise Invalid(f"'{text[:64]}' is not a valid IP subnet", why="invalid_input")


def parse_prefix(text: str, version: int | None = None) -> Prefix:
    """A prefix in its canonical form. Raises Invalid when host bits are set, it is /0, or of the other version."""
    prefix = parse_any_prefix(text)
    if "/" not in text or prefix.compressed != text.lower():
        raise Invalid(f"'{text[:64]}' isn't a recognized IP subnet cidr, '{prefix}' is recommended")
    if prefix.prefixlen == 0:
        raise Invalid(f"0 is not allowed as CIDR prefix length ('{text}')")
    if version is not None and prefix.version != version:
        raise Invalid(f"Invalid input for operation: CIDR {text} does not match the ip_version '{version}'.")
    return prefix


def normal_prefix(text: str | None) -> str | None:
    """What a prefix with host bits means; it was found to be one before."""
    return None if text is None else str(ip_network(text, strict=False))


def check_usable(prefix: Prefix) -> None:
    """Raises Invalid for prefixes that no host may have addresses of: loopback, multicast, reserved."""
    reserved = prefix.version == 4 and int(prefix.network_address) >= int(IPv4Address("224.0.0.0"))
    if prefix.is_loopback or prefix.is_multicast or prefix.is_unspecified or reserved:
        raise Invalid(
            f"Invalid input for operation: '{prefix}' is loopback, multicast or reserved: no subnet of hosts."
        )


def check_mtu(mtu: int, versions: Iterable[int]) -> None:
    """Raises Conflict when a link has too small an MTU for an IP version (RFC 791: 68, RFC 8200: 1280)."""
    least = max((1280 if version == 6 else 68 for version in versions), default=0)
    if mtu < least:
        raise Conflict(f"Invalid MTU {mtu}: the network's subnets need at least {least}.", why="network_mtu_conflict")


def parse_address(text: str) -> Address:
    """One address. Raises Invalid."""
    try:
        address = ip_address(text)
    except ValueError:
        raise Invalid(f"'{text[:64]}' is not a valid IP address") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise Invalid(f"'{text[:64]}' is not a valid IP address")
    return address


def parse_mac(text: str) -> str:
    """A unicast MAC in lower case with colons. Raises Invalid."""
    mac = text.lower().replace("-", ":")
    if not _MAC.fullmatch(mac) or mac == "00:00:00:00:00:00" or int(mac[:2], 16) & 1:
        raise Invalid(f"'{text[:32]}' is not a valid MAC address")
    return mac


def mac_source(random_bytes: Callable[[int], bytes]) -> Callable[[], str]:
    """New MACs under OpenStack's customary prefix fa:16:3e, the rest from `random_bytes(3)`."""
    return lambda: "fa:16:3e:" + random_bytes(3).hex(":")


def position(address: Address) -> str:
    """Fixed-width hex digits: sorts as text in the order of addresses (8 digits for IPv4, 32 for IPv6)."""
    return f"{int(address):08x}" if address.version == 4 else f"{int(address):032x}"


def at(place: str) -> Address:
    """The address at a `position`."""
    return IPv4Address(int(place, 16)) if len(place) == 8 else IPv6Address(int(place, 16))


def assignable(prefix: Prefix) -> tuple[Address, Address]:
    """First and last address that a port may have: without an IPv4 network and broadcast address (except in /31 and
    /32, RFC 3021), without IPv6's subnet-router anycast address (RFC 4291 §2.6.1; except in /127 and /128)."""
    first, last = prefix.network_address, prefix.broadcast_address
    if prefix.num_addresses > 2:
        first += 1
        last = last - 1 if prefix.version == 4 else last
    return first, last


def holds(prefix: Prefix, address: Address) -> bool:
    """Whether a port in this prefix may have this address."""
    if address.version != prefix.version:
        return False
    first, last = assignable(prefix)
    return int(first) <= int(address) <= int(last)


def default_gateway(prefix: Prefix) -> str:
    """The first assignable address."""
    return str(assignable(prefix)[0])


def default_pools(prefix: Prefix, gateway: str | None) -> tuple[Pool, ...]:
    """Everything assignable but the gateway."""
    first, last = assignable(prefix)
    if gateway is None or not holds(prefix, hole := ip_address(gateway)):
        return (Pool(str(first), str(last)),)
    parts = []
    if int(hole) > int(first):
        parts.append(Pool(str(first), str(hole - 1)))
    if int(hole) < int(last):
        parts.append(Pool(str(hole + 1), str(last)))
    return tuple(parts)


def check_pools(prefix: Prefix, pools: Sequence[Pool], gateway: str | None) -> tuple[Pool, ...]:
    """Pools in order. Raises Invalid when one lies outside or is upside down, Conflict when two overlap or one holds
    the gateway."""
    spans: list[tuple[Address, Address]] = []
    for pool in pools:
        start, end = parse_address(pool.start), parse_address(pool.end)
        if start.version != prefix.version or end.version != prefix.version or int(start) > int(end):
            raise Invalid(f"The allocation pool {pool.start}-{pool.end} is not valid.", why="invalid_allocation_pool")
        if not (holds(prefix, start) and holds(prefix, end)):
            raise Invalid(
                f"The allocation pool {pool.start}-{pool.end} spans beyond the subnet cidr {prefix}.",
                why="out_of_bounds_allocation_pool",
            )
        spans.append((start, end))
    spans.sort(key=lambda s: int(s[0]))
    for (start, end), (other, other_end) in pairwise(spans):
        if int(other) <= int(end):
            raise Conflict(
                f"Found overlapping allocation pools: {start}-{end}, {other}-{other_end} for subnet {prefix}.",
                why="overlapping_allocation_pools",
            )
    checked = tuple(Pool(str(start), str(end)) for start, end in spans)
    check_gateway(gateway, checked)
    return checked


def check_gateway(gateway: str | None, pools: Sequence[Pool]) -> None:
    """Raises Conflict when the gateway lies in a pool."""
    if gateway is None:
        return
    value = int(ip_address(gateway))
    for pool in pools:
        if int(ip_address(pool.start)) <= value <= int(ip_address(pool.end)):
            raise Conflict(
                f"Gateway ip {gateway} conflicts with allocation pool {pool.start}-{pool.end}.",
                why="gateway_conflict_with_allocation_pools",
            )


def eui64(prefix: Prefix, mac: str) -> str:
    """The address that a guest with this MAC gives itself in a /64 (RFC 4291, appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return str(IPv6Address(int(prefix.network_address) | int.from_bytes(interface, "big")))


def disjoint(addresses: Sequence[str]) -> tuple[str, ...]:
    """The same addresses without overlap, as packet filters need their sets."""
    four = collapse_addresses(IPv4Network(a) for a in addresses if ":" not in a)
    six = collapse_addresses(IPv6Network(a) for a in addresses if ":" in a)
    return (*(str(p) for p in four), *(str(p) for p in six))


def without(texts: Sequence[str], gone: Sequence[str]) -> tuple[str, ...]:
    """What is left of prefixes when others are taken out of them, without overlap."""
    four, six = [IPv4Network(t) for t in texts if ":" not in t], [IPv6Network(t) for t in texts if ":" in t]
    for text in gone:
        if ":" in text:
            six = _cut_out(six, IPv6Network(text))
        else:
            four = _cut_out(four, IPv4Network(text))
    return disjoint([str(prefix) for prefix in (*four, *six)])


def _cut_out(prefixes: Sequence[Net], hole: Net) -> list[Net]:
    left: list[Net] = []
    for one in prefixes:
        if not one.overlaps(hole):
            left.append(one)
        elif one.prefixlen < hole.prefixlen:
            left.extend(one.address_exclude(hole))
    return left


def first_free(prefixes: Sequence[Prefix], taken: Sequence[Prefix], length: int) -> Prefix | None:
    """The lowest prefix of this length within `prefixes` that overlaps nothing taken."""
    for prefix in sorted(prefixes, key=lambda p: int(p.network_address)):
        if prefix.prefixlen > length:
            continue
        size = 1 << (prefix.max_prefixlen - length)
        start, end = int(prefix.network_address), int(prefix.broadcast_address)
        for other in sorted((t for t in taken if t.overlaps(prefix)), key=lambda p: int(p.network_address)):
            if start + size <= int(other.network_address):
                break
            start = max(start, -(-(int(other.broadcast_address) + 1) // size) * size)
        if start + size - 1 <= end:
            return type(prefix)((start, length))
    return None


def check_pairs(pairs: Sequence[tuple[str, str | None]], mac: str) -> tuple[AllowedPair, ...]:
    """Allowed pairs of a port that has `mac`, which is meant where none is given. Raises Invalid."""
    if len(pairs) > MOST_PAIRS:
        raise Invalid(
            f"The number of allowed address pair exceeds the maximum {MOST_PAIRS}.",
            why="allowed_address_pair_exhausted",
        )
    checked: list[AllowedPair] = []
    for text, other in pairs:
        prefix = parse_any_prefix(text)
        if prefix.prefixlen == 0:
            raise Invalid("An allowed address pair cannot be every address there is.", why="invalid_input")
        address = str(prefix.network_address) if "/" not in text else str(prefix)
        pair = AllowedPair(address, mac if other is None else parse_mac(other))
        if pair in checked:
            raise Invalid(
                f"Request contains duplicate address pair: mac_address {pair.mac} ip_address {address}.",
                why="duplicate_address_pair_in_request",
            )
        checked.append(pair)
    return tuple(checked)
