"""Rows of security groups and their rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    true,
    update,
)

from kilonova.cloud.network.grant_store import own_or_shared, seen_shared
from kilonova.cloud.network.listing_store import Fields, chunks, page
from kilonova.cloud.network.model import Group, Listing, Rule
from kilonova.core.context import Scope
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, insert_new, json_column, metadata

group = Table(
    "security_group",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    # The project whose default group this is: unique, so that of two makers at once only one succeeds.
    Column("default_of", String(64), unique=True),
    json_column("tags"),
    Column("stateful", Boolean, nullable=False, server_default=true()),
    Column("revision", BigInteger, nullable=False),
    Column("members_version", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("security_group_order", "created_at", "id"),
)
rule = Table(
    "security_group_rule",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("group_id", String(36), ForeignKey("security_group.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("direction", String(8), nullable=False),
    Column("ethertype", String(8), nullable=False),
    Column("protocol", String(16)),
    Column("port_min", Integer),
    Column("port_max", Integer),
    Column("remote_prefix", String(64)),
    Column("remote_group", String(36), ForeignKey("security_group.id", ondelete="CASCADE"), index=True),
    Column("remote_addresses", String(36), ForeignKey("network_address_group.id"), index=True),
    Column("description", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("security_group_rule_order", "created_at", "id"),
)

KIND: Final = "security_group"

_SAME: Final = ("id", "project_id", "name", "description", "stateful", "revision", "created_at", "updated_at")
_RULE: Final = (
    "id", "group_id", "project_id", "direction", "ethertype", "protocol", "port_min", "port_max", "remote_prefix",
    "remote_group", "remote_addresses", "description", "created_at",
)  # fmt: skip
# What every boot runs is composed once: that costs several times what running it does.
_DEFAULT: Final = select(group.c.id).where(group.c.default_of == bindparam("whose"))
_CHANGE_MEMBERS: Final = (
    update(group)
    .where(group.c.id.in_(bindparam("which", expanding=True)))
    .values(members_version=group.c.members_version + 1)
)
# Not a share lock: whoever adds a member raises its version afterwards, so two would wait for each other.
_HOLD: Final = (
    select(group.c.id)
    .where(group.c.id.in_(bindparam("which", expanding=True)))
    .order_by(group.c.id)
    .with_for_update(read=True, key_share=True)
)
_RULES: Final = (
    select(rule, group.c.stateful)
    .join(group, group.c.id == rule.c.group_id)
    .where(rule.c.group_id.in_(bindparam("which", expanding=True)))
    .order_by(rule.c.created_at, rule.c.id)
)
FIELDS: Final[Fields] = {**{name: group.c[name] for name in _SAME}, "is_default": group.c.default_of.is_not(None)}
RULE_FIELDS: Final[Fields] = {name: rule.c[name] for name in _RULE}


def add(tx: Tx, row: Group) -> bool:
    """A new group with its rules; False when it is a default group and the project has one."""
    values = {name: getattr(row, name) for name in _SAME} | {
        "default_of": row.project_id if row.is_default else None,
        "tags": list(row.tags),
        "members_version": 1,
    }
    if not insert_new(tx, group, values):
        return False
    for one in row.rules:
        add_rule(tx, one)
    return True


def add_rule(tx: Tx, row: Rule) -> None:
    """A new rule; its group's revision is the caller's to raise."""
    tx.execute(insert(rule).values(**{name: getattr(row, name) for name in _RULE}))


def get(tx: Tx, scope: Scope, group_id: str) -> Group:
    """One group of the scope's own or shared with it. Raises NotFound."""
    row = tx.execute(_visible(_seen(scope), scope).where(group.c.id == group_id)).one_or_none()
    if row is None:
        raise NotFound(f"Security group {group_id} does not exist", why="security_group_not_found")
    return _assemble(tx, [row])[0]


def get_own(tx: Tx, scope: Scope, group_id: str) -> Group:
    """One group that the scope may change. Raises NotFound."""
    found = get(tx, scope, group_id)
    if not scope.is_all and found.project_id != scope.project_id:
        raise NotFound(f"Security group {group_id} does not exist", why="security_group_not_found")
    return found


def default_id(tx: Tx, project_id: str) -> str | None:
    """The project's default group, if it has been made."""
    row = tx.execute(_DEFAULT, {"whose": project_id})
    return row.scalar_one_or_none()


def find(tx: Tx, scope: Scope, listing: Listing) -> list[Group]:
    """A page of the scope's own groups and of those shared with it."""
    fields = {**FIELDS, "shared": seen_shared(group, KIND, scope.project_id)}
    return _assemble(tx, page(tx, group, _visible(_seen(scope), scope), fields, listing))


def get_rule(tx: Tx, scope: Scope, rule_id: str) -> Rule:
    """One rule of the scope. Raises NotFound."""
    query = select(rule).where(rule.c.id == rule_id)
    if not scope.is_all:
        query = query.where(rule.c.project_id == scope.project_id)
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"Security group rule {rule_id} does not exist", why="security_group_rule_not_found")
    return _rule(row)


