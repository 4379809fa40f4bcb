"""Commands and queries on security groups and their rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from typing import Any, Final, Literal

from kilonova.cloud.network import address_group_store, group_store, port_store, sharing
from kilonova.cloud.network.address import normal_prefix, parse_any_prefix
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import DEFAULT_GROUP, Change, Group, Listing, Rule
from kilonova.cloud.network.network_service import target_project
from kilonova.cloud.network.protocol import ICMP, IPV6_ONLY, PORTED, number_of
from kilonova.cloud.quota import store as quota
from kilonova.core.context import Context, Scope
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Tx

Ethertype = Literal["IPv4", "IPv6"]
ETHERTYPES: Final[tuple[Ethertype, ...]] = ("IPv4", "IPv6")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRule:
    """A rule asked for; see `model.Rule`."""

    group_id: str
    direction: Literal["ingress", "egress"]
    ethertype: Ethertype = "IPv4"
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_prefix: str | None = None
    remote_group: str | None = None
    remote_addresses: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGroup:
    """A group asked for."""

    name: str
    description: str = ""
    stateful: bool = True
    project_id: str | None = None


class GroupService:
    """Security groups. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(self, context: Context, name: str, description: str = "", project_id: str | None = None) -> Group:
        """Make a group that lets everything out, nothing in. Raises Conflict for the name `default`, QuotaExceeded."""
        new = NewGroup(name=name, description=description, project_id=project_id)
        return (await self.create_all(context, [new]))[0]

    async def create_all(self, context: Context, news: Sequence[NewGroup]) -> list[Group]:
        """Make groups, all or none; see `create`."""
        owners = [target_project(context, new.project_id) for new in news]
        if any(new.name.lower() == DEFAULT_GROUP for new in news):
            raise Conflict("Default security group already exists.", why="security_group_default_already_exists")

        def work(tx: Tx) -> list[Group]:
            return [self._insert(tx, owner, new) for owner, new in zip(owners, news, strict=True)]

        return await self._ground.db.write(work)

    async def update(self, context: Context, group_id: str, values: Mapping[str, Any]) -> Group:
        """Set `name`, `description` or `stateful`. Raises NotFound, Conflict for renaming the default group, or for
        another `stateful` while a port is in the group."""

        def work(tx: Tx) -> Group:
            group_store.lock(tx, group_id)
            old = group_store.get_own(tx, sight(context), group_id)
            if not old.is_default and values.get("name", "").lower() == DEFAULT_GROUP:
                raise Conflict("Default security group already exists.", why="security_group_default_already_exists")
            if values.get("stateful", old.stateful) != old.stateful and port_store.members(tx, group_id, 1):
                raise Conflict(f"Security Group {group_id} in use.", why="security_group_in_use")
            if old.is_default and values.get("name", old.name) != old.name:
                raise Conflict(
                    "Updating default security group not allowed.", why="security_group_cannot_update_default"
                )
            group_store.change(tx, [group_id], values)
            self._ground.tell(tx, Change("group", group_id))
            return group_store.get(tx, sight(context), group_id)

        return await self._ground.db.write(work)

    async def delete(self, context: Context, group_id: str) -> None:
        """Delete a group, its rules and those of other groups that refer to it.

        Raises NotFound, Conflict for the default group or one that a port is in.
        """

        def work(tx: Tx) -> None:
            group_store.lock(tx, group_id)
            old = group_store.get_own(tx, sight(context), group_id)
            if old.is_default and not context.is_admin:
                raise Conflict(
                    "Insufficient rights for removing default security group.",
                    why="security_group_cannot_remove_default",
                )
            if port_store.members(tx, group_id, 1):
                raise Conflict(f"Security Group {group_id} in use.", why="security_group_in_use")
            referring = group_store.referring(tx, group_id)
            for one in (*old.rules, *referring):
                quota.refund(tx, f"security_group_rule:{one.id}")
            others = sorted({r.group_id for r in referring})
            group_store.change(tx, others)
            sharing.forget(tx, group_id)
            group_store.remove(tx, group_id)
            quota.refund(tx, f"security_group:{group_id}")
            self._ground.tell(tx, *(Change("group", g) for g in others))

        await self._ground.db.write(work)

    async def get(self, context: Context, group_id: str) -> Group:
        """One group that the caller may see. Raises NotFound."""
        return await self._ground.db.read(lambda tx: group_store.get(tx, sight(context), group_id))

    async def find(self, context: Context, listing: Listing) -> list[Group]:
        """A page of the groups that the caller may see; the first time, its default group is made."""
        await self._make_default(context)
        return await self._ground.db.read(lambda tx: group_store.find(tx, sight(context), listing))

    async def create_rule(self, context: Context, new: NewRule) -> Rule:
        """Add a rule. Raises NotFound (group, remote group), Invalid, Conflict (it exists), QuotaExceeded."""
        return (await self.create_rules(context, [new]))[0]

    async def create_rules(self, context: Context, news: Sequence[NewRule]) -> list[Rule]:
        """Add rules to one group, all or none; see `create_rule`."""
        checked = [check_rule(new) for new in news]
        if len({new.group_id for new in news}) > 1:
            raise Invalid(
                "Only allowed to update rules for one security profile at a time.",
                why="security_group_not_single_group_rules",
            )

        def work(tx: Tx) -> list[Rule]:
            group_store.lock(tx, news[0].group_id)
            return [self._add(tx, sight(context), one) for one in checked]

        return await self._ground.db.write(work)

    async def delete_rule(self, context: Context, rule_id: str) -> None:
        """Take a rule away. Raises NotFound."""

        def work(tx: Tx) -> None:
            old = group_store.get_rule(tx, sight(context), rule_id)
            group_store.lock(tx, old.group_id)
            group_store.remove_rule(tx, rule_id)
            quota.refund(tx, f"security_group_rule:{rule_id}")
            self._raise(tx, old.group_id)

        await self._ground.db.write(work)

    async def get_rule(self, context: Context, rule_id: str) -> Rule:
        """One rule of the caller's project. Raises NotFound."""
        return await self._ground.db.read(lambda tx: group_store.get_rule(tx, sight(context), rule_id))

    async def find_rules(self, context: Context, listing: Listing) -> list[Rule]:
        """A page of the project's rules; the first time, its default group is made."""
        await self._make_default(context)
        return await self._ground.db.read(lambda tx: group_store.find_rules(tx, sight(context), listing))

    def _insert(self, tx: Tx, owner: str, new: NewGroup) -> Group:
        ensure_default(tx, self._ground, owner)
        row = replace(_blank(tx, self._ground, owner, new.name, new.description), stateful=new.stateful)
        quota.charge(tx, owner, f"security_group:{row.id}", {"security_group": 1})
        for one in row.rules:
            quota.charge(tx, owner, f"security_group_rule:{one.id}", {"security_group_rule": 1})
        group_store.add(tx, row)
        return row

    async def _make_default(self, context: Context) -> None:
        project_id = context.project_id
        if project_id and await self._ground.db.read(lambda tx: group_store.default_id(tx, project_id)) is None:
            await self._ground.db.write(lambda tx: ensure_default(tx, self._ground, project_id))

    def _add(self, tx: Tx, scope: Scope, new: NewRule) -> Rule:
        group = group_store.get_own(tx, scope, new.group_id)
        if new.remote_group is not None:
            group_store.get(tx, scope, new.remote_group)
        if new.remote_addresses is not None:
            address_group_store.lock(tx, new.remote_addresses)
            address_group_store.get(tx, scope, new.remote_addresses)
        row = Rule(
            id=self._ground.new_id(), group_id=group.id, project_id=group.project_id, direction=new.direction,
            ethertype=new.ethertype, protocol=new.protocol, port_min=new.port_min, port_max=new.port_max,
            remote_prefix=new.remote_prefix, remote_group=new.remote_group, description=new.description,
            created_at=tx.now, remote_addresses=new.remote_addresses,
        )  # fmt: skip
        same = next((r.id for r in group.rules if _meaning(r) == _meaning(row)), None)
        if same is not None:
            raise Conflict(f"Security group rule already exists. Rule id is {same}.", why="security_group_rule_exists")
        quota.charge(tx, group.project_id, f"security_group_rule:{row.id}", {"security_group_rule": 1})
        group_store.add_rule(tx, row)
        self._raise(tx, group.id)
        return row

    def _raise(self, tx: Tx, group_id: str) -> None:
        group_store.change(tx, [group_id])
        self._ground.tell(tx, Change("group", group_id))


