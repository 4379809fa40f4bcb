"""Delegated rights on a database: what they rest on, what is counted, and what no two may have."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kilonova.cloud.identity import (
    application_credential_store,
    catalog_store,
    credential_store,
    dependent,
    limit_store,
    store,
    store_epoch,
    trust_store,
)
from kilonova.cloud.identity.application_credential import ApplicationCredentials
from kilonova.cloud.identity.authenticator import Authenticator
from kilonova.cloud.identity.bootstrap import Founded, found
from kilonova.cloud.identity.catalog import CatalogService
from kilonova.cloud.identity.credential import Credentials
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.key import KeyRing
from kilonova.cloud.identity.limit import Limits
from kilonova.cloud.identity.login import Issued, Login
from kilonova.cloud.identity.model import Assignment, Endpoint, Named, Wish
from kilonova.cloud.identity.password import Passwords
from kilonova.cloud.identity.proof import Proof
from kilonova.cloud.identity.service import Directory
from kilonova.cloud.identity.token import Tokens
from kilonova.cloud.identity.trust import Trusts
from kilonova.core.access import AccessRule
from kilonova.core.errors import Conflict, Failure, Forbidden, NotFound, Unauthenticated
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database


@dataclass
class Site:
    """Identity as a running cloud has it; `other` is another process's view of the same database."""

    db: Database
    login: Login
    directory: Directory
    applications: ApplicationCredentials
    trusts: Trusts
    here: Authenticator
    other: Authenticator
    ids: Founded

    async def counts(self, token: str) -> bool:
        """Whether a token counts; both processes must say the same."""
        answers = []
        for one in (self.here, self.other):
            try:
                await one.context(token, "r")
            except Unauthenticated:
                answers.append(False)
            else:
                answers.append(True)
        assert answers[0] == answers[1]
        return answers[0]

    async def by_trust(self, trust_id: str, user: str = "admin") -> Issued:
        who = Named(name=user, domain_id="default")
        return await self.login.log_in([Proof("password", f"{user}pw", who)], Wish("project", trust_id=trust_id))


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> Site:
    clock, epochs = SystemClock(), Epochs(sole=True)
    passwords = Passwords(memory_kib=64, passes=1)
    tokens = Tokens(KeyRing(tmp_path / "keys"))
    return Site(
        database,
        Login(database, clock, tokens, passwords, epochs),
        Directory(database, passwords, epochs),
        ApplicationCredentials(database, passwords, epochs),
        Trusts(database, epochs),
        Authenticator(database, clock, tokens, epochs),
        Authenticator(database, clock, tokens, Epochs(sole=False)),
        await found(database, passwords, "adminpw", "demopw"),
    )


async def a_trust(site: Site, **values: Any) -> str:
    ids = site.ids
    given = {"trustor_user_id": ids.demo_user_id, "trustee_user_id": ids.admin_user_id, "impersonation": False,
             "project_id": ids.demo_project_id, **values}  # fmt: skip
    trust, _ = await site.trusts.create(given, [Named(name="reader")])
    return trust.id


async def an_application(site: Site) -> tuple[str, str]:
    proof = Proof("password", "demopw", Named(name="demo", domain_id="default"))
    issued = await site.login.log_in([proof], Wish("project", Named(id=site.ids.demo_project_id)))
    context = await site.here.context(issued.token, "r")
    shown, secret = await site.applications.create(context, {"name": "robot", "description": ""}, [], None)
    answer = await site.login.log_in(
        [Proof("application_credential", secret, credential_id=shown.credential.id)], Wish()
    )
    return shown.credential.id, answer.token


async def test_a_trust_is_not_used_more_often_than_it_may(site: Site) -> None:
    trust_id = await a_trust(site, remaining_uses=3)
    answers = await asyncio.gather(*(site.by_trust(trust_id) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, Issued) for one in answers) == 3
    assert sum(isinstance(one, Forbidden) for one in answers) == 5


@pytest.mark.parametrize("act", ["trustor", "trustee", "revoke", "delete trust", "token"])
async def test_a_trusted_token_is_void_at_once_in_every_process(site: Site, act: str) -> None:
    """The rights are the trustor's and the user is the trustee: a change of either is seen."""
    ids = site.ids
    trust_id = await a_trust(site)
    issued = await site.by_trust(trust_id)
    assert await site.counts(issued.token)
    match act:
        case "trustor":
            await site.directory.change("user", ids.demo_user_id, {"enabled": False})
        case "trustee":
            await site.directory.change("user", ids.admin_user_id, {"enabled": False})
        case "revoke":
            member = ids.role_ids["member"]
            await site.directory.rights.revoke(Assignment(ids.demo_user_id, "project", ids.demo_project_id, member))
        case "delete trust":
            await site.trusts.delete(trust_id)
        case "token":
            await site.login.revoke(issued.token)
    assert not await site.counts(issued.token)


