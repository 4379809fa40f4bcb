"""Two domains with people of every kind, over HTTP."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from identity_site import assemble

from kilonova.cloud.identity.bootstrap import Founded, found
from kilonova.cloud.identity.guard import Lockout
from kilonova.cloud.identity.password import Passwords
from kilonova.edge.openstack.identity.policy import RULES
from kilonova.edge.openstack.identity.routes import build_identity
from kilonova.edge.openstack.identity.throttle import Throttle
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit.clock import SECOND, SystemClock
from kilonova.kit.db import Database, open_database
from kilonova.kit.http import App

PEOPLE = {
    "domain-admin": ("admin", "domain"),
    "domain-manager": ("manager", "domain"),
    "domain-reader": ("reader", "domain"),
    "system-reader": ("reader", "system"),
    "project-reader": ("reader", "project"),
    "member": ("member", "project"),
}
"""Each lives in domain `here`, with this role there."""


class Moved(SystemClock):
    """The machine's clock, moved."""

    seconds = 0.0

    def now(self) -> int:
        return super().now() + int(self.seconds * SECOND)

    def monotonic(self) -> float:
        return self.now() / SECOND


class People:
    """Identity over HTTP. `ids`: what was made, by name; `ask` speaks as any of PEOPLE, `admin`, or nobody (None)."""

    def __init__(self, db: Database, clock: Moved, client: httpx.AsyncClient, founded: Founded) -> None:
        self.db, self.clock, self.client = db, clock, client
        self.ids: dict[str, str] = {f"role-{name}": one for name, one in founded.role_ids.items()}
        self.ids |= {"admin": founded.admin_user_id, "admin-project": founded.admin_project_id}
        self._tokens: dict[tuple[str | None, float], str] = {}

    async def ask(self, method: str, path: str, who: str | None = "admin", body: Any = None) -> httpx.Response:
        key = (who, self.clock.seconds)
        if who is not None and key not in self._tokens:
            self._tokens[key] = (await self.log_in(who)).headers["x-subject-token"]
        headers = {"x-auth-token": self._tokens[key]} if who is not None else {}
        return await self.client.request(method, f"/v3{path.format(**self.ids)}", headers=headers, json=body)

    async def make(self, kind: str, name: str, **values: Any) -> str:
        """Create one as the administrator; its id, also by its name in `ids`."""
        answer = await self.ask("POST", f"/{kind}s", body={kind: {"name": name, **values}})
        assert answer.status_code == 201, answer.text
        self.ids[name] = str(answer.json()[kind]["id"])
        return self.ids[name]

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        """What the administrator does, and it works; the answer's document."""
        answer = await self.ask(method, path, body=body)
        assert answer.is_success, (path, answer.text)
        return answer.json() if answer.content else None

    async def log_in(self, who: str, scope: Any = ..., password: str | None = None) -> httpx.Response:
        """A login with the scope of PEOPLE, or another one."""
        if scope is ...:
            kind = PEOPLE.get(who, ("", "project"))[1]
            place = {"id": self.ids["admin-project" if who == "admin" else "here" if kind == "domain" else "lab"]}
            scope = {"system": {"all": True}} if kind == "system" else {kind: place}
        user = {"id": self.ids[who], "password": password or f"{who}pw"}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
        return await self.client.post("/v3/auth/tokens", json={"auth": auth})

    async def sign_in(self, identity: Any) -> httpx.Response:
        """A login without a scope, by these proofs."""
        return await self.client.post("/v3/auth/tokens", json={"auth": {"identity": identity}})

    async def roles(self, who: str, scope: Any) -> list[str] | int:
        """The roles that a new token carries there, or the status of the refusal."""
        answer = await self.log_in(who, scope)
        return [r["name"] for r in answer.json()["token"]["roles"]] if answer.is_success else answer.status_code

    async def settle(self) -> None:
        """Domains `here` and `there`, each with a project, a user and a group; PEOPLE in `here`."""
        for domain, project, user, group in (("here", "lab", "ann", "team"), ("there", "den", "bob", "gang")):
            home = await self.make("domain", domain)
            await self.make("project", project, domain_id=home)
            await self.make("user", user, domain_id=home, password=f"{user}pw")
            await self.make("group", group, domain_id=home)
        for name, (role, kind) in PEOPLE.items():
            await self.make("user", name, domain_id=self.ids["here"], password=f"{name}pw")
            place = {"domain": "/domains/{here}", "project": "/projects/{lab}", "system": "/system"}[kind]
            await self.do("PUT", f"{place}/users/{{{name}}}/roles/{{role-{role}}}")


async def build_people(place: Path, ids: Mapping[str, str] | None = None) -> People:
    """The world, on the database `test.db` in `place`: settled already with these ids, or empty."""
    clock = Moved()
    db = await open_database(f"sqlite:///{place}/test.db", clock)
    passwords = Passwords(memory_kib=64, passes=1)
    lockout = Lockout(failures=3, seconds=60)
    services = assemble(db, clock, passwords, place, lockout=lockout, password_days=30)
    service = build_identity(services, Enforcer(RULES), throttle=Throttle(6, 60.0, monotonic=clock.monotonic))
    transport = httpx.ASGITransport(App([service]))
    client = httpx.AsyncClient(transport=transport, base_url="http://cloud/identity")
    people = People(db, clock, client, await found(db, passwords, "adminpw", "demopw"))
    if ids is None:
        await people.settle()
    else:
        people.ids.update(ids)
    return people


def build_settled(template: Path, place: Path) -> tuple[Path, dict[str, str]]:
    """The world as it is before each test, made once in `place`, and the ids in it; `template`: a database with all
    tables."""
    shutil.copy(template, place / "test.db")

    async def build() -> dict[str, str]:
        one = await build_people(place)
        await one.client.aclose()
        await one.db.close()
        return one.ids

    return place, asyncio.run(build())


@asynccontextmanager
async def reopen(settled: tuple[Path, dict[str, str]], place: Path) -> AsyncIterator[People]:
    """A copy of such a world, in `place`."""
    shutil.copytree(settled[0], place, dirs_exist_ok=True)
    one = await build_people(place, settled[1])
    yield one
    await one.client.aclose()
    await one.db.close()