def ensure_default(tx: Tx, ground: Ground, project_id: str) -> str:
    """The id of a project's default group, made if there is none: everything out, in only from its own members.

    Neither it nor the rules that it begins with count against a quota, so that it can always be made.
    """
    found = group_store.default_id(tx, project_id)
    if found is not None:
        return found
    new = _blank(tx, ground, project_id, DEFAULT_GROUP, "Default security group")
    inward = tuple(
        replace(r, id=ground.new_id(), direction="ingress", remote_group=new.id, created_at=tx.now) for r in new.rules
    )
    if group_store.add(tx, replace(new, is_default=True, rules=(*new.rules, *inward))):
        return new.id
    made = group_store.default_id(tx, project_id)
    if made is None:
        raise Conflict("The default security group is being made right now.", why="security_group_conflict")
    return made


def resolve_groups(tx: Tx, ground: Ground, project_id: str, groups: Sequence[str] | None, scope: Scope) -> list[str]:
    """Ids of the groups that a port shall be in (None: the project's default). Raises NotFound for an unknown
    one, Conflict when some are stateful and some are not."""
    if groups is None:
        return [ensure_default(tx, ground, project_id)]
    wanted = list(dict.fromkeys(groups))
    group_store.hold(tx, wanted)
    known = group_store.known(tx, scope, wanted)
    for one in wanted:
        if one not in known:
            raise NotFound(f"Security group {one[:64]} does not exist", why="security_group_not_found")
    check_alike(tx, wanted)
    return wanted


