"""Trusts over HTTP: one user lets another act, within bounds, and takes it back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from identity_site import DEMO, ON_DEMO, Site, open_site

from kilonova.cloud.identity.model import Assignment


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as one:
        await one.add("friend", None)
        yield one


async def friend(site: Site) -> str:
    found = await site.ask("GET", "/v3/users?name=friend")
    return str(found.json()["users"][0]["id"])


async def grant(site: Site, **values: Any) -> httpx.Response:
    trust = {
        "trustor_user_id": site.ids.demo_user_id, "trustee_user_id": await friend(site), "impersonation": True,
        "project_id": site.ids.demo_project_id, "roles": [{"name": "reader"}],
    }  # fmt: skip
    return await site.ask("POST", "/v3/OS-TRUST/trusts", "demo", json={"trust": {**trust, **values}})


async def use(site: Site, trust_id: str, name: str = "friend") -> httpx.Response:
    who = {**DEMO, "name": name, "password": f"{name}pw"}
    return await site.log_in(who, {"OS-TRUST:trust": {"id": trust_id}})


@pytest.mark.parametrize("impersonation", [True, False])
async def test_a_trustee_acts_with_what_was_delegated(site: Site, impersonation: bool) -> None:
    trustee = await friend(site)
    answer = await grant(site, impersonation=impersonation)
    assert answer.status_code == 201
    trust = answer.json()["trust"]
    assert [role["name"] for role in trust["roles"]] == ["reader"]
    issued = await use(site, trust["id"])
    token = issued.json()["token"]
    assert token["user"]["id"] == (site.ids.demo_user_id if impersonation else trustee)
    assert [role["name"] for role in token["roles"]] == ["reader"]
    assert token["OS-TRUST:trust"] == {
        "id": trust["id"],
        "impersonation": impersonation,
        "trustor_user": {"id": site.ids.demo_user_id},
        "trustee_user": {"id": trustee},
    }
    mine = issued.headers["x-subject-token"]
    assert (await site.ask("GET", "/v3/auth/catalog", token=mine)).status_code == 200
    for name in ("demo", "admin"):
        assert (await use(site, trust["id"], name)).status_code == 403
    # It leads nowhere else.
    identity = {"methods": ["token"], "token": {"id": mine}}
    assert (await site.sign_in(identity, ON_DEMO)).status_code == 403
    place = f"/v3/users/{token['user']['id']}/application_credentials"
    body = {"application_credential": {"name": "x"}}
    assert (await site.ask("POST", place, token=mine, json=body)).status_code == 403
    assert (await site.ask("GET", "/v3/credentials", token=mine)).json()["credentials"] == []
    secret = {"credential": {"user_id": token["user"]["id"], "type": "cert", "blob": "x"}}
    assert (await site.ask("POST", "/v3/credentials", token=mine, json=secret)).status_code == 403


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"roles": []}, 403),
        ({"roles": [{"name": "admin"}]}, 404),
        ({"roles": [{}]}, 400),
        ({"project_id": None}, 400),
        ({"project_id": "none"}, 404),
        ({"trustee_user_id": "none"}, 404),
        ({"trustor_user_id": "none"}, 403),
        ({"impersonation": "yes"}, 400),
        ({"remaining_uses": 0}, 400),
        ({"remaining_uses": -1}, 400),
        ({"expires_at": "never"}, 400),
        ({"expires_at": "2020-01-01T00:00:00.000000Z"}, 400),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, 400),
        ({"allow_redelegation": True}, 501),
    ],
)
async def test_a_bad_trust_is_refused(site: Site, given: Any, status: int) -> None:
    assert (await grant(site, **given)).status_code == status
    assert (await site.ask("GET", "/v3/OS-TRUST/trusts")).json()["trusts"] == []


async def test_who_sees_and_removes_trusts(site: Site) -> None:
    await site.add("other")
    trustee = await friend(site)
    member = Assignment(trustee, "project", site.ids.demo_project_id, site.ids.role_ids["member"])
    await site.services.directory.rights.grant(member)
    trust = (await grant(site)).json()["trust"]
    trusts, one = "/v3/OS-TRUST/trusts", f"/v3/OS-TRUST/trusts/{trust['id']}"
    roles = f"{one}/roles/{site.ids.role_ids['reader']}"
    of_demo = f"{trusts}?trustor_user_id={site.ids.demo_user_id}"
    of_friend = f"{trusts}?trustee_user_id={trustee}"
    for who, statuses in (
        ("", (401, 401, 401, 401, 401)),
        ("other", (403, 403, 403, 403, 403)),
        ("friend", (200, 403, 403, 200, 200)),
        ("demo", (200, 403, 200, 403, 200)),
        ("admin", (200, 200, 200, 200, 200)),
    ):
        asked = (one, trusts, of_demo, of_friend, roles)
        assert tuple([(await site.ask("GET", path, who)).status_code for path in asked]) == statuses, who
    assert [role["id"] for role in (await site.ask("GET", f"{one}/roles", "demo")).json()["roles"]] == [
        site.ids.role_ids["reader"]
    ]
    assert (await site.ask("GET", f"{one}/roles/{site.ids.role_ids['admin']}", "demo")).status_code == 404
    mine = (await use(site, trust["id"])).headers["x-subject-token"]
    assert (await site.ask("GET", "/v3/auth/projects", token=mine)).status_code == 200
    for who, status in (("other", 403), ("friend", 403), ("demo", 204), ("demo", 404)):
        assert (await site.ask("DELETE", one, who)).status_code == status
    for path in (one, f"{one}/roles"):
        assert (await site.ask("GET", path, "demo")).status_code == 404
    assert (await site.ask("GET", "/v3/auth/projects", token=mine)).status_code == 401
    assert (await use(site, trust["id"])).status_code == 403


async def test_uses_are_counted(site: Site) -> None:
    trust = (await grant(site, remaining_uses=2)).json()["trust"]
    one = f"/v3/OS-TRUST/trusts/{trust['id']}"
    for left in (1, 0):
        issued = await use(site, trust["id"])
        assert issued.status_code == 201
        if left:
            assert (await site.ask("GET", one, "demo")).json()["trust"]["remaining_uses"] == left
    assert (await use(site, trust["id"])).status_code == 403
    # The last token counts although no use is left, until the trust is taken back.
    mine = issued.headers["x-subject-token"]
    assert (await site.ask("GET", "/v3/auth/projects", token=mine)).status_code == 200
    assert (await site.ask("GET", one, "demo")).json()["trust"]["remaining_uses"] == 0
    assert (await site.ask("DELETE", one, "demo")).status_code == 204
    assert (await site.ask("GET", "/v3/auth/projects", token=mine)).status_code == 401


async def test_a_trusts_token_manages_no_trusts(site: Site) -> None:
    used, other = [(await grant(site)).json()["trust"]["id"] for _ in range(2)]
    mine = (await use(site, used)).headers["x-subject-token"]
    trusts = "/v3/OS-TRUST/trusts"
    for method, path, status in (
        ("GET", f"{trusts}/{used}", 200),
        ("GET", f"{trusts}/{used}/roles", 200),
        ("GET", f"{trusts}/{other}", 403),
        ("GET", f"{trusts}/{other}/roles", 403),
        ("GET", f"{trusts}?trustor_user_id={site.ids.demo_user_id}", 403),
        ("DELETE", f"{trusts}/{other}", 403),
        ("DELETE", f"{trusts}/{used}", 403),
    ):
        assert (await site.ask(method, path, token=mine)).status_code == status, (method, path)
    assert (await site.ask("GET", f"{trusts}/{other}", "demo")).status_code == 200


@pytest.mark.parametrize("act", ["role", "trustor", "trustee", "disable", "project", "expire"])
async def test_it_ends_with_what_it_rests_on(site: Site, act: str) -> None:
    ids, directory = site.ids, site.services.directory
    soon = datetime.now(UTC) + timedelta(minutes=30)
    trust = (await grant(site, impersonation=act == "trustee", expires_at=soon.isoformat())).json()["trust"]
    mine = (await use(site, trust["id"])).headers["x-subject-token"]
    assert (await site.ask("GET", "/v3/auth/catalog", token=mine)).status_code == 200
    match act:
        case "role":
            member = Assignment(ids.demo_user_id, "project", ids.demo_project_id, ids.role_ids["member"])
            await directory.rights.revoke(member)
        case "trustor":
            await directory.delete("user", ids.demo_user_id)
        case "trustee":
            await directory.delete("user", await friend(site))
        case "disable":
            await directory.change("user", ids.demo_user_id, {"enabled": False})
        case "project":
            await directory.delete("project", ids.demo_project_id)
        case "expire":
            site.clock.by = 31 * 60
    assert (await site.ask("GET", "/v3/auth/catalog", token=mine)).status_code == 401
    assert (await use(site, trust["id"])).status_code in (401, 403)
