"""What users may do where, compared with a slow and obvious account of it, for random trees and groups."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilonova.cloud.identity import store, store_assignment, store_effective, store_group, store_implication
from kilonova.cloud.identity.model import SYSTEM, Assignment, Sought
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Tx, open_database

DOMAINS, PROJECTS, USERS, GROUPS, ROLES, LOCAL = range(2), range(6), range(3), range(2), range(4), 3
"""The last role belongs to a domain."""
Held = set[tuple[str, str, str, str]]


@dataclass
class World:
    """`parents[n]`: the project above project n (an earlier one); None for its domain, which is `homes[n]` then."""

    parents: list[int | None]
    homes: list[int]
    members: set[tuple[int, int]]
    implied: set[tuple[int, int]]
    given: list[Assignment] = field(default_factory=list)

    def home(self, project: int) -> str:
        parent = self.parents[project]
        return f"d{self.homes[project]}" if parent is None else self.home(parent)

    def above(self, project: int) -> list[str]:
        parent = self.parents[project]
        return [] if parent is None else [f"p{parent}", *self.above(parent)]

    def places(self, one: Assignment) -> list[tuple[str, str]]:
        if not one.inherited:
            return [(one.target_kind, one.target_id)]
        return [("project", f"p{n}") for n in PROJECTS if one.target_id in [*self.above(n), self.home(n)]]

    def roles(self, first: str) -> set[str]:
        found = {first}
        for _ in ROLES:
            found |= {f"r{implied}" for prior, implied in self.implied if f"r{prior}" in found}
        return found - {f"r{LOCAL}"}

    def truth(self) -> Held:
        return {
            (user, kind, target, role)
            for one in self.given
            for user in ([one.actor_id] if one.actor_kind == "user" else self.users(one.actor_id))
            for kind, target in self.places(one)
            for role in self.roles(one.role_id)
        }

    def users(self, group: str) -> list[str]:
        return [f"u{user}" for number, user in self.members if f"g{number}" == group]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    parents = [None, *(draw(st.none() | st.integers(0, n - 1)) for n in PROJECTS[1:])]
    homes = [draw(st.sampled_from(DOMAINS)) for _ in PROJECTS]
    pairs = st.tuples(st.sampled_from(ROLES), st.sampled_from(ROLES)).filter(lambda pair: pair[0] != pair[1])
    members = draw(st.sets(st.tuples(st.sampled_from(GROUPS), st.sampled_from(USERS))))
    return World(parents, homes, members, draw(st.sets(pairs, max_size=4)), draw(st.lists(assignments(), max_size=8)))


@st.composite
def assignments(draw: st.DrawFn) -> Assignment:
    kind: Any = draw(st.sampled_from(["project", "domain", "system"]))
    targets = {"project": [f"p{n}" for n in PROJECTS], "domain": [f"d{n}" for n in DOMAINS], "system": [SYSTEM]}
    actor: Any = draw(st.sampled_from(["user", "group"]))
    actors = [f"u{n}" for n in USERS] if actor == "user" else [f"g{n}" for n in GROUPS]
    inherited = kind != "system" and draw(st.booleans())
    return Assignment(
        draw(st.sampled_from(actors)),
        kind,
        draw(st.sampled_from(targets[kind])),
        draw(st.sampled_from([f"r{n}" for n in ROLES])),
        actor,
        inherited,
    )


class Undo(Exception):
    """Ends a transaction without a trace."""


def build(tx: Tx, world: World) -> None:
    for n in DOMAINS:
        store.create(tx, "domain", {"id": f"d{n}", "name": f"d{n}"})
    for n in PROJECTS:
        above = world.above(n)
        row = {"id": f"p{n}", "name": f"p{n}", "domain_id": world.home(n)}
        store.create(tx, "project", {**row, "parent_id": above[0] if above else world.home(n)})
    for n in USERS:
        store.create(tx, "user", {"id": f"u{n}", "name": f"u{n}", "domain_id": "d0"})
    for n in GROUPS:
        store.create(tx, "group", {"id": f"g{n}", "name": f"g{n}", "domain_id": "d0"})
    for n in ROLES:
        store.create(tx, "role", {"id": f"r{n}", "name": f"r{n}", "domain_id": "d0" if n == LOCAL else ""})
    for group, user in world.members:
        store_group.add(tx, f"g{group}", f"u{user}")
    for prior, implied in world.implied:
        store_implication.imply(tx, f"r{prior}", f"r{implied}")
    for one in world.given:
        store_assignment.grant(tx, one)


def check(tx: Tx, world: World, project: int) -> None:
    truth = world.truth()

    def listed(**sought: Any) -> Held:
        found = store_effective.list_effective(tx, Sought(**sought))
        assert all(e.source in world.given for e in found)
        return {(e.user_id, e.target_kind, e.target_id, e.role_id) for e in found}

    assert listed() == truth
    for n in USERS:
        user = f"u{n}"
        mine = {held for held in truth if held[0] == user}
        assert listed(actor_kind="user", actor_id=user) == mine
        places: list[tuple[Any, str]] = [
            *(("project", f"p{p}") for p in PROJECTS),
            ("domain", "d0"),
            ("system", SYSTEM),
        ]
        for kind, target in places:
            roles = {role.id for role in store_effective.roles_on(tx, user, kind, target)}
            assert roles == {role for _, k, t, role in mine if (k, t) == (kind, target)}
        held = {row.id for row in store_effective.projects_of(tx, user, {})}
        assert held == {target for one in world.given for kind, target in world.places(one)
            if kind == "project" and user in [one.actor_id, *world.users(one.actor_id)]}  # fmt: skip
    at = f"p{project}"
    assert listed(target_kind="project", target_id=at) == {held for held in truth if held[2] == at}
    below = {at, *(f"p{n}" for n in PROJECTS if at in world.above(n))}
    assert listed(target_kind="project", target_id=at, subtree=True) == {held for held in truth if held[2] in below}
    assert listed(role_id="r1") == {held for held in truth if held[3] == "r1"}
    assert listed(target_kind="domain", target_id="d1") == {held for held in truth if held[2] == "d1"}
    inside = {"d1", *(f"p{n}" for n in PROJECTS if world.home(n) == "d1")}
    assert listed(domain_id="d1") == {held for held in truth if held[2] in inside}
    world.given = [one for one in world.given if one.inherited]
    assert listed(inherited=True) == world.truth()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(world=worlds(), project=st.sampled_from(PROJECTS))
def test_effective_rights_are_what_they_should_be(database_url: str, world: World, project: int) -> None:
    def work(tx: Tx) -> None:
        build(tx, world)
        check(tx, world, project)
        raise Undo

    async def run() -> None:
        db = await open_database(database_url, SystemClock())
        try:
            await db.write(work)
        except Undo:
            return
        finally:
            await db.close()

    asyncio.run(run())
