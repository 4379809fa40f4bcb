"""Identity from elsewhere: the gate asks a Keystone (here kilonova's own, in this process) what a token means.

The same against Keystone itself: `python -m tests.conformance.keystone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from identity_site import DEMO, ON_DEMO, Site, open_site

from kilonova.core.context import Context
from kilonova.core.errors import Unauthenticated, Unavailable
from kilonova.edge.openstack.auth import Gate, build_service
from kilonova.edge.openstack.fault import compute_fault
from kilonova.edge.openstack.keystone import CACHE_SECONDS, UNKNOWN_SECONDS, Account, KeystoneAuthenticator
from kilonova.edge.openstack.policy import Enforcer, Rule
from kilonova.kit.http import App, Request, Route

ACCOUNT = Account("nova", "novapw", "demo")


class Line(httpx.ASGITransport):
    """The network between: counts questions, and can be cut, slow or answered by something else."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.app)
        self.asked: list[str] = []
        self.state = "up"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        match self.state:
            case "cut":
                raise httpx.ConnectError("no route")
            case "slow":
                await asyncio.sleep(60)
            case "broken":
                return httpx.Response(500, text="oops")
            case "mute":
                return httpx.Response(201, json={"token": {}})
            case "strange":
                return httpx.Response(200, json={"token": {}}, headers={"x-subject-token": "x"})
        return await super().handle_async_request(request)


class Far:
    """A cloud whose identity is elsewhere."""

    def __init__(self, site: Site) -> None:
        self.site, self.line = site, Line(site)
        url = "http://cloud:8774/identity/"
        self.known = KeystoneAuthenticator(url, ACCOUNT, site.clock, self.line)
        gate = Gate(self.known, Enforcer([Rule("read", "role:reader")]))
        routes = [Route("GET", "/servers/{server_id}", who, "read"), Route("GET", "/servers", who, "read")]
        service = build_service("compute", "/compute", routes, gate, compute_fault, roots=("/v2.1",))
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(App([service])), base_url="http://near/compute/v2.1"
        )

    async def ask(self, token: str, path: str = "/servers", **headers: str) -> httpx.Response:
        sent = {"x-auth-token": token, **{key.replace("_", "-"): value for key, value in headers.items()}}
        return await self.http.get(path, headers=sent)


async def who(request: Request) -> dict[str, Any]:
    context = request.context
    return {"user": context.user_id, "project": context.project_id, "roles": sorted(context.roles)}


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[Far]:
    async with open_site(tmp_path) as site:
        await site.add("nova", "service")
        one = Far(site)
        yield one
        await one.known.close()


async def test_a_token_of_there_counts_here(far: Far) -> None:
    token = await far.site.token()
    answer = await far.ask(token)
    assert answer.json() == {
        "user": far.site.ids.demo_user_id, "project": far.site.ids.demo_project_id, "roles": ["member", "reader"],
    }  # fmt: skip
    here = await far.site.services.authenticator.context(token, "r")
    there: Context = await far.known.context(token, "r")
    assert there == here
    for wrong in ("", "forged", "ü", "x" * 20_000):
        assert (await far.http.get("/servers", headers={"x-auth-token": wrong.encode()})).status_code == 401


async def test_answers_are_remembered_for_seconds_only(far: Far) -> None:
    token = await far.site.token()
    for _ in range(5):
        assert (await far.ask(token)).status_code == 200
    assert far.line.asked == ["POST /identity/v3/auth/tokens", "GET /identity/v3/auth/tokens"]
    await far.site.services.login.revoke(token)
    assert (await far.ask(token)).status_code == 200
    far.site.clock.by = CACHE_SECONDS + 1
    assert (await far.ask(token)).status_code == 401


async def test_an_unknown_token_is_not_asked_about_again_at_once(far: Far) -> None:
    for by, asked in ((0, 1), (0, 1), (UNKNOWN_SECONDS + 1, 2)):
        far.site.clock.by = by
        assert (await far.ask("forged")).status_code == 401
        assert far.line.asked.count("GET /identity/v3/auth/tokens") == asked


async def test_an_access_key_delegates_there_as_here(far: Far) -> None:
    issued = await far.site.services.login.by_access_key(far.site.ids.demo_user_id, far.site.ids.demo_project_id)
    there = await far.known.context(issued.token, "r")
    assert there.delegated
    assert there == await far.site.services.authenticator.context(issued.token, "r")