async def test_an_application_ends_in_the_transaction_that_takes_its_role(site: Site) -> None:
    identifier, token = await an_application(site)
    assert await site.counts(token)
    ids = site.ids
    member = Assignment(ids.demo_user_id, "project", ids.demo_project_id, ids.role_ids["member"])
    await site.directory.rights.revoke(member)
    await site.directory.rights.grant(member)
    assert not await site.counts(token)
    with pytest.raises(NotFound):
        await site.applications.show(ids.demo_user_id, identifier)


async def test_an_application_ends_with_the_group_that_gave_its_role(site: Site) -> None:
    ids, directory = site.ids, site.directory
    group = await directory.create("group", {"name": "g", "domain_id": "default"})
    await directory.groups.add(group.id, ids.demo_user_id)
    admin = Assignment(group.id, "project", ids.demo_project_id, ids.role_ids["admin"], "group")
    await directory.rights.grant(admin)
    identifier, token = await an_application(site)
    assert await site.counts(token)
    await directory.delete("group", group.id)
    assert not await site.counts(token)
    with pytest.raises(NotFound):
        await site.applications.show(ids.demo_user_id, identifier)


@pytest.mark.parametrize("kind", ["user", "project", "domain"])
async def test_everything_goes_with_its_user_or_project(site: Site, kind: str) -> None:
    ids = site.ids
    await an_application(site)
    await a_trust(site)
    credential = {
        "id": "c",
        "user_id": ids.demo_user_id,
        "project_id": ids.demo_project_id,
        "type": "ec2",
        "secret": "s",
    }
    await site.db.write(lambda tx: credential_store.create(tx, credential))
    if kind == "domain":
        # All that was in it goes without being named one by one.
        await site.db.write(lambda tx: store.remove(tx, "user", ids.demo_user_id))
        await site.db.write(lambda tx: dependent.end(tx, store_epoch.GLOBAL))
    else:
        await site.directory.delete(kind, ids.demo_user_id if kind == "user" else ids.demo_project_id)
    left = await site.db.read(
        lambda tx: (
            application_credential_store.list_credentials(tx, {}),
            trust_store.list_trusts(tx, {}),
            credential_store.list_credentials(tx, {}),
        )
    )
    assert left == ([], [], [])


async def test_what_still_holds_stays(site: Site) -> None:
    identifier, token = await an_application(site)
    for subject in (store_epoch.user(site.ids.demo_user_id), store_epoch.project(site.ids.demo_project_id),
                    store_epoch.GLOBAL):  # fmt: skip
        await site.db.write(lambda tx, subject=subject: dependent.end(tx, subject))
    await site.applications.show(site.ids.demo_user_id, identifier)
    assert await site.counts(token)


async def test_a_one_time_password_is_used_once_even_at_once(site: Site) -> None:
    values = {"id": "c", "user_id": "u", "project_id": None, "type": "totp", "secret": "s"}
    await site.db.write(lambda tx: credential_store.create(tx, values))
    answers = await asyncio.gather(*(site.db.write(lambda tx: credential_store.use_step(tx, "c", 7)) for _ in range(6)))
    assert sorted(answers) == [False] * 5 + [True]
    assert not await site.db.write(lambda tx: credential_store.use_step(tx, "c", 6))
    assert await site.db.write(lambda tx: credential_store.use_step(tx, "c", 8))


async def test_names_and_access_keys_are_taken_once(site: Site) -> None:
    one = {"name": "n", "user_id": "u", "project_id": "p", "secret": "s", "roles": [], "access_rules": None}
    await site.db.write(lambda tx: application_credential_store.create(tx, {**one, "id": "1"}))
    await site.db.write(lambda tx: application_credential_store.create(tx, {**one, "id": "2", "user_id": "v"}))
    key = {"id": "hash", "user_id": "u", "project_id": "p", "type": "ec2", "secret": "s"}
    await site.db.write(lambda tx: credential_store.create(tx, key))
    for work in (
        lambda tx: application_credential_store.create(tx, {**one, "id": "3"}),
        lambda tx: credential_store.create(tx, {**key, "user_id": "v"}),
    ):
        with pytest.raises(Conflict):
            await site.db.write(work)


async def test_an_access_rule_is_one_row_however_often_it_is_named(site: Site) -> None:
    rule = AccessRule("1", "compute", "GET", "/v2.1/servers")
    again = AccessRule("2", "compute", "GET", "/v2.1/servers")
    first = await site.db.write(lambda tx: application_credential_store.ensure_rule(tx, "u", rule))
    assert await site.db.write(lambda tx: application_credential_store.ensure_rule(tx, "u", again)) == first
    other = AccessRule("3", "compute", "GET", "/v2.1/servers")
    assert (await site.db.write(lambda tx: application_credential_store.ensure_rule(tx, "v", other))).id == "3"
    with pytest.raises(NotFound):
        await site.db.read(lambda tx: application_credential_store.get_rule(tx, "1", "v"))


