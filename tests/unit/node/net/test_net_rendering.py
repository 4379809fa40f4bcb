"""Names, DHCP configuration and a router's translation, as pure functions."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.dnsmasq import configuration, host_entry, name_entry
from kilonova.node.driver.net.name import Naming
from kilonova.node.driver.net.nat import router_rules
from kilonova.wire.network import (
    FixedIp,
    FloatingIpDoc,
    HostRoute,
    NetworkDoc,
    PortDoc,
    RouterDoc,
    RouterInterface,
    SubnetDoc,
)

NAMES = Naming("cccc01")
ID = "11111111-1111-4111-8111-111111111111"


@given(st.lists(st.uuids(version=4), min_size=1, max_size=50))
def test_device_names_fit_are_ours_and_differ(ids: list[uuid.UUID]) -> None:
    taken: list[str] = []
    for identifier in ids:
        taken.append(NAMES.device("tap", str(identifier), taken))
    assert len(set(taken)) == len(ids)
    assert all(len(name) <= 15 and NAMES.owns(name) and not Naming("cccc02").owns(name) for name in taken)


def test_two_ids_with_the_same_digits_get_two_names() -> None:
    first = NAMES.device("bridge", "1234567a-0000-4000-8000-000000000001", [])
    second = NAMES.device("bridge", "1234567b-0000-4000-8000-000000000001", [first])
    assert (first, second) == ("kbcccc011234567", "kbcccc01234567b")


def test_namespaces_tell_what_they_belong_to() -> None:
    network, router = NAMES.network_namespace(ID), NAMES.router_namespace(ID)
    assert (NAMES.network_of(network), NAMES.router_of(network)) == (ID, None)
    assert (NAMES.network_of(router), NAMES.router_of(router)) == (None, ID)
    assert Naming("cccc02").network_of(network) is None


@pytest.mark.parametrize("cloud_id", ["", "CCCC01", "cccc1", "cccc01\n", "../../"])
def test_a_cloud_id_is_six_hex_digits(cloud_id: str) -> None:
    with pytest.raises(ValueError):
        Naming(cloud_id)


def network(**subnet: Any) -> NetworkDoc:
    fields: dict[str, Any] = {"subnet_id": ID, "ip_version": 4, "cidr": "10.0.0.0/24", "dhcp_address": "10.0.0.2"}
    return NetworkDoc(network_id=ID, version=1, name="n", mtu=1442, subnets=(SubnetDoc(**(fields | subnet)),))


def render(doc: NetworkDoc) -> list[str]:
    return configuration(doc, Path("/run/x"), "net0", Path("/etc/resolv.conf")).splitlines()


def test_the_default_route_stands_in_both_options_and_metadata_always() -> None:
    lines = render(network(gateway="10.0.0.1", host_routes=(HostRoute(destination="10.9.0.0/16", nexthop="10.0.0.9"),)))
    route = "169.254.169.254/32,10.0.0.2,10.9.0.0/16,10.0.0.9,0.0.0.0/0,10.0.0.1"
    assert f"dhcp-option=tag:s0,option:classless-static-route,{route}" in lines
    assert "dhcp-option=tag:s0,option:router,10.0.0.1" in lines
    assert "dhcp-option=option:mtu,1442" in lines


def test_without_a_gateway_no_router_is_named() -> None:
    lines = render(network())
    assert "dhcp-option=tag:s0,option:router" in lines
    assert "dhcp-option=tag:s0,option:classless-static-route,169.254.169.254/32,10.0.0.2" in lines


@pytest.mark.parametrize(
    ("mode", "word"), [("slaac", "ra-only"), ("dhcpv6-stateless", "ra-stateless"), ("dhcpv6-stateful", "static")]
)
def test_ipv6_modes(mode: str, word: str) -> None:
    lines = render(network(ip_version=6, cidr="fd00::/64", dhcp_address="fd00::2", ipv6_mode=mode, gateway="fd00::1"))
    assert f"dhcp-range=set:s0,fd00::,{word},64,86400" in lines
    assert "ra-param=net0,mtu:1442,60,1800" in lines


def test_nothing_from_a_document_can_add_a_line() -> None:
    port = PortDoc(
        port_id=ID,
        network_id=ID,
        version=1,
        mac="fa:16:3e:00:00:05",
        hostname="a\nb",
        fixed_ips=(FixedIp(subnet_id="", address="10.0.0.5"),),
    )
    assert (host_entry(port), name_entry(port)) == ("fa:16:3e:00:00:05,10.0.0.5\n", "")
    doc = network()
    assert render(NetworkDoc(network_id=ID, version=1, name="\nx", dns_domain="a\nb", subnets=doc.subnets)) == [
        line.replace("1442", "1500") for line in render(doc)
    ]
    for broken in (network(gateway="10.0.0.1\nx"), network(dns_servers=("1.1.1.1,2",)), network(cidr="x")):
        with pytest.raises(ValueError):
            render(broken)
    zone = network(ip_version=6, cidr="fd00::/64", dhcp_address="fd00::2", dns_servers=("fe80::1%a\nuser=root",))
    with pytest.raises(ValueError):
        render(zone)
    with pytest.raises(DriverError):
        host_entry(PortDoc(port_id=ID, network_id=ID, version=1, mac="fa:16:3e:00:00:05,x"))


def router(**more: Any) -> RouterDoc:
    leg = RouterInterface(port_id=ID, network_id=ID, mac="fa:16:3e:00:00:01", addresses=("172.24.4.7/24",))
    return RouterDoc(**({"router_id": ID, "version": 1, "name": "r", "external": leg} | more))


def test_a_router_translates_only_what_it_is_told_to() -> None:
    floating = (FloatingIpDoc(floating="172.24.4.9", fixed="10.0.0.5"),)
    text = json.dumps(router_rules(router(floating_ips=floating), "kn_cccc01", "in-1"))
    assert '{"dnat": {"family": "ip", "addr": "10.0.0.5"}}' in text
    assert '{"snat": {"family": "ip", "addr": "172.24.4.9"}}' in text
    assert '{"snat": {"family": "ip", "addr": "172.24.4.7"}}' in text
    plain = router_rules(router(snat=False), "kn_cccc01", "in-1")
    assert not any("drop" in str(command) for command in plain)
    assert len(router_rules(router(external=None), "kn_cccc01", None)) == 3
