"""The packet rules of a cloud on one host: pure functions that build nftables transactions (libnftables-json(5)).

Two tables in the root namespace. `bridge kn_<cloud>` sees frames between ports: sources are checked as they come in,
security groups where a frame leaves for another port. `inet kn_<cloud>` sees the same packets on their way through
the bridge, because each bridge asks for it (`nf_call_iptables`): it gives every internal network a conntrack zone of
its own and writes into the packet's mark what conntrack knows, which the bridge family cannot ask itself.

Everything a port has hangs on its device name by verdict maps: a change replaces three chains, however many ports
there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kilonova.node.driver.net import filter as port_filter
from kilonova.node.driver.net.connection import ENDED
from kilonova.node.driver.net.expression import (
    ACCEPT,
    DROP,
    ESTABLISHED,
    INVALID,
    Rule,
    ct,
    mark,
    match,
    members,
    meta,
    payload,
    prefix,
    version_of,
)
from kilonova.node.driver.net.name import Naming
from kilonova.wire.network import AddressSetDoc, PortDoc

Command = dict[str, Any]

BRIDGE: Final = "bridge"
INET: Final = "inet"

BEFORE_CONNTRACK: Final = -290
"""After defragmentation (-400), before conntrack looks a packet up (-200)."""
AFTER_INET_FORWARD: Final = 10
"""br_netfilter runs the inet forward hook at -1 of the bridge's own."""


