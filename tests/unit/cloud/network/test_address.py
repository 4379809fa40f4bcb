"""Address arithmetic and protocol names."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonova.cloud.network.address import (
    Address,
    Prefix,
    assignable,
    at,
    check_pools,
    default_gateway,
    default_pools,
    eui64,
    holds,
    mac_source,
    parse_address,
    parse_mac,
    parse_prefix,
    position,
)
from kilonova.cloud.network.model import Pool
from kilonova.cloud.network.protocol import on_wire
from kilonova.core.errors import Conflict, Failure, Invalid

ADDRESS = st.ip_addresses()
PREFIX = st.one_of(
    st.builds(lambda a, n: ip_network((a, n), strict=False), st.ip_addresses(v=4), st.integers(1, 32)),
    st.builds(lambda a, n: ip_network((a, n), strict=False), st.ip_addresses(v=6), st.integers(1, 128)),
)


@given(ADDRESS, ADDRESS)
def test_positions_sort_like_addresses(one: Address, other: Address) -> None:
    assert at(position(one)) == one
    if one.version == other.version:
        assert (position(one) < position(other)) == (int(one) < int(other))


@given(PREFIX)
def test_default_pools_hold_all_but_the_gateway(prefix: Prefix) -> None:
    gateway = default_gateway(prefix)
    assert holds(prefix, ip_address(gateway))
    pools = default_pools(prefix, gateway)
    assert check_pools(prefix, pools, gateway) == pools
    first, last = assignable(prefix)
    total = sum(int(ip_address(p.end)) - int(ip_address(p.start)) + 1 for p in pools)
    assert total == int(last) - int(first)


@pytest.mark.parametrize(
    ("start", "end", "kind"),
    [
        ("10.0.0.9", "10.0.0.5", Invalid),
        ("10.0.0.250", "10.0.1.5", Invalid),
        ("10.0.0.0", "10.0.0.5", Invalid),
        ("fe80::1", "fe80::2", Invalid),
        ("x", "y", Invalid),
        ("10.0.0.1", "10.0.0.5", Conflict),
        ("10.0.0.15", "10.0.0.25", Conflict),
    ],
)
def test_pools_that_are_refused(start: str, end: str, kind: type[Failure]) -> None:
    with pytest.raises(kind):
        check_pools(parse_prefix("10.0.0.0/24"), [Pool("10.0.0.20", "10.0.0.30"), Pool(start, end)], "10.0.0.1")


@pytest.mark.parametrize("text", ["", "10.0.0.0", "10.0.0.1/24", "0.0.0.0/0", "10.0.0.0/33", "10.0.0.0/24 ", "é/8"])
def test_prefixes_that_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_prefix(text)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_invalid(text: str) -> None:
    for parse in (parse_address, parse_prefix, parse_mac):
        with contextlib.suppress(Invalid):
            assert parse(text)


def test_macs() -> None:
    assert mac_source(lambda n: bytes(range(n)))() == "fa:16:3e:00:01:02"
    assert parse_mac("FA-16-3E-00-01-02") == "fa:16:3e:00:01:02"
    assert eui64(parse_prefix("2001:db8::/64"), "fa:16:3e:11:22:33") == "2001:db8::f816:3eff:fe11:2233"
    for bad in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00", "fa:16:3e:11:22"):
        with pytest.raises(Invalid):
            parse_mac(bad)


@pytest.mark.parametrize(
    ("protocol", "ethertype", "wire"),
    [
        (None, "IPv4", None),
        ("tcp", "IPv4", "tcp"),
        ("6", "IPv4", "tcp"),
        ("icmp", "IPv6", "icmpv6"),
        ("ipv6-icmp", "IPv6", "icmpv6"),
        ("sctp", "IPv4", "132"),
        ("254", "IPv4", "254"),
    ],
)
def test_protocols_on_the_wire(protocol: str | None, ethertype: str, wire: str | None) -> None:
    assert on_wire(protocol, ethertype) == wire