async def test_an_expired_token_ends_here_too(far: Far) -> None:
    far.site.clock.by = 3595
    token = await far.site.token()
    assert (await far.ask(token)).status_code == 200
    # Seconds before the end, for a machine that is slow; then over, within what is remembered of it.
    far.site.clock.by += 3594
    assert (await far.ask(token)).status_code == 200
    far.site.clock.by += 7
    assert (await far.ask(token)).status_code == 401
    service = await far.site.token("nova")
    assert (await far.ask(token, x_service_token=service)).status_code == 200
    assert (await far.ask(token, x_service_token=await far.site.token("admin"))).status_code == 401
    assert (await far.ask(token)).status_code == 401


async def test_the_service_user_signs_in_again(far: Far) -> None:
    first = await far.site.token()
    assert (await far.ask(first)).status_code == 200
    changed = {"user": {"password": "novapw"}}
    users = (await far.site.ask("GET", "/v3/users?name=nova")).json()["users"]
    await asyncio.sleep(0.01)
    assert (await far.site.ask("PATCH", f"/v3/users/{users[0]['id']}", json=changed)).status_code == 200
    assert (await far.ask(await far.site.token())).status_code == 200
    assert far.line.asked.count("POST /identity/v3/auth/tokens") == 2
    await far.site.ask("PATCH", f"/v3/users/{users[0]['id']}", json={"user": {"password": "other"}})
    answer = await far.ask(await far.site.token())
    assert answer.status_code == 503


@pytest.mark.parametrize("state", ["cut", "broken", "mute", "strange"])
async def test_when_it_is_away_callers_are_told_so(far: Far, state: str) -> None:
    token = await far.site.token()
    assert (await far.ask(token)).status_code == 200
    far.line.state = state
    assert (await far.ask(token)).status_code == 200
    far.site.clock.by = CACHE_SECONDS + 1
    answer = await far.ask(token)
    assert answer.status_code == 503
    assert answer.json()["serviceUnavailable"]["message"] == "The identity service does not answer; try again."
    assert answer.headers["retry-after"] == "1"
    far.line.state = "up"
    assert (await far.ask(token)).status_code == 200


async def test_application_credentials_keep_their_bounds_here(far: Far) -> None:
    site = far.site
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers/*"}]
    place = f"/v3/users/{site.ids.demo_user_id}/application_credentials"
    body = {"application_credential": {"name": "robot", "access_rules": rules}}
    made = (await site.ask("POST", place, "demo", json=body)).json()["application_credential"]
    proof = {"id": made["id"], "secret": made["secret"]}
    issued = await site.sign_in({"methods": ["application_credential"], "application_credential": proof})
    token = issued.headers["x-subject-token"]
    assert (await far.ask(token, "/servers/x")).status_code == 200
    assert (await far.ask(token, "/servers")).status_code == 401
    context = await far.known.context(token, "r")
    assert (context.restricted, context.delegated, context.by_application) == (True, True, True)


async def test_projects_are_asked_for(far: Far) -> None:
    assert await far.known.project_exists(far.site.ids.demo_project_id)
    # The service user may not ask about others: then the caller is believed, as Nova does.
    assert await far.known.project_exists("unknown")
    far.line.state = "cut"
    with pytest.raises(Unavailable):
        await far.known.project_exists("unknown")


async def test_scopes_arrive_as_they_are(far: Far) -> None:
    admin = {**DEMO, "name": "admin", "password": "adminpw"}
    system = (await far.site.log_in(admin, {"system": {"all": True}})).headers["x-subject-token"]
    context = await far.known.context(system, "r")
    assert (context.system, context.project_id, context.is_admin) == (True, None, True)
    admin_id, role_id = far.site.ids.admin_user_id, far.site.ids.role_ids["admin"]
    await far.site.ask("PUT", f"/v3/domains/default/users/{admin_id}/roles/{role_id}")
    domain = (await far.site.log_in(admin, {"domain": {"id": "default"}})).headers["x-subject-token"]
    context = await far.known.context(domain, "r")
    assert (context.domain_id, "admin" in context.roles, context.is_admin) == ("default", True, False)
    unscoped = (await far.site.log_in(DEMO, "unscoped")).headers["x-subject-token"]
    assert (await far.known.context(unscoped, "r")).roles == frozenset()
    with pytest.raises(Unauthenticated):
        await far.known.context("forged", "r")
    assert (await far.site.log_in(DEMO, ON_DEMO)).status_code == 201
