"""A cloud's identity in this process, and people who talk to it over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from kilonova.cloud.identity.application_credential import ApplicationCredentials
from kilonova.cloud.identity.authenticator import Authenticator
from kilonova.cloud.identity.bootstrap import Founded, found
from kilonova.cloud.identity.catalog import CatalogService
from kilonova.cloud.identity.credential import Credentials
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.guard import DEFAULT, Lockout
from kilonova.cloud.identity.key import KeyRing
from kilonova.cloud.identity.limit import Limits
from kilonova.cloud.identity.login import Login
from kilonova.cloud.identity.model import Assignment, Endpoint
from kilonova.cloud.identity.password import Passwords
from kilonova.cloud.identity.service import Directory
from kilonova.cloud.identity.token import Tokens
from kilonova.cloud.identity.trust import Trusts
from kilonova.edge.openstack.identity.policy import RULES
from kilonova.edge.openstack.identity.routes import IdentityServices, build_identity
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit.clock import SECOND, Clock, SystemClock
from kilonova.kit.db import Database, metadata, open_database
from kilonova.kit.http import App, Service

ENDPOINTS = [Endpoint("identity", "keystone", "/identity"), Endpoint("compute", "nova", "/compute/v2.1")]
DEMO = {"name": "demo", "domain": {"id": "default"}, "password": "demopw"}
ON_DEMO = {"project": {"name": "demo", "domain": {"name": "Default"}}}


class Shifted(SystemClock):
    """The machine's clock, moved."""

    def __init__(self) -> None:
        self.by = 0

    def now(self) -> int:
        return super().now() + self.by * SECOND


class Site:
    """A cloud's identity, and its clients."""

    def __init__(self, service: Service, ids: Founded, services: IdentityServices, clock: Shifted) -> None:
        self.service, self.ids, self.services, self.clock = service, ids, services, clock
        self.app = App([service])
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://cloud:8774/identity")
        self.tokens: dict[str, str] = {}

    async def log_in(self, user: Any = DEMO, scope: Any = ON_DEMO) -> httpx.Response:
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}}
        body = {"auth": auth | ({} if scope is None else {"scope": scope})}
        return await self.client.post("/v3/auth/tokens", json=body)

    async def sign_in(self, identity: Any, scope: Any = None) -> httpx.Response:
        """A login by other proofs than a password."""
        auth = {"identity": identity} | ({} if scope is None else {"scope": scope})
        return await self.client.post("/v3/auth/tokens", json={"auth": auth})

    async def token(self, name: str = "demo") -> str:
        project = {"demo": "demo", "admin": "admin"}.get(name, "demo")
        user = {**DEMO, "name": name, "password": f"{name}pw"}
        answer = await self.log_in(user, {"project": {"name": project, "domain": {"id": "default"}}})
        return answer.headers["x-subject-token"]

    async def ask(self, method: str, path: str, who: str = "admin", **more: Any) -> httpx.Response:
        """As a user by name, or as whoever holds the token given as `token`; "" is nobody."""
        token = more.pop("token", None) or (await self.token(who) if who else "")
        headers = {**({"x-auth-token": token} if token else {}), **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def add(self, name: str, role: str | None = "member", place: str = "project") -> str:
        """Another user (password: name + "pw"), with a role on project demo or on the system."""
        values = {"name": name, "domain_id": "default", "password": f"{name}pw"}
        user = await self.services.directory.create("user", values)
        if role is not None:
            target = self.ids.demo_project_id if place == "project" else "all"
            await self.services.directory.rights.grant(Assignment(user.id, place, target, self.ids.role_ids[role]))
        return str(user.id)


def assemble(
    db: Database, clock: Clock, passwords: Passwords, place: Path, *, lockout: Lockout = DEFAULT, password_days: int = 0
) -> IdentityServices:
    """What stands behind the API, with keys in `place`."""
    epochs, tokens = Epochs(sole=True), Tokens(KeyRing(place / "keys"))
    credentials = Credentials(db, clock, KeyRing(place / "credential-keys"))
    return IdentityServices(
        Authenticator(db, clock, tokens, epochs),
        Login(db, clock, tokens, passwords, epochs, lockout=lockout, open_blob=credentials.read_blob),
        Directory(db, passwords, epochs, lockout=lockout, password_days=password_days),
        CatalogService(db, epochs),
        ApplicationCredentials(db, passwords, epochs),
        credentials,
        Trusts(db, epochs),
        Limits(db),
        clock,
    )


@asynccontextmanager
async def open_site(tmp_path: Path) -> AsyncIterator[Site]:
    """A new cloud's identity on SQLite."""
    clock = Shifted()
    db = await open_database(f"sqlite:///{tmp_path}/test.db", clock)
    await db.write(lambda tx: metadata.create_all(tx.connection))
    passwords = Passwords(memory_kib=64, passes=1)
    ids = await found(db, passwords, "adminpw", "demopw")
    services = assemble(db, clock, passwords, tmp_path)
    await services.catalog.found(ENDPOINTS, "RegionOne")
    yield Site(build_identity(services, Enforcer(RULES)), ids, services, clock)
    await db.close()
