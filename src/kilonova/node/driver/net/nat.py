"""A router's address translation, as rules of the namespace that the router is. Pure."""

from __future__ import annotations

from typing import Any

from kilonova.node.driver.net.expression import ACCEPT, DROP, Rule, Statement, ct, match, meta, payload, version_of
from kilonova.wire.network import FloatingIpDoc, PortForwardingDoc, RouterDoc


def router_rules(doc: RouterDoc, table: str, outside: str | None) -> list[dict[str, Any]]:
    """The whole table of a router's namespace, replaced in one transaction; connections keep their translation.

    Floating addresses translate one to one, from inside too; forwarded ports only inwards. With `snat`, other IPv4
    traffic leaves with the router's external address, and what comes from outside enters by a floating address, a
    forwarded port, or not at all.
    """
    place = {"family": "inet", "name": table}
    commands: list[dict[str, Any]] = [{verb: {"table": place}} for verb in ("add", "delete", "add")]
    if outside is None or doc.external is None:
        return commands
    own = next((address.split("/")[0] for address in doc.external.addresses if version_of(address) == "ip"), None)
    floating = [entry for entry in doc.floating_ips if version_of(entry.floating) == "ip"]
    forwarded = [_forward(entry) for entry in doc.port_forwardings]
    commands += _chain(table, "prerouting", "nat", -100, [*map(_to_fixed, floating), *forwarded])
    commands += _chain(table, "postrouting", "nat", 100, _source(floating, own if doc.snat else None, own, outside))
    return commands + _chain(table, "forward", "filter", 0, _guard(outside) if doc.snat else [])


def _to_fixed(entry: FloatingIpDoc) -> Rule:
    return [match(payload("ip", "daddr"), entry.floating), {"dnat": {"family": "ip", "addr": entry.fixed}}]


def _forward(entry: PortForwardingDoc) -> Rule:
    """Ports that keep their distance to the first one, or that all lead to the same one."""
    low, high, first = entry.floating_port_min, entry.floating_port_max, entry.fixed_port_min
    port = payload(entry.protocol, "dport")
    target: Statement = {"family": "ip", "addr": entry.fixed}
    if entry.fixed_port_max == first:
        target["port"] = first
    elif first != low:
        pairs = [[outer, first + outer - low] for outer in range(low, high + 1)]
        target["port"] = {"map": {"key": port, "data": {"set": pairs}}}
    wanted = low if low == high else {"range": [low, high]}
    return [match(payload("ip", "daddr"), entry.floating), match(port, wanted), {"dnat": target}]


def _source(floating: list[FloatingIpDoc], snat: str | None, own: str | None, outside: str) -> list[Rule]:
    leaving = match(meta("oifname"), outside)
    # A guest that asks for a floating address of its own network must get its answer through here as well.
    returning = match(ct("status"), "dnat", "in")
    inside = match(meta("iifname"), outside, "!=")
    rules: list[Rule] = []
    for entry in floating:
        fixed, translate = (
            match(payload("ip", "saddr"), entry.fixed),
            {"snat": {"family": "ip", "addr": entry.floating}},
        )
        rules += [[leaving, fixed, translate], [inside, returning, fixed, translate]]
    if own is not None:
        rules.append([inside, returning, match(meta("nfproto"), "ipv4"), {"snat": {"family": "ip", "addr": own}}])
    if snat is not None:
        rules.append([leaving, inside, match(meta("nfproto"), "ipv4"), {"snat": {"family": "ip", "addr": snat}}])
    return rules


def _guard(outside: str) -> list[Rule]:
    entering = [match(meta("iifname"), outside), match(meta("nfproto"), "ipv4")]
    return [
        [*entering, match(ct("state"), ["established", "related"], "in"), ACCEPT],
        [*entering, match(ct("status"), "dnat", "in"), ACCEPT],
        [*entering, DROP],
    ]


def _chain(table: str, hook: str, kind: str, priority: int, rules: list[Rule]) -> list[dict[str, Any]]:
    chain = {"family": "inet", "table": table, "name": hook, "type": kind, "hook": hook, "prio": priority}
    place = {"family": "inet", "table": table, "chain": hook}
    return [{"add": {"chain": chain | {"policy": "accept"}}}, *({"add": {"rule": place | {"expr": r}}} for r in rules)]
