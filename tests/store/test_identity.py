"""Identity on a database: who may log in, what a token means, and that what is taken away is gone at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kilonova.cloud.identity import store, store_epoch
from kilonova.cloud.identity.authenticator import Authenticator
from kilonova.cloud.identity.bootstrap import Founded, found
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.key import KeyRing
from kilonova.cloud.identity.login import Issued, Login
from kilonova.cloud.identity.model import Assignment, Named, Sought, Wish
from kilonova.cloud.identity.password import Passwords
from kilonova.cloud.identity.proof import Proof
from kilonova.cloud.identity.service import Directory
from kilonova.cloud.identity.token import Tokens
from kilonova.core.errors import Conflict, Failure, Forbidden, Invalid, NotFound, Unauthenticated
from kilonova.kit.clock import SECOND, SystemClock
from kilonova.kit.db import Database


class Shifted(SystemClock):
    """The machine's clock, moved."""

    def __init__(self) -> None:
        self.by = 0

    def now(self) -> int:
        return super().now() + self.by


@dataclass
class Site:
    """Identity as a running cloud has it; `other` is another process's view of the same database."""

    db: Database
    clock: Shifted
    keys: KeyRing
    login: Login
    directory: Directory
    here: Authenticator
    other: Authenticator
    ids: Founded

    async def log_in(self, name: str = "demo", password: str = "demopw", **scope: Any) -> Issued:
        wish = Wish(scope.get("kind", "project"), scope.get("target", Named(name="demo", domain_name="Default")))
        return await self.login.log_in([Proof("password", password, Named(name=name, domain_id="default"))], wish)

    async def is_in(self, issued: Issued) -> bool:
        """Whether the token counts; both processes must say the same."""
        answers = [await _counts(one, issued.token) for one in (self.here, self.other)]
        assert answers[0] == answers[1]
        return answers[0]


async def _counts(authenticator: Authenticator, token: str) -> bool:
    try:
        await authenticator.context(token, "req-1")
    except Unauthenticated:
        return False
    return True


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> Site:
    clock, epochs = Shifted(), Epochs(sole=True)
    passwords = Passwords(memory_kib=64, passes=1)
    keys = KeyRing(tmp_path / "keys")
    tokens = Tokens(keys)
    return Site(
        database,
        clock,
        keys,
        Login(database, clock, tokens, passwords, epochs),
        Directory(database, passwords, epochs),
        Authenticator(database, clock, tokens, epochs),
        Authenticator(database, clock, tokens, Epochs(sole=False)),
        await found(database, passwords, "adminpw", "demopw"),
    )


async def test_a_new_cloud_has_what_people_expect_and_founding_it_again_changes_nothing(site: Site) -> None:
    again = await found(site.db, Passwords(memory_kib=64, passes=1), "another", "another")
    assert (again.is_new, again.admin_user_id, again.role_ids) == (False, site.ids.admin_user_id, site.ids.role_ids)
    assert await site.is_in(await site.log_in())
    assert sorted(r.name for r in await site.directory.list("role", {})) == [
        "admin",
        "manager",
        "member",
        "reader",
        "service",
    ]


async def test_roles_follow_by_implication(site: Site) -> None:
    demo = await site.here.context((await site.log_in()).token, "req-1")
    assert (demo.roles, demo.project_id, demo.is_admin) == ({"member", "reader"}, site.ids.demo_project_id, False)
    target = Named(id=site.ids.admin_project_id)
    admin = await site.here.context((await site.log_in("admin", "adminpw", target=target)).token, "req-2")
    assert (admin.roles, admin.is_admin) == ({"admin", "manager", "member", "reader"}, True)
    assert (admin.request_id, admin.user_name, admin.project_name) == ("req-2", "admin", "admin")
    system = await site.here.context((await site.log_in("admin", "adminpw", kind="system")).token, "req-3")
    assert (system.system, system.project_id, system.is_admin) == (True, None, True)
    await site.directory.rights.grant(
        Assignment(site.ids.admin_user_id, "domain", "default", site.ids.role_ids["admin"])
    )
    home = Named(id="default")
    domain = await site.here.context((await site.log_in("admin", "adminpw", target=home, kind="domain")).token, "req-4")
    assert (domain.domain_id, "admin" in domain.roles, domain.is_admin) == ("default", True, False)


