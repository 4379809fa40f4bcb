"""A port's rules as nftables' JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonova.node.driver.net.expression import members, prefix
from kilonova.node.driver.net.filter import egress_rules, ingress_rules, link_local, source_rules
from kilonova.wire.network import AddressPair, FixedIp, PortDoc, RuleDoc

PORT = "11111111-1111-4111-8111-111111111111"


def doc(*rules: RuleDoc, **more: Any) -> PortDoc:
    fixed = (FixedIp(subnet_id="s", address="10.0.0.5"), FixedIp(subnet_id="s", address="fd00::5"))
    fields: dict[str, Any] = {"port_id": PORT, "network_id": PORT, "version": 1, "mac": "fa:16:3e:00:00:05"}
    return PortDoc(**(fields | {"fixed_ips": fixed, "rules": rules} | more))


def allowed(rule: RuleDoc) -> list[dict[str, Any]]:
    """The conditions of the one rule that a security group rule becomes."""
    without, within = ingress_rules(doc()), ingress_rules(doc(rule))
    (fresh,) = [entry for entry in within if entry not in without]
    assert fresh[-1] == {"accept": None}
    return [statement["match"] for statement in fresh[:-1]]


def rule(**fields: Any) -> RuleDoc:
    return RuleDoc(**({"direction": "ingress", "ethertype": "IPv4"} | fields))


@pytest.mark.parametrize(
    ("given_rule", "field", "value"),
    [
        (rule(protocol="tcp", port_min=22, port_max=22), ("th", "dport"), 22),
        (rule(protocol="6", port_min=1, port_max=9), ("th", "dport"), {"range": [1, 9]}),
        (rule(protocol="udp", port_min=0, port_max=65535), ("th", "dport"), {"range": [0, 65535]}),
        (rule(protocol="icmp", port_min=8), ("icmp", "type"), 8),
        (rule(protocol="icmp", ethertype="IPv6", port_min=128, port_max=0), ("icmpv6", "code"), 0),
        (rule(remote_prefix="10.1.2.3/8"), ("ip", "saddr"), {"prefix": {"addr": "10.0.0.0", "len": 8}}),
        (rule(remote_prefix="fd00::1/128", ethertype="IPv6"), ("ip6", "saddr"), "fd00::1"),
        (rule(remote_group=PORT), ("ip", "saddr"), f"@g4-{PORT}"),
        (rule(remote_group=PORT, ethertype="IPv6"), ("ip6", "saddr"), f"@g6-{PORT}"),
    ],
)
def test_a_rule_becomes_conditions(given_rule: RuleDoc, field: tuple[str, str], value: Any) -> None:
    wanted = {"op": "==", "left": {"payload": {"protocol": field[0], "field": field[1]}}, "right": value}
    assert wanted in allowed(given_rule)


def test_a_protocol_without_ports_ignores_them() -> None:
    assert allowed(rule(protocol="47", port_min=1, port_max=2)) == allowed(rule(protocol="47"))


def test_egress_rules_look_at_the_destination_and_leave_the_last_word_to_the_receiver() -> None:
    (fresh,) = [
        e for e in egress_rules(doc(rule(direction="egress", remote_prefix="10.0.0.0/8"))) if "10.0.0.0" in str(e)
    ]
    assert fresh[-1] == {"return": None}
    assert '"daddr"' in json.dumps(fresh)


def test_without_rules_the_last_word_is_drop_and_without_port_security_it_is_not() -> None:
    for build in (source_rules, egress_rules, ingress_rules):
        assert build(doc())[-1] == [{"drop": None}]
        assert {"drop": None} not in [statement for entry in build(doc(port_security=False)) for statement in entry]


@pytest.mark.parametrize("security", [True, False])
def test_a_port_that_is_down_drops_both_ways(security: bool) -> None:
    down = doc(admin_up=False, port_security=security)
    assert source_rules(down) == ingress_rules(down) == [[{"drop": None}]]


def test_allowed_pairs_widen_the_source_of_their_mac_only() -> None:
    pair = AddressPair(address="10.9.0.0/16", mac="fa:16:3e:00:00:99")
    for entry in source_rules(doc(allowed_pairs=(pair,))):
        text = json.dumps(entry)
        assert not ("10.9.0.0" in text and "fa:16:3e:00:00:05" in text)
        assert not ("10.0.0.5" in text and "fa:16:3e:00:00:99" in text)


def test_link_local_follows_the_mac() -> None:
    assert link_local("fa:16:3e:00:01:05") == "fe80::f816:3eff:fe00:105"


@given(st.lists(st.ip_addresses(v=4), max_size=20), st.integers(min_value=8, max_value=32))
def test_members_never_overlap_and_cover_everything(addresses: list[Any], length: int) -> None:
    import ipaddress

    given_networks = [ipaddress.ip_network(f"{address}/{length}", strict=False) for address in addresses]
    texts = [
        m if isinstance(m, str) else f"{m['prefix']['addr']}/{m['prefix']['len']}"
        for m in members(map(str, given_networks))
    ]
    merged = [ipaddress.ip_network(text) for text in texts]
    assert all(any(n.subnet_of(m) for m in merged) for n in given_networks)
    assert not any(a.overlaps(b) for i, a in enumerate(merged) for b in merged[i + 1 :])


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError):
        prefix("10.0.0.0/8; drop")
    with pytest.raises(ValueError):
        ingress_rules(doc(rule(remote_prefix="anything")))