def find_rules(tx: Tx, scope: Scope, listing: Listing) -> list[Rule]:
    """A page of the scope's rules."""
    query = select(rule)
    if not scope.is_all:
        query = query.where(rule.c.project_id == scope.project_id)
    return [_rule(r) for r in page(tx, rule, query, RULE_FIELDS, listing)]


def known(tx: Tx, scope: Scope, group_ids: Iterable[str]) -> dict[str, str]:
    """Names of those of these groups that the scope may use, by id."""
    found: dict[str, str] = {}
    for some in chunks(group_ids):
        query = _visible(select(group.c.id, group.c.name), scope).where(group.c.id.in_(some))
        found.update((r.id, r.name) for r in tx.execute(query))
    return found


def hold(tx: Tx, group_ids: Iterable[str]) -> set[str]:
    """Those of these groups that exist, kept from being deleted until the commit."""
    found: set[str] = set()
    for some in chunks(sorted(group_ids)):
        found.update(tx.execute(_HOLD, {"which": list(some)}).scalars())
    return found


def are_mixed(tx: Tx, group_ids: Sequence[str]) -> bool:
    """Whether some of these groups are stateful and some are not."""
    query = select(group.c.stateful).where(group.c.id.in_(list(group_ids))).distinct()
    return len(tx.execute(query).all()) > 1


def named(tx: Tx, project_id: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Ids by name, of the project's groups that have one of these names."""
    found: dict[str, list[str]] = {}
    for some in chunks(names):
        query = select(group.c.id, group.c.name).where(group.c.project_id == project_id, group.c.name.in_(some))
        for row in tx.execute(query):
            found.setdefault(row.name, []).append(row.id)
    return found


def revisions(tx: Tx, group_ids: Sequence[str]) -> dict[str, int]:
    """Revisions of groups, which cannot change or vanish until the commit."""
    found: dict[str, int] = {}
    for some in chunks(sorted(group_ids)):
        query = select(group.c.id, group.c.revision).where(group.c.id.in_(some)).order_by(group.c.id)
        found.update((r.id, r.revision) for r in tx.execute(query.with_for_update(read=True)))
    return found


def lock(tx: Tx, group_id: str) -> None:
    """Let nobody else change or use this group until the commit."""
    tx.execute(select(group.c.id).where(group.c.id == group_id).with_for_update())


def change(tx: Tx, group_ids: Sequence[str], values: Mapping[str, Any] | None = None) -> None:
    """Set columns, or none, and let the revision rise: the rules are new for every port in these groups."""
    risen = {"revision": group.c.revision + 1, "updated_at": tx.now}
    for some in chunks(sorted(group_ids)):
        tx.execute(update(group).where(group.c.id.in_(some)).values(**{**(values or {}), **risen}))


def change_members(tx: Tx, group_ids: Iterable[str]) -> None:
    """The address sets of these groups are new."""
    for some in chunks(sorted(set(group_ids))):
        tx.execute(_CHANGE_MEMBERS, {"which": list(some)})


def referring(tx: Tx, group_id: str) -> list[Rule]:
    """Rules of other groups whose remote is this group."""
    query = select(rule).where(rule.c.remote_group == group_id, rule.c.group_id != group_id)
    return [_rule(r) for r in tx.execute(query)]


def remove(tx: Tx, group_id: str) -> None:
    """Delete a group with its rules and those that refer to it."""
    tx.execute(delete(group).where(group.c.id == group_id))


def remove_rule(tx: Tx, rule_id: str) -> bool:
    """Delete a rule; False when it is gone already."""
    return tx.execute(delete(rule).where(rule.c.id == rule_id)).rowcount == 1


def rules_of(tx: Tx, group_ids: Iterable[str]) -> dict[str, list[Rule]]:
    """Rules by group, oldest first, each saying whether its group is stateful."""
    found: dict[str, list[Rule]] = {}
    for some in chunks(group_ids):
        for row in tx.execute(_RULES, {"which": list(some)}):
            found.setdefault(row.group_id, []).append(replace(_rule(row), stateful=row.stateful))
    return found


def addressed(tx: Tx, address_group_id: str) -> list[Rule]:
    """Rules whose remote is this address group."""
    return [_rule(r) for r in tx.execute(select(rule).where(rule.c.remote_addresses == address_group_id))]


def _visible(query: Select[Any], scope: Scope) -> Select[Any]:
    return own_or_shared(group, KIND, scope, query)


def _seen(scope: Scope) -> Select[Any]:
    return select(group, seen_shared(group, KIND, scope.project_id).label("shared"))


def _assemble(tx: Tx, rows: Sequence[Row[Any]]) -> list[Group]:
    rules = rules_of(tx, (r.id for r in rows))
    return [
        Group(
            **{name: getattr(row, name) for name in _SAME},
            is_default=row.default_of is not None,
            tags=tuple(row.tags),
            rules=tuple(rules.get(row.id, ())),
            shared=bool(row.shared),
        )
        for row in rows
    ]


def _rule(row: Row[Any]) -> Rule:
    return Rule(**{name: getattr(row, name) for name in _RULE})
