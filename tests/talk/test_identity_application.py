"""Application credentials over HTTP: made, used, narrowed, and gone with the rights that they rest on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from identity_site import ON_DEMO, Site, open_site

from kilonova.cloud.identity.model import Assignment


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as one:
        yield one


def place(site: Site, more: str = "") -> str:
    return f"/v3/users/{site.ids.demo_user_id}/application_credentials{more}"


async def make(site: Site, **values: Any) -> dict[str, Any]:
    body = {"application_credential": {"name": "robot", **values}}
    answer = await site.ask("POST", place(site), "demo", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["application_credential"])


async def use(site: Site, made: dict[str, Any], **changed: Any) -> Any:
    proof = {"id": made["id"], "secret": made["secret"], **changed}
    return await site.sign_in({"methods": ["application_credential"], "application_credential": proof})


async def test_a_program_logs_in_with_part_of_its_users_roles(site: Site) -> None:
    made = await make(site, roles=[{"name": "reader"}], description="d")
    assert len(made["secret"]) >= 64
    assert [role["name"] for role in made["roles"]] == ["reader"]
    answer = await use(site, made)
    token = answer.json()["token"]
    assert (answer.status_code, token["methods"]) == (201, ["application_credential"])
    assert [role["name"] for role in token["roles"]] == ["reader"]
    assert token["project"]["id"] == site.ids.demo_project_id
    assert token["application_credential"] == {"id": made["id"], "name": "robot", "restricted": True}
    by_name = {"name": "robot", "secret": made["secret"], "user": {"name": "demo", "domain": {"id": "default"}}}
    identity = {"methods": ["application_credential"], "application_credential": by_name}
    assert (await site.sign_in(identity)).status_code == 201
    assert (await site.sign_in(identity, ON_DEMO)).status_code == 401
    for wrong in ({"secret": "wrong"}, {"id": "none"}, {"secret": ""}):
        assert (await use(site, made, **wrong)).status_code == 401
    shown = (await site.ask("GET", place(site, f"/{made['id']}"), "demo")).json()["application_credential"]
    assert "secret" not in shown
    assert shown == {key: value for key, value in made.items() if key != "secret"}


async def test_a_secret_may_be_chosen_and_a_name_is_taken_once(site: Site) -> None:
    made = await make(site, secret="chosen")
    assert made["secret"] == "chosen"
    assert {role["name"] for role in made["roles"]} == {"member", "reader"}
    body = {"application_credential": {"name": "robot"}}
    assert (await site.ask("POST", place(site), "demo", json=body)).status_code == 409
    listed = await site.ask("GET", place(site, "?name=robot"), "demo")
    assert [one["id"] for one in listed.json()["application_credentials"]] == [made["id"]]
    assert (await site.ask("GET", place(site, "?name=x"), "demo")).json()["application_credentials"] == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"name": ""},
        {"name": "x" * 256},
        {"name": "x", "roles": [{"name": "admin"}]},
        {"name": "x", "roles": [{"name": "none"}]},
        {"name": "x", "roles": [{}]},
        {"name": "x", "expires_at": "never"},
        {"name": "x", "expires_at": "2020-01-01T00:00:00"},
        {"name": "x", "expires_at": "9999-12-31T23:59:59-12:00"},
        {"name": "x", "unrestricted": "yes"},
        {"name": "x", "access_rules": [{"service": "compute", "method": "LOOK", "path": "/"}]},
        {"name": "x", "access_rules": [{"service": "compute", "method": "GET", "path": "no-slash"}]},
        {"name": "x", "access_rules": [{"service": "compute"}]},
    ],
)
async def test_a_bad_one_is_refused_and_leaves_nothing(site: Site, given: Any) -> None:
    answer = await site.ask("POST", place(site), "demo", json={"application_credential": given})
    assert answer.status_code == 400
    assert (await site.ask("GET", place(site), "demo")).json()["application_credentials"] == []
    assert (await site.ask("GET", f"/v3/users/{site.ids.demo_user_id}/access_rules", "demo")).json()[
        "access_rules"
    ] == []


async def test_who_sees_and_removes_them(site: Site) -> None:
    await site.add("other")
    await site.add("auditor", "reader")
    made = await make(site, access_rules=[{"service": "compute", "method": "GET", "path": "/v2.1/servers"}])
    one = place(site, f"/{made['id']}")
    rule = f"/v3/users/{site.ids.demo_user_id}/access_rules/{made['access_rules'][0]['id']}"
    body = {"application_credential": {"name": "more"}}
    for who, read, write, rules in (("", 401, 401, 401), ("other", 403, 403, 403), ("auditor", 403, 403, 403)):
        assert (await site.ask("GET", place(site), who)).status_code == read
        assert (await site.ask("GET", one, who)).status_code == read
        assert (await site.ask("DELETE", one, who)).status_code == write
        assert (await site.ask("POST", place(site), who, json=body)).status_code == write
        assert (await site.ask("GET", rule, who)).status_code == rules
        assert (await site.ask("DELETE", rule, who)).status_code == rules
    assert (await site.ask("GET", one)).status_code == 200
    assert (await site.ask("POST", place(site), json=body)).status_code == 403
    # Another's credential under one's own path is not found.
    other = await site.add("third")
    assert (
        await site.ask("GET", f"/v3/users/{other}/application_credentials/{made['id']}", "third")
    ).status_code == 404
    assert (await site.ask("DELETE", rule, "demo")).status_code == 403
    assert (await site.ask("DELETE", one)).status_code == 204
    assert (await use(site, made)).status_code == 401
    assert (await site.ask("DELETE", rule, "demo")).status_code == 204
    assert (await site.ask("GET", rule, "demo")).status_code == 404


async def test_access_rules_are_enforced_at_the_gate(site: Site) -> None:
    projects = {"service": "identity", "method": "GET", "path": "/v3/auth/projects"}
    roles = {"service": "identity", "method": "GET", "path": "/v3/users/*/projects"}
    made = await make(site, access_rules=[projects, roles])
    assert made["access_rules"][0]["path"] == "/v3/auth/projects"
    issued = await use(site, made)
    token, me = issued.headers["x-subject-token"], site.ids.demo_user_id
    for method, path, status in (
        ("GET", "/v3/auth/projects", 200),
        ("GET", f"/v3/users/{me}/projects", 200),
        ("GET", f"/v3/users/{me}", 401),
        ("GET", "/v3/auth/catalog", 401),
        ("HEAD", "/v3/auth/projects", 401),
        ("GET", "/v3/users/a/b/projects", 401),
    ):
        assert (await site.ask(method, path, token=token)).status_code == status, path
    # Who does not say that it obeys access rules is not told that the token counts.
    subject = {"x-subject-token": token}
    assert (await site.ask("GET", "/v3/auth/tokens", headers=subject)).status_code == 404
    knowing = {**subject, "openstack-identity-access-rules": "1.0"}
    shown = (await site.ask("GET", "/v3/auth/tokens", headers=knowing)).json()["token"]
    assert len(shown["application_credential"]["access_rules"]) == 2
    again = await site.ask("POST", place(site), "demo", json={"application_credential": {
        "name": "second", "access_rules": [{"id": made["access_rules"][0]["id"]}, roles]}})  # fmt: skip
    assert [r["id"] for r in again.json()["application_credential"]["access_rules"]] == [
        r["id"] for r in made["access_rules"]
    ]


async def test_a_restricted_one_makes_no_others_and_opens_no_other_scope(site: Site) -> None:
    body = {"application_credential": {"name": "child"}}
    secret = {"credential": {"user_id": site.ids.demo_user_id, "type": "cert", "blob": "x"}}
    trust = {"trustor_user_id": site.ids.demo_user_id, "trustee_user_id": site.ids.admin_user_id,
             "project_id": site.ids.demo_project_id, "impersonation": True, "roles": [{"name": "reader"}]}  # fmt: skip
    for unrestricted, status in ((False, 403), (True, 201)):
        made = await make(site, name=f"robot-{unrestricted}", unrestricted=unrestricted)
        token = (await use(site, made)).headers["x-subject-token"]
        assert (await site.ask("POST", place(site), token=token, json=body)).status_code == status
        assert (await site.ask("POST", "/v3/credentials", token=token, json=secret)).status_code == 403
        assert (await site.ask("POST", "/v3/OS-TRUST/trusts", token=token, json={"trust": trust})).status_code == 403
        identity = {"methods": ["token"], "token": {"id": token}}
        assert (await site.sign_in(identity, ON_DEMO)).status_code == 403
        assert (await site.sign_in(identity, "unscoped")).status_code == 403


@pytest.mark.parametrize("act", ["role", "project", "user", "disable", "expire", "password"])
async def test_it_ends_with_what_it_rests_on(site: Site, act: str) -> None:
    ids, directory = site.ids, site.services.directory
    soon = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    made = await make(site, expires_at=soon)
    token = (await use(site, made)).headers["x-subject-token"]
    member = Assignment(ids.demo_user_id, "project", ids.demo_project_id, ids.role_ids["member"])
    match act:
        case "role":
            await directory.rights.revoke(member)
        case "project":
            await directory.delete("project", ids.demo_project_id)
        case "user":
            await directory.delete("user", ids.demo_user_id)
        case "disable":
            await directory.change("user", ids.demo_user_id, {"enabled": False})
        case "expire":
            site.clock.by = 3 * 3600 + 1
        case "password":
            await directory.change("user", ids.demo_user_id, {"password": "another"})
    answer = await site.ask("GET", "/v3/auth/projects", token=token)
    assert answer.status_code == 401
    assert (await use(site, made)).status_code == (201 if act == "password" else 401)
    if act == "role":
        # A role that comes back does not bring back what it once led to.
        await directory.rights.grant(member)
        assert (await use(site, made)).status_code == 401
        assert (await site.ask("GET", place(site), "demo")).json()["application_credentials"] == []


async def test_a_token_lasts_no_longer_than_the_credential(site: Site) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    made = await make(site, expires_at=soon.replace(tzinfo=None).isoformat())
    assert made["expires_at"] == soon.strftime("%Y-%m-%dT%H:%M:%S.%f")
    ends = (await use(site, made)).json()["token"]["expires_at"]
    assert abs(datetime.fromisoformat(ends) - soon) < timedelta(seconds=1)


async def test_the_last_moment_of_all_is_shown_as_it_was_given(site: Site) -> None:
    last = "9999-12-31T23:59:59.999999"
    assert (await make(site, expires_at=last))["expires_at"] == last
    assert (await site.ask("GET", place(site), "demo")).json()["application_credentials"][0]["expires_at"] == last


async def test_a_service_bound_to_access_rules_hands_on_nothing(site: Site) -> None:
    service = Assignment(site.ids.demo_user_id, "project", site.ids.demo_project_id, site.ids.role_ids["service"])
    await site.services.directory.rights.grant(service)
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers"}]
    mine = await site.token()
    for made, status in ((await make(site), 200), (await make(site, name="bound", access_rules=rules), 401)):
        headers = {"x-service-token": (await use(site, made)).headers["x-subject-token"]}
        answer = await site.ask("GET", "/v3/auth/projects", token=mine, headers=headers)
        assert answer.status_code == status
