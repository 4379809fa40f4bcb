"""People and rights on both databases: what goes leaves nothing behind, also when others work on it meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from kilonova.cloud.identity import store, store_assignment, store_group, store_implication, store_project
from kilonova.cloud.identity.authenticator import Authenticator
from kilonova.cloud.identity.bootstrap import found
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.key import KeyRing
from kilonova.cloud.identity.login import Login
from kilonova.cloud.identity.model import Assignment, Named, Sought, Wish
from kilonova.cloud.identity.password import Passwords
from kilonova.cloud.identity.proof import Proof
from kilonova.cloud.identity.service import Directory
from kilonova.cloud.identity.token import Tokens
from kilonova.core.errors import Failure, Forbidden, NotFound, Unauthenticated
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx, open_database

TABLES = (
    store_assignment.identity_assignment,
    store_group.identity_member,
    store_implication.identity_implication,
    store_project.identity_tag,
)


class Site:
    """Identity on one database, and a domain with a user `ann` in it."""

    def __init__(self, db: Database, place: Path) -> None:
        epochs, passwords, tokens = (
            Epochs(sole=False),
            Passwords(memory_kib=64, passes=1),
            Tokens(KeyRing(place / "keys")),
        )
        self.db = db
        self.directory = Directory(db, passwords, epochs)
        self.rights, self.groups = self.directory.rights, self.directory.groups
        self.login = Login(db, SystemClock(), tokens, passwords, epochs)
        self.other = Authenticator(db, SystemClock(), tokens, Epochs(sole=False))
        self._passwords = passwords
        self._names = (f"n{n}" for n in itertools.count())

    async def settle(self) -> None:
        self.ids = await found(self.db, self._passwords, "adminpw", "demopw")
        self.home = (await self.directory.create("domain", {"name": "home"})).id
        self.ann = await self.new("user", password="annpw")

    async def new(self, kind: str, **values: object) -> str:
        where = {} if kind == "domain" else {"domain_id": self.home}
        return str((await self.directory.create(kind, {"name": next(self._names), **where, **values})).id)  # type: ignore[arg-type]

    async def rows(self) -> list[int]:
        """How many rows each table has that names others."""
        return await self.db.read(
            lambda tx: [int(tx.execute(select(func.count()).select_from(table)).scalar_one()) for table in TABLES]
        )

    async def roles(self, token: str) -> frozenset[str] | None:
        """The roles that another process sees in a token; None when it does not count."""
        try:
            return (await self.other.context(token, "req-1")).roles
        except Unauthenticated:
            return None


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> Site:
    one = Site(database, tmp_path)
    await one.settle()
    return one


@pytest.mark.parametrize("kind", ["user", "group", "project", "role", "domain"])
async def test_what_is_deleted_leaves_nothing_behind(site: Site, kind: str) -> None:
    before = await site.rows()
    group, role = await site.new("group"), await site.new("role")
    project = await site.new("project", tags=["a", "b"])
    ids = {"user": site.ann, "group": group, "project": project, "role": role, "domain": site.home}
    await site.groups.add(group, site.ann)
    await site.rights.imply(role, site.ids.role_ids["reader"])
    for actor, actor_kind in ((site.ann, "user"), (group, "group")):
        for inherited in (False, True):
            await site.rights.grant(Assignment(actor, "project", project, role, actor_kind, inherited))  # type: ignore[arg-type]
            await site.rights.grant(Assignment(actor, "domain", site.home, role, actor_kind, inherited))  # type: ignore[arg-type]
    await site.directory.change("user", site.ann, {"default_project_id": project})
    await site.directory.change("domain", site.home, {"enabled": False})
    await site.directory.delete(kind, ids[kind])  # type: ignore[arg-type]
    rows = await site.db.read(lambda tx: tx.execute(select(store_assignment.identity_assignment)).all())
    assert not [row for row in rows if ids[kind] in tuple(row)]
    if kind in ("project", "user"):
        user = await site.db.read(lambda tx: store.find(tx, "user", Named(id=site.ann)))
        assert user is None or user.default_project_id is None
    if kind == "domain":
        assert await site.rows() == before
    for one in ("user", "group", "project", "role"):
        if kind not in ("domain", one):
            await site.directory.delete(one, ids[one])  # type: ignore[arg-type]
    assert await site.rows() == before


@pytest.mark.parametrize("kind", ["user", "group", "project", "role"])
async def test_a_grant_and_a_deletion_at_once_leave_nothing(site: Site, kind: str) -> None:
    before = await site.rows()
    for _ in range(6):
        ids = {one: await site.new(one) for one in ("user", "group", "project", "role")}
        grant = site.rights.grant(Assignment(ids["group"], "project", ids["project"], ids["role"], "group"))
        joined = site.groups.add(ids["group"], ids["user"])
        await asyncio.gather(*(_try(work) for work in (grant, site.directory.delete(kind, ids[kind]), joined)))  # type: ignore[arg-type]
        for one in {"user", "group", "project", "role"} - {kind}:
            await site.directory.delete(one, ids[one])  # type: ignore[arg-type]
    assert await site.rows() == before


async def test_a_groups_rights_change_when_nobody_is_joining(site: Site, database_url: str) -> None:
    """Who joins meanwhile would not be told, and could have read what was before."""
    group, project, role = [await site.new(kind) for kind in ("group", "project", "role")]
    joined, on = threading.Event(), threading.Event()

    def join(tx: Tx) -> None:
        store.hold(tx, "group", group)
        store_group.add(tx, group, site.ann)
        joined.set()
        on.wait(5)

    async def elsewhere() -> None:
        db = await open_database(database_url, SystemClock())
        await db.write(join)
        await db.close()

    one = Assignment(group, "project", project, role, "group")
    for change in (site.rights.grant, site.rights.revoke):
        joining = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        await asyncio.to_thread(joined.wait, 5)
        changing = asyncio.create_task(change(one))
        await asyncio.wait([changing], timeout=0.2)
        assert not changing.done()
        on.set()
        await asyncio.gather(joining, changing)
        joined.clear()
        on.clear()


async def test_a_child_and_the_end_of_its_parent_exclude_each_other(site: Site) -> None:
    for _ in range(6):
        parent = await site.new("project")
        child = site.directory.create("project", {"name": "child", "domain_id": site.home, "parent_id": parent})
        made, gone = await asyncio.gather(_try(child), _try(site.directory.delete("project", parent)))
        assert made != gone
        for row in await site.directory.list("project", {"name": "child"}):
            await site.directory.delete("project", row.id)


async def test_every_way_to_a_right_ends_at_once_in_every_process(site: Site) -> None:
    top, group, role = await site.new("project"), await site.new("group"), await site.new("role", domain_id="")
    leaf = await site.new("project", parent_id=top)
    given = Assignment(group, "project", top, role, "group", inherited=True)
    await site.rights.grant(given)
    await site.groups.add(group, site.ann)
    proof = Proof("password", "annpw", Named(id=site.ann))
    token = (await site.login.log_in([proof], Wish("project", Named(id=leaf)))).token
    before = await site.roles(token)
    assert before is not None
    assert len(before) == 1
    for _ in range(2):  # again after it was given back
        await site.rights.imply(role, site.ids.role_ids["member"])
        assert await site.roles(token) == before | {"member", "reader"}
        await site.rights.imply_no_more(role, site.ids.role_ids["member"])
        assert await site.roles(token) == before
        await site.groups.leave(group, site.ann)
        assert await site.roles(token) is None
        await site.groups.add(group, site.ann)
        assert await site.roles(token) == before
        await site.rights.revoke(given)
        assert await site.roles(token) is None
        await site.rights.grant(given)
        assert await site.roles(token) == before
    await site.directory.delete("group", group)
    assert await site.roles(token) is None


async def test_a_large_group_is_told_as_well(site: Site) -> None:
    group = await site.new("group")

    def fill(tx: object) -> None:
        for n in range(150):
            store_group.add(tx, group, f"u{n}")  # type: ignore[arg-type]

    await site.db.write(fill)
    await site.groups.add(group, site.ann)
    demo = Assignment(group, "project", site.ids.demo_project_id, site.ids.role_ids["member"], "group")
    await site.rights.grant(demo)
    wish = Wish("project", Named(id=site.ids.demo_project_id))
    token = (await site.login.log_in([Proof("password", "annpw", Named(id=site.ann))], wish)).token
    assert await site.roles(token) == {"member", "reader"}
    await site.rights.revoke(demo)
    assert await site.roles(token) is None


async def test_what_does_not_exist_gets_no_rights(site: Site) -> None:
    role, project = site.ids.role_ids["member"], site.ids.demo_project_id
    for one in (
        Assignment("none", "project", project, role),
        Assignment(site.ann, "project", project, role, "group"),
        Assignment(site.ann, "project", "none", role),
        Assignment(site.ann, "domain", project, role),
        Assignment(site.ann, "project", project, "none"),
    ):
        with pytest.raises(NotFound):
            await site.rights.grant(one)
    assert await site.rights.assignments(Sought(actor_id=site.ann)) == []
    local = await site.new("role")
    with pytest.raises(Forbidden):
        await site.rights.grant(Assignment(site.ann, "project", project, local))


async def _try(work: Awaitable[object]) -> bool:
    try:
        await work
    except Failure:
        return False
    return True


async def test_who_implies_a_role_of_the_whole_cloud_is_no_managers_to_take_over(site: Site) -> None:
    """By a role of the domain that implies a role that implies `service`; another domain's assignments count too."""
    far, project = await site.new("domain"), await site.new("project")
    own = await site.new("role")
    between = str((await site.directory.create("role", {"name": "between"})).id)
    await site.rights.check_managed(site.ann, site.home, by_admin=False)
    await site.rights.grant(Assignment(site.ann, "project", project, own))
    await site.rights.imply(own, between)
    await site.rights.check_managed(site.ann, site.home, by_admin=False)
    await site.rights.imply(between, site.ids.role_ids["service"])
    for by_admin in (False, True):
        with pytest.raises(Forbidden):
            await site.rights.check_managed(site.ann, site.home, by_admin=by_admin)
    group = await site.new("group")
    await site.rights.check_managed(group, site.home, by_admin=False)
    await site.rights.grant(Assignment(group, "domain", far, site.ids.role_ids["reader"], "group", inherited=True))
    with pytest.raises(Forbidden):
        await site.rights.check_managed(group, site.home, by_admin=True)