def check_alike(tx: Tx, group_ids: Sequence[str]) -> None:
    """Raises Conflict when some of these groups are stateful and some are not."""
    if len(group_ids) > 1 and group_store.are_mixed(tx, group_ids):
        raise Conflict(
            "Error Cannot apply both stateful and stateless security groups on the same port while attempting the "
            "operation.",
            why="security_group_conflict",
        )


def check_rule(new: NewRule) -> NewRule:
    """A rule in its canonical form. Raises Invalid in Neutron's words."""
    if sum(r is not None for r in (new.remote_prefix, new.remote_group, new.remote_addresses)) > 1:
        raise Invalid(
            "Only one of remote_ip_prefix, remote_group_id and remote_address_group_id may be provided.",
            why="security_group_multiple_remote_entities",
        )
    prefix = _remote_prefix(new)
    protocol = new.protocol.lower() if new.protocol is not None else None
    if protocol in ("any", "0", ""):
        protocol = None
    number = None if protocol is None else number_of(protocol)
    if number in IPV6_ONLY and new.ethertype == "IPv4":
        raise Invalid(f"Invalid ethertype {new.ethertype} for protocol {protocol}.", why="security_group_ethertype")
    _check_ports(new, number)
    return replace(new, protocol=protocol, remote_prefix=prefix)


def _remote_prefix(new: NewRule) -> str | None:
    if new.remote_prefix is None:
        return None
    prefix = parse_any_prefix(new.remote_prefix)
    if prefix.version != int(new.ethertype[-1]):
        raise Invalid(
            f"Conflicting value ethertype {new.ethertype} for CIDR {new.remote_prefix}",
            why="security_group_rule_parameter_conflict",
        )
    # Bits of hosts are shown as they were given.
    return str(ip_interface(new.remote_prefix))


def _check_ports(new: NewRule, number: int | None) -> None:
    low, high = new.port_min, new.port_max
    if low is None and high is None:
        return
    for value in (low, high):
        if value is not None and not 0 <= value <= 65535:
            raise Invalid(f"Invalid value for port {value}", why="security_group_invalid_port_value")
    if number in ICMP:
        for field, name, value in (("type", "port-range-min", low), ("code", "port-range-max", high)):
            if value is not None and value > 255:
                raise Invalid(
                    f"Invalid value for ICMP {field} ({name}) {value}. It must be 0 to 255.",
                    why="security_group_invalid_icmp_value",
                )
        if low is None:
            raise Invalid(
                f"ICMP code (port-range-max) {high} is provided but ICMP type (port-range-min) is missing.",
                why="security_group_missing_icmp_type",
            )
        return
    if number is None or number not in PORTED:
        raise Invalid("Must also specify protocol if port range is given.", why="security_group_protocol_required")
    if low is None or high is None or not 1 <= low <= high <= 65535:
        raise Invalid(
            "For TCP/UDP protocols, port_range_min must be <= port_range_max, and both from 1 to 65535.",
            why="security_group_invalid_port_range",
        )


def _meaning(rule: Rule) -> tuple[object, ...]:
    number = None if rule.protocol is None else number_of(rule.protocol)
    return (
        rule.direction, rule.ethertype, number, rule.port_min, rule.port_max, normal_prefix(rule.remote_prefix),
        rule.remote_group,
        rule.remote_addresses,
    )  # fmt: skip


def _blank(tx: Tx, ground: Ground, project_id: str, name: str, description: str) -> Group:
    group_id = ground.new_id()
    outward = tuple(
        Rule(ground.new_id(), group_id, project_id, "egress", e, None, None, None, None, None, "", tx.now)
        for e in ETHERTYPES
    )
    return Group(
        id=group_id, project_id=project_id, name=name, description=description, is_default=False, tags=(), revision=1,
        created_at=tx.now, updated_at=tx.now, rules=outward,
    )  # fmt: skip