@pytest.mark.parametrize(
    ("name", "password", "scope"),
    [
        ("demo", "wrong", {}),
        ("demo", "x" * 5000, {}),
        ("demo", "", {}),
        ("nobody", "demopw", {}),
        ("demo", "demopw", {"target": Named(name="admin", domain_id="default")}),
        ("demo", "demopw", {"target": Named(name="none", domain_id="default")}),
        ("demo", "demopw", {"target": Named(name="demo", domain_name="none")}),
        ("demo", "demopw", {"kind": "system"}),
        ("demo", "demopw", {"kind": "domain", "target": Named(id="default")}),
    ],
)
async def test_every_refusal_sounds_the_same(site: Site, name: str, password: str, scope: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await site.log_in(name, password, **scope)
    assert refused.value.message == "The request you have made requires authentication."


async def test_without_a_scope_the_default_project_is_taken(site: Site) -> None:
    issued = await site.log_in(kind=None)
    assert issued.session.ticket.project_id == site.ids.demo_project_id
    unscoped = await site.log_in(kind="unscoped")
    assert (unscoped.session.ticket.kind, unscoped.session.roles) == ("unscoped", ())


async def test_of_many_guesses_at_once_none_counts_beyond_the_limit(site: Site) -> None:
    passwords = ["wrong"] * 39 + ["demopw"]
    answers = await asyncio.gather(*(site.log_in(password=one) for one in passwords), return_exceptions=True)
    assert all(isinstance(one, Unauthenticated) for one in answers)
    user = await site.db.read(lambda tx: store.get(tx, "user", site.ids.demo_user_id))
    assert user.failures == 10


async def test_a_token_opens_another_scope_but_lives_no_longer(site: Site) -> None:
    first = await site.log_in(kind="unscoped")
    site.clock.by = 600 * SECOND
    second = await site.login.log_in([Proof("token", first.token)], Wish("project", Named(id=site.ids.demo_project_id)))
    ticket = second.session.ticket
    assert ticket.expires_at == first.session.ticket.expires_at
    assert set(ticket.methods) == {"password", "token"}
    assert ticket.audit_ids[1] == first.session.ticket.audit_ids[0]


async def test_tokens_expire(site: Site) -> None:
    issued = await site.log_in()
    assert await site.is_in(issued)
    site.clock.by = 3601 * SECOND
    assert not await site.is_in(issued)
    with pytest.raises(Unauthenticated):
        await site.login.validate(issued.token)


async def test_forged_tokens_do_not_count(site: Site, tmp_path: Path) -> None:
    token = (await site.log_in()).token
    strange = Tokens(KeyRing(tmp_path / "strange")).seal((await site.log_in()).session.ticket)
    middle = len(token) // 2
    flipped = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for forged in (strange, flipped, token[:-4], "", "x", "ü", token * 10, "gAAAAA" + "A" * 100):
        with pytest.raises(Unauthenticated):
            await site.here.context(forged, "req-1")


async def test_a_revoked_token_is_gone_at_once_and_only_it(site: Site) -> None:
    one, two = await site.log_in(), await site.log_in()
    assert await site.is_in(one)
    await site.login.revoke(one.token)
    assert not await site.is_in(one)
    assert await site.is_in(two)
    with pytest.raises(Unauthenticated):
        await site.login.revoke(one.token)


@pytest.mark.parametrize("act", ["disable user", "disable project", "disable domain", "password", "delete", "revoke"])
async def test_rights_taken_away_are_gone_at_once(site: Site, act: str) -> None:
    ids, directory = site.ids, site.directory
    issued = await site.log_in()
    assert await site.is_in(issued)
    match act:
        case "disable user":
            await directory.change("user", ids.demo_user_id, {"enabled": False})
        case "disable project":
            await directory.change("project", ids.demo_project_id, {"enabled": False})
        case "disable domain":
            await directory.change("domain", "default", {"enabled": False})
        case "password":
            await directory.change_password(ids.demo_user_id, "demopw", "newpw")
        case "delete":
            await directory.delete("user", ids.demo_user_id)
        case "revoke":
            member = ids.role_ids["member"]
            await directory.rights.revoke(Assignment(ids.demo_user_id, "project", ids.demo_project_id, member))
    assert not await site.is_in(issued)


async def test_enabling_again_does_not_revive_old_tokens(site: Site) -> None:
    issued = await site.log_in()
    await site.directory.change("user", site.ids.demo_user_id, {"enabled": False})
    with pytest.raises(Unauthenticated):
        await site.log_in()
    await site.directory.change("user", site.ids.demo_user_id, {"enabled": True})
    assert not await site.is_in(issued)
    assert await site.is_in(await site.log_in())


async def test_a_role_given_shows_at_once(site: Site) -> None:
    issued = await site.log_in()
    assert not (await site.here.context(issued.token, "r")).is_admin
    admin = Assignment(site.ids.demo_user_id, "project", site.ids.demo_project_id, site.ids.role_ids["admin"])
    await site.directory.rights.grant(admin)
    await site.directory.rights.grant(admin)
    for authenticator in (site.here, site.other):
        assert (await authenticator.context(issued.token, "r")).is_admin
    await site.directory.rights.holds(admin)
    await site.directory.rights.revoke(admin)
    with pytest.raises(NotFound):
        await site.directory.rights.holds(admin)


async def test_a_cached_token_costs_at_most_one_read(site: Site) -> None:
    token = (await site.log_in()).token
    for authenticator, statements in ((site.here, 0), (site.other, 1)):
        await authenticator.context(token, "r")
        before = site.db.counts.statements
        await authenticator.context(token, "r")
        assert site.db.counts.statements - before == statements


async def test_keys_rotate_under_living_tokens(site: Site, tmp_path: Path) -> None:
    issued = await site.log_in()
    directory = tmp_path / "keys"
    assert directory.stat().st_mode & 0o777 == 0o700
    site.keys.rotate()
    elsewhere = Tokens(KeyRing(directory))
    assert elsewhere.open((await site.log_in()).token, 0).user_id == site.ids.demo_user_id
    assert await site.is_in(issued)
    site.keys.rotate()
    site.keys.rotate()
    assert len(list(directory.iterdir())) == 3
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    with pytest.raises(Unauthenticated):
        await site.login.validate(issued.token)


@pytest.mark.parametrize(
    ("kind", "values", "failure"),
    [
        ("user", {"name": "demo", "domain_id": "default"}, Conflict),
        ("project", {"name": "demo", "domain_id": "default"}, Conflict),
        ("domain", {"name": "Default"}, Conflict),
        ("role", {"name": "admin", "domain_id": ""}, Conflict),
        ("user", {"name": "x", "domain_id": "none"}, NotFound),
        ("user", {"name": "x", "domain_id": "default", "default_project_id": "none"}, NotFound),
        ("user", {"name": "x", "domain_id": "default", "password": "x" * 5000}, Invalid),
        ("project", {"name": "x", "domain_id": "default", "parent_id": "none"}, NotFound),
    ],
)
async def test_a_refused_creation_leaves_nothing(
    site: Site, kind: Any, values: dict[str, Any], failure: type[Failure]
) -> None:
    before = await site.directory.list(kind, {})
    with pytest.raises(failure):
        await site.directory.create(kind, values)
    assert await site.directory.list(kind, {}) == before


async def test_the_same_name_fits_in_another_domain(site: Site) -> None:
    domain = await site.directory.create("domain", {"name": "Other"})
    user = await site.directory.create("user", {"name": "demo", "domain_id": domain.id, "password": "pw"})
    assert user.domain_id == domain.id
    await site.directory.change("user", user.id, {"name": "x"})
    with pytest.raises(Conflict):
        await site.directory.create("user", {"name": "x", "domain_id": domain.id})
    third = await site.directory.create("user", {"name": "y", "domain_id": domain.id})
    with pytest.raises(Conflict):
        await site.directory.change("user", third.id, {"name": "x"})


async def test_what_others_rest_on_is_not_deleted(site: Site) -> None:
    with pytest.raises(Forbidden):
        await site.directory.delete("domain", "default")
    domain = await site.directory.create("domain", {"name": "Other"})
    parent = await site.directory.create("project", {"name": "p", "domain_id": domain.id})
    child = await site.directory.create("project", {"name": "c", "domain_id": domain.id, "parent_id": parent.id})
    with pytest.raises(Forbidden):
        await site.directory.delete("project", parent.id)
    with pytest.raises(Forbidden):
        await site.directory.delete("domain", domain.id)
    await site.directory.change("domain", domain.id, {"enabled": False})
    await site.directory.delete("domain", domain.id)
    for project in (child, parent):
        with pytest.raises(NotFound):
            await site.directory.show("project", project.id)
    with pytest.raises(NotFound):
        await site.directory.show("domain", domain.id)


async def test_a_deleted_user_leaves_a_record_without_secrets(site: Site) -> None:
    await site.directory.delete("user", site.ids.demo_user_id)
    row = (await site.db.read(lambda tx: tx.execute(store.identity_history.select()).all()))[0]
    assert (row.kind, row.name) == ("user", "demo")
    assert "password" not in row.row
    assert await site.directory.rights.assignments(Sought(actor_id=site.ids.demo_user_id)) == []


async def test_epochs_count_up(database: Database) -> None:
    for _ in range(3):
        await database.write(lambda tx: store_epoch.bump(tx, store_epoch.user("u")))
    assert await database.read(lambda tx: store_epoch.read(tx, "u", None)) == (("user:u", 3),)
