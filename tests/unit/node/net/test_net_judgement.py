"""Whether a connection that conntrack knows would be let in now."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kilonova.node.driver.net.connection import Connection
from kilonova.node.driver.net.judgement import Judgement, own_addresses, takes_away
from kilonova.wire.network import AddressPair, AddressSetDoc, FixedIp, NetworkDoc, PortDoc, RuleDoc, SubnetDoc

ID = "11111111-1111-4111-8111-111111111111"
SSH = Connection(source="10.0.0.9", destination="10.0.0.5", protocol=6, port=22)
SIX = Connection(source="fd00::9", destination="fd00::5", protocol=6, port=22)
PING = Connection(source="10.0.0.9", destination="10.0.0.5", protocol=1, icmp=(8, 0))


def doc(*rules: RuleDoc, **more: Any) -> PortDoc:
    fixed = (FixedIp(subnet_id="s", address="10.0.0.5"), FixedIp(subnet_id="s", address="fd00::5"))
    fields: dict[str, Any] = {"port_id": ID, "network_id": ID, "version": 1, "mac": "fa:16:3e:00:00:05"}
    return PortDoc(**(fields | {"fixed_ips": fixed, "rules": rules} | more))


def rule(**fields: Any) -> RuleDoc:
    return RuleDoc(**({"direction": "ingress", "ethertype": "IPv4"} | fields))


@pytest.mark.parametrize(
    ("given", "connection", "allowed"),
    [
        (rule(), SSH, True),
        (rule(protocol="tcp", port_min=20, port_max=22), SSH, True),
        (rule(protocol="tcp", port_min=23, port_max=99), SSH, False),
        (rule(protocol="udp", port_min=22, port_max=22), SSH, False),
        (rule(protocol="6"), SSH, True),
        (rule(ethertype="IPv6"), SSH, False),
        (rule(ethertype="IPv6", remote_prefix="fd00::/64"), SIX, True),
        (rule(remote_prefix="10.0.0.8/29"), SSH, True),
        (rule(remote_prefix="10.0.0.0/29"), SSH, False),
        (rule(remote_group=ID), SSH, True),
        (rule(remote_addresses="elsewhere"), SSH, False),
        (rule(direction="egress"), SSH, False),
        (rule(protocol="icmp"), PING, True),
        (rule(protocol="icmp", port_min=8), PING, True),
        (rule(protocol="icmp", port_min=13, port_max=0), PING, False),
        (rule(protocol="47"), dataclasses.replace(PING, protocol=47, icmp=None), True),
    ],
)
def test_a_connection_is_judged_as_the_rules_would(given: RuleDoc, connection: Connection, allowed: bool) -> None:
    members = AddressSetDoc(group_id=ID, version=1, addresses=("10.0.0.9", "fd00::/64"))
    assert Judgement(None, [doc(given)], [members]).allows(connection) is allowed


def test_both_ends_must_allow_it_and_strangers_are_not_asked() -> None:
    out = rule(direction="egress", protocol="tcp", remote_prefix="10.0.0.5/32")
    peer = doc(out, port_id="peer", fixed_ips=(FixedIp(subnet_id="s", address="10.0.0.9"),))
    assert Judgement(None, [doc(rule()), peer], []).allows(SSH)
    assert not Judgement(None, [doc(rule()), without_rules(peer)], []).allows(SSH)
    assert not Judgement(None, [doc(), peer], []).allows(SSH)
    assert Judgement(None, [], []).allows(SSH)


def without_rules(port: PortDoc) -> PortDoc:
    return doc(port_id=port.port_id, fixed_ips=port.fixed_ips)


def test_what_needs_no_rule_is_never_ended() -> None:
    subnet = SubnetDoc(subnet_id="s", ip_version=4, cidr="10.0.0.0/24", dhcp_address="10.0.0.2")
    judge = Judgement(NetworkDoc(network_id=ID, version=1, name="n", subnets=(subnet,)), [doc()], [])
    for always in (
        Connection(source="10.0.0.5", destination="169.254.169.254", protocol=6, port=80),
        Connection(source="10.0.0.5", destination="10.0.0.2", protocol=17, port=67),
        Connection(source="10.0.0.2", destination="10.0.0.5", protocol=6, port=22),
        Connection(source="fd00::9", destination="fd00::5", protocol=58, icmp=(135, 0)),
    ):
        assert judge.allows(always), always
    assert not judge.allows(SSH)
    assert not judge.allows(Connection(source="10.0.0.5", destination="10.0.0.2", protocol=6, port=80))


def test_ports_that_keep_no_connections_are_not_judged() -> None:
    assert Judgement(None, [doc(port_security=False)], []).allows(SSH)
    assert Judgement(None, [doc(rule(protocol="udp", stateful=False))], []).allows(SSH)


def test_only_what_takes_away_makes_connections_end() -> None:
    one, two = rule(protocol="tcp"), rule(protocol="udp")
    assert takes_away(None, doc(one))
    assert not takes_away(doc(one), doc(one, two, version=2))
    assert takes_away(doc(one, two), doc(two))
    assert takes_away(doc(one, port_security=False), doc(one))
    assert not takes_away(doc(one), doc(port_security=False))


def test_a_ports_addresses_are_its_own_and_its_single_pairs() -> None:
    pairs = tuple(AddressPair(address=text, mac="") for text in ("10.0.0.77/32", "10.0.1.0/24", "FD00::77", "10.0.0.5"))
    assert own_addresses(doc(allowed_pairs=pairs)) == ["10.0.0.5", "fd00::5", "10.0.0.77", "fd00::77"]