class Ruleset:
    """Transactions for the two tables of one cloud."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._table = naming.table

    def foundation(self) -> list[Command]:
        """The tables with their maps and base chains; applied again it replaces the base rules and keeps the rest."""
        tap = match(meta("iifname"), self._naming.prefix("tap") + "*")
        to_tap = match(meta("oifname"), self._naming.prefix("tap") + "*")
        ours = [match(meta("iifname"), self._naming.prefix(kind) + "*") for kind in ("tap", "leg", "router")]
        commands = [{"add": {"table": {"family": family, "name": self._table}}} for family in (BRIDGE, INET)]
        commands += [self._map(BRIDGE, name) for name in ("source", "egress", "ingress")]
        commands += [self._map(INET, name) for name in ("zone", "masquerade")]
        commands.append(self._add("set", BRIDGE, name="outside", type="ifname"))
        commands += [self._add("set", INET, name=name, type="ifname") for name in ("network", "external")]
        # A tap without its rules (not yet applied, already removed) carries nothing.
        commands += self._base(BRIDGE, "prerouting", -300, [[_vmap("iifname", "source")], [tap, DROP]])
        commands += self._base(
            BRIDGE,
            "forward",
            AFTER_INET_FORWARD,
            [[_vmap("iifname", "egress")], [_vmap("oifname", "ingress")], [to_tap, DROP]],
        )
        # Nothing in a network of ours may talk to the host itself, unless that network is the way out.
        inside: list[Rule] = [[match(meta("iifname"), "@outside"), ACCEPT], *([own, DROP] for own in ours)]
        commands += self._base(BRIDGE, "input", 0, inside)
        commands += self._base(INET, "prerouting", BEFORE_CONNTRACK, [[_vmap("iifname", "zone")]])
        commands += self._base(INET, "forward", -10, _marks())
        commands += self._base(INET, "input", 0, _host_guard())
        commands += self._base(INET, "postrouting", 100, [[_vmap("iifname", "masquerade")]], kind="nat")
        return commands

    def network(self, network_id: str, bridge: str, zone: int | None, subnets: Sequence[str]) -> list[Command]:
        """A network's zone, or with None, for an external one, the masquerading of its subnets (CIDRs)."""
        commands = [self._element("add", INET, "network", bridge)]
        if zone is not None:
            chain = f"zone-{network_id}"
            commands += self._chain(INET, chain, [[{"mangle": {"key": ct("zone"), "value": zone}}]])
            return [*commands, self._jump("add", INET, "zone", bridge, "jump", chain)]
        chain = f"masquerade-{network_id}"
        elsewhere = match(meta("oifname"), bridge, "!=")
        rules = [
            [elsewhere, match(payload(version_of(cidr), "saddr"), prefix(cidr)), {"masquerade": None}]
            for cidr in subnets
        ]
        commands += self._chain(INET, chain, rules)
        return [
            *commands,
            self._element("add", INET, "external", bridge),
            self._jump("add", INET, "masquerade", bridge, "jump", chain),
        ]

    def no_network(self, network_id: str, bridge: str) -> list[Command]:
        """What `network` added, taken away. What is not there is no error."""
        commands = self._no_element(INET, "network", bridge) + self._no_element(INET, "external", bridge)
        for name in ("zone", "masquerade"):
            commands += self._no_chain(INET, name, bridge, "jump", f"{name}-{network_id}")
        return commands

    def outside(self, device: str, *, member: bool) -> list[Command]:
        """Whether a device is plugged into an external network, from which the host may be spoken to."""
        return (
            [self._element("add", BRIDGE, "outside", device)] if member else self._no_element(BRIDGE, "outside", device)
        )

    def port(self, doc: PortDoc, device: str) -> list[Command]:
        """A port's three chains and the jumps to them."""
        commands: list[Command] = []
        for group in port_filter.named_sets(doc):
            commands += self._address_sets(group)
        chains = {
            "source": port_filter.source_rules(doc),
            "egress": port_filter.egress_rules(doc),
            "ingress": port_filter.ingress_rules(doc),
        }
        for name, rules in chains.items():
            commands += self._chain(BRIDGE, f"{name}-{doc.port_id}", rules)
            commands.append(self._jump("add", BRIDGE, name, device, _verb(name), f"{name}-{doc.port_id}"))
        return commands

    def no_port(self, port_id: str, device: str) -> list[Command]:
        """What `port` added, taken away. What is not there is no error."""
        commands: list[Command] = []
        for name in ("source", "egress", "ingress"):
            commands += self._no_chain(BRIDGE, name, device, _verb(name), f"{name}-{port_id}")
        return commands + self.outside(device, member=False)

    def address_set(self, doc: AddressSetDoc) -> list[Command]:
        """A group's members, replaced."""
        commands = self._address_sets(doc.group_id)
        for version in ("ip", "ip6"):
            name = port_filter.set_name(doc.group_id, version)
            commands.append({"flush": {"set": {"family": BRIDGE, "table": self._table, "name": name}}})
            if now := members(address for address in doc.addresses if version_of(address) == version):
                commands.append(self._element("add", BRIDGE, name, *now))
        return commands

    def no_address_set(self, group_id: str) -> list[Command]:
        """A group's sets taken away; nftables refuses while a rule uses one."""
        commands = self._address_sets(group_id)
        names = [port_filter.set_name(group_id, version) for version in ("ip", "ip6")]
        return commands + [{"delete": {"set": {"family": BRIDGE, "table": self._table, "name": n}}} for n in names]

    def nothing(self) -> list[Command]:
        """Both tables taken away."""
        tables = [{"family": family, "name": self._table} for family in (BRIDGE, INET)]
        return [{verb: {"table": table}} for table in tables for verb in ("add", "delete")]

    def _address_sets(self, group_id: str) -> list[Command]:
        return [
            self._add("set", BRIDGE, name=port_filter.set_name(group_id, version), type=kind, flags=["interval"])
            for version, kind in (("ip", "ipv4_addr"), ("ip6", "ipv6_addr"))
        ]

    def _add(self, what: str, family: str, **fields: Any) -> Command:
        return {"add": {what: {"family": family, "table": self._table, **fields}}}

    def _map(self, family: str, name: str) -> Command:
        return self._add("map", family, name=name, type="ifname", map="verdict")

    def _base(
        self, family: str, hook: str, priority: int, rules: Iterable[Rule], kind: str = "filter"
    ) -> list[Command]:
        chain = {"family": family, "table": self._table, "name": hook}
        base = chain | {"type": kind, "hook": hook, "prio": priority, "policy": "accept"}
        return [{"add": {"chain": base}}, {"flush": {"chain": chain}}, *self._rules(family, hook, rules)]

    def _chain(self, family: str, name: str, rules: Iterable[Rule]) -> list[Command]:
        chain = {"family": family, "table": self._table, "name": name}
        return [{"add": {"chain": chain}}, {"flush": {"chain": chain}}, *self._rules(family, name, rules)]

    def _rules(self, family: str, chain: str, rules: Iterable[Rule]) -> list[Command]:
        return [self._add("rule", family, chain=chain, expr=rule) for rule in rules]

    def _element(self, verb: str, family: str, name: str, *members: Any) -> Command:
        return {verb: {"element": {"family": family, "table": self._table, "name": name, "elem": list(members)}}}

    def _no_element(self, family: str, name: str, member: Any) -> list[Command]:
        return [self._element(verb, family, name, member) for verb in ("add", "delete")]

    def _jump(self, verb: str, family: str, name: str, device: str, how: str, chain: str) -> Command:
        return self._element(verb, family, name, [device, {how: {"target": chain}}])

    def _no_chain(self, family: str, name: str, device: str, how: str, chain: str) -> list[Command]:
        # nftables refuses to delete what is absent, so each thing is added first, in the same transaction.
        place = {"family": family, "table": self._table, "name": chain}
        jumps = [self._jump(verb, family, name, device, how, chain) for verb in ("add", "delete")]
        return [{"add": {"chain": place}}, *jumps, {"flush": {"chain": place}}, {"delete": {"chain": place}}]


def _verb(name: str) -> str:
    # The other end's filter comes after a jump to the egress chain has returned; the other two have the last word.
    return "jump" if name == "egress" else "goto"


def _vmap(key: str, name: str) -> dict[str, Any]:
    return {"vmap": {"key": meta(key), "data": f"@{name}"}}


def _marks() -> list[Rule]:
    bridged = match(meta("iifname"), "@network")
    return [
        [bridged, mark(0)],
        [bridged, match(ct("state"), ["established", "related"], "in"), mark(ESTABLISHED)],
        [bridged, match(ct("mark"), ENDED), mark(0)],
        [bridged, match(ct("state"), "invalid", "in"), mark(INVALID)],
    ]


def _host_guard() -> list[Rule]:
    """From the way out the host answers what it asked for, echo requests and neighbour discovery: nothing else."""
    outside = match(meta("iifname"), "@external")
    discovery = ["echo-request", "nd-neighbor-solicit", "nd-neighbor-advert"]
    return [
        [outside, match(ct("state"), ["established", "related"], "in"), ACCEPT],
        [outside, match(payload("icmp", "type"), "echo-request"), ACCEPT],
        [outside, match(payload("icmpv6", "type"), {"set": discovery}), ACCEPT],
        [outside, DROP],
    ]