async def test_a_catalog_is_founded_once_and_follows_the_region(database: Database) -> None:
    catalog = CatalogService(database, Epochs(sole=True))
    endpoints = [Endpoint("compute", "nova", "/compute/v2.1")]
    for region in ("one", "one", "two"):
        await catalog.found(endpoints, region)
    rows = await catalog.list("endpoint", {})
    assert {(row.fields["url"], row.fields["region_id"]) for row in rows} == {("/compute/v2.1", "two")}
    assert len(rows) == 3
    service = (await catalog.list("service", {}))[0]
    for _ in range(2):
        await catalog.delete("service", service.id)
        await catalog.found(endpoints, "two")
        assert (await catalog.list("service", {}), await catalog.list("endpoint", {})) == ([], [])
        await database.write(lambda tx: catalog_store.create(tx, "service", {"id": service.id, "type": "compute"}))


async def test_registered_limits_hold_limits(database: Database) -> None:
    own = {"service_id": "s", "region_id": None, "resource_name": "cores"}
    registered = {**own, "id": "r", "default_limit": 1, "description": None}
    limit = {**own, "id": "l", "project_id": "p", "domain_id": None, "resource_limit": 2, "description": None}
    refused: list[tuple[Any, type[Failure]]] = [
        (lambda tx: limit_store.create_registered(tx, {**registered, "id": "x"}), Conflict),
        (lambda tx: limit_store.create_limit(tx, {**limit, "id": "x"}), Conflict),
        (lambda tx: limit_store.create_limit(tx, {**limit, "id": "x", "region_id": "one"}), Forbidden),
        (lambda tx: limit_store.remove_registered(tx, "r"), Forbidden),
        (lambda tx: limit_store.change_registered(tx, "r", {"region_id": "one"}), Forbidden),
    ]
    with pytest.raises(Forbidden):
        await database.write(lambda tx: limit_store.create_limit(tx, limit))
    await database.write(lambda tx: limit_store.create_registered(tx, registered))
    await database.write(lambda tx: limit_store.create_limit(tx, limit))
    for work, failure in refused:
        with pytest.raises(failure):
            await database.write(work)
    await database.write(lambda tx: limit_store.remove_of(tx, project_id="p"))
    await database.write(lambda tx: limit_store.remove_registered(tx, "r"))


async def test_secrets_survive_the_rotation_of_their_keys(database: Database, tmp_path: Path) -> None:
    await database.write(lambda tx: store.create(tx, "user", {"id": "u", "name": "u", "domain_id": "default"}))
    ring = KeyRing(tmp_path / "credential-keys")
    credentials = Credentials(database, SystemClock(), ring)
    made = await credentials.create({"user_id": "u", "type": "cert", "blob": "secret"})
    sealed = await database.read(lambda tx: credential_store.get(tx, made.id))
    assert "secret" not in sealed.secret
    ring.rotate(10)
    elsewhere = Credentials(database, SystemClock(), KeyRing(tmp_path / "credential-keys"))
    assert (await elsewhere.show(made.id)).blob == "secret"
    strange = Credentials(database, SystemClock(), KeyRing(tmp_path / "strange"))
    with pytest.raises(NotFound):
        await strange.show(made.id)


async def test_a_running_process_takes_up_keys_that_another_made(tmp_path: Path) -> None:
    running, command = KeyRing(tmp_path / "keys"), KeyRing(tmp_path / "keys")
    before = running.encrypt(b"x", 1_700_000_000)
    for _ in range(2):
        command.rotate(3)
        assert running.decrypt(command.encrypt(b"y", 1_700_000_000)) == b"y"
    with pytest.raises(Unauthenticated):
        KeyRing(tmp_path / "keys").decrypt(before)


async def test_of_limits_made_at_once_one_is_kept(site: Site) -> None:
    limits, catalog = Limits(site.db), CatalogService(site.db, Epochs(sole=False))
    service = await catalog.create(
        "service", {"type": "x", "name": "x", "description": "", "enabled": True, "extra": {}}
    )
    own = {"service_id": service.id, "resource_name": "cores"}
    registered = [{**own, "default_limit": 1}]
    answers = await asyncio.gather(*(limits.register(registered) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in answers) == 5
    wanted = [{**own, "project_id": site.ids.demo_project_id, "resource_limit": 2}]
    answers = await asyncio.gather(*(limits.create(wanted) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in answers) == 5
    other = (await limits.register([{**own, "resource_name": "ram", "default_limit": 1}]))[0]
    with pytest.raises(Conflict):
        await limits.change_registered(other.id, {"resource_name": "cores"})
