"""Ways to log in over HTTP: one-time passwords, several proofs at once, other scopes, tokens that have expired."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from identity_site import DEMO, ON_DEMO, Site, open_site

from kilonova.cloud.identity.totp import passcode
from kilonova.kit.clock import SECOND

SECRET = b32encode(b"12345678901234567890").decode()
WHO = {"name": "demo", "domain": {"id": "default"}}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as one:
        yield one


def code(site: Site, back: int = 0) -> str:
    return passcode(SECRET, site.clock.now() // SECOND // 30 - back)


async def enrol(site: Site) -> None:
    body = {"credential": {"user_id": site.ids.demo_user_id, "type": "totp", "blob": SECRET}}
    assert (await site.ask("POST", "/v3/credentials", "demo", json=body)).status_code == 201


def proof(passcode: str) -> dict[str, Any]:
    return {"user": {**WHO, "passcode": passcode}}


async def test_a_one_time_password_counts_once_and_not_for_long(site: Site) -> None:
    assert (await site.sign_in({"methods": ["totp"], "totp": proof(code(site))})).status_code == 401
    await enrol(site)
    site.clock.by = 3600
    late, present = code(site, 1), code(site)
    for given, status in ((code(site, 3), 401), ("abc", 401), (late, 201), (late, 401), (present, 201), (late, 401)):
        answer = await site.sign_in({"methods": ["totp"], "totp": proof(given)}, ON_DEMO)
        assert answer.status_code == status
    site.clock.by += 30
    answer = await site.sign_in({"methods": ["totp"], "totp": proof(code(site))}, ON_DEMO)
    assert answer.json()["token"]["methods"] == ["totp"]


async def test_a_one_time_password_counts_once_for_two_devices_that_show_the_same(site: Site) -> None:
    await enrol(site)
    await enrol_again(site)
    for status in (201, 401, 401):
        answer = await site.sign_in({"methods": ["totp"], "totp": proof(code(site))}, ON_DEMO)
        assert answer.status_code == status


async def enrol_again(site: Site) -> None:
    """The same secret as text of another kind."""
    blob = SECRET.rstrip("=").lower()
    body = {"credential": {"user_id": site.ids.demo_user_id, "type": "totp", "blob": blob}}
    assert (await site.ask("POST", "/v3/credentials", "demo", json=body)).status_code == 201


async def test_several_proofs_at_once(site: Site) -> None:
    await enrol(site)
    rules = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password", "totp"]]}
    changed = {"user": {"options": rules}}
    assert (await site.ask("PATCH", f"/v3/users/{site.ids.demo_user_id}", json=changed)).status_code == 200
    password = {"user": DEMO}
    alone = await site.sign_in({"methods": ["password"], "password": password}, ON_DEMO)
    assert alone.status_code == 401
    both = {"methods": ["password", "totp"], "password": password, "totp": proof(code(site))}
    answer = await site.sign_in(both, ON_DEMO)
    assert (answer.status_code, answer.json()["token"]["methods"]) == (201, ["password", "totp"])
    # The token keeps what was proven, so it may open another scope.
    again = {"methods": ["token"], "token": {"id": answer.headers["x-subject-token"]}}
    assert (await site.sign_in(again, "unscoped")).status_code == 201
    wrong = {**both, "totp": proof("000000")}
    assert (await site.sign_in(wrong, ON_DEMO)).status_code == 401
    other = {**both, "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": "adminpw"}}}
    site.clock.by = 60
    assert (await site.sign_in({**other, "totp": proof(code(site))}, ON_DEMO)).status_code == 401


async def test_guessed_one_time_passwords_lock_the_user_out(site: Site) -> None:
    await enrol(site)
    site.clock.by = 3600
    for _ in range(10):
        assert (await site.sign_in({"methods": ["totp"], "totp": proof("000000")}, ON_DEMO)).status_code == 401
    assert (await site.sign_in({"methods": ["totp"], "totp": proof(code(site))}, ON_DEMO)).status_code == 401
    assert (await site.log_in()).status_code == 401
    site.clock.by += 301
    assert (await site.sign_in({"methods": ["totp"], "totp": proof(code(site))}, ON_DEMO)).status_code == 201


async def test_a_right_password_does_not_pay_for_guesses_of_the_other_proof(site: Site) -> None:
    await enrol(site)
    site.clock.by = 3600
    half: dict[str, Any] = {"methods": ["password", "totp"], "password": {"user": DEMO}}
    for _ in range(9):
        assert (await site.sign_in({**half, "totp": proof("000000")}, ON_DEMO)).status_code == 401
    change = {"user": {"original_password": "demopw", "password": "next"}}
    place = f"/v3/users/{site.ids.demo_user_id}/password"
    assert (await site.ask("POST", place, "", json=change)).status_code == 204
    half["password"] = {"user": {**DEMO, "password": "next"}}
    assert (await site.sign_in({**half, "totp": proof("000000")}, ON_DEMO)).status_code == 401
    assert (await site.sign_in({**half, "totp": proof(code(site))}, ON_DEMO)).status_code == 401


async def test_nobody_locks_the_administrator_out(site: Site) -> None:
    for _ in range(11):
        assert (await site.log_in({**DEMO, "name": "admin", "password": "wrong"}, None)).status_code == 401
    assert (await site.log_in({**DEMO, "name": "admin", "password": "adminpw"}, None)).status_code == 201


async def test_a_login_forgets_what_was_wrong_before(site: Site) -> None:
    wrong = {**DEMO, "password": "wrong"}
    for _ in range(2):
        for _ in range(9):
            assert (await site.log_in(wrong)).status_code == 401
        assert (await site.log_in()).status_code == 201


@pytest.mark.parametrize(
    "identity",
    [
        {"methods": ["password", "totp"], "password": {"user": DEMO}},
        {"methods": ["totp"], "totp": {"user": {"passcode": "1"}}},
        {"methods": ["totp"], "totp": {"user": {**WHO, "passcode": 123456}}},
        {"methods": ["application_credential"], "application_credential": {"secret": "x"}},
        {"methods": ["application_credential"], "application_credential": {"name": "x", "secret": "x"}},
        {"methods": ["application_credential"], "application_credential": {"id": "x"}},
    ],
)
async def test_half_a_proof_is_told_so(site: Site, identity: Any) -> None:
    assert (await site.sign_in(identity)).status_code == 400


async def test_a_system_token_opens_no_project(site: Site) -> None:
    admin = {**DEMO, "name": "admin", "password": "adminpw"}
    system = await site.log_in(admin, {"system": {"all": True}})
    identity = {"methods": ["token"], "token": {"id": system.headers["x-subject-token"]}}
    assert (await site.sign_in(identity, {"project": {"id": site.ids.admin_project_id}})).status_code == 403
    assert (await site.sign_in(identity, {"system": {"all": True}})).status_code == 201
    without = (await site.sign_in(identity)).json()["token"]
    assert "project" not in without
    assert "roles" not in without


async def test_a_service_learns_what_an_expired_token_meant(site: Site) -> None:
    old = await site.token()
    await site.add("nova", "service")
    site.clock.by = 3700
    service = await site.token("nova")
    subject = {"x-subject-token": old}
    assert (await site.ask("GET", "/v3/auth/tokens", token=service, headers=subject)).status_code == 404
    answer = await site.ask("GET", "/v3/auth/tokens?allow_expired=1", token=service, headers=subject)
    assert answer.json()["token"]["user"]["id"] == site.ids.demo_user_id
    path = "/v3/auth/projects"
    assert (await site.ask("GET", path, token=old)).status_code == 401
    assert (await site.ask("GET", path, token=old, headers={"x-service-token": service})).status_code == 200
    other = await site.token("admin")
    assert (await site.ask("GET", path, token=old, headers={"x-service-token": other})).status_code == 401
    assert (await site.ask("GET", path, token=old, headers={"x-service-token": "forged"})).status_code == 401
    site.clock.by = 3700 + 2 * 86400
    fresh = await site.token("nova")
    answer = await site.ask("GET", "/v3/auth/tokens?allow_expired=1", token=fresh, headers=subject)
    assert answer.status_code == 404
    assert (await site.ask("GET", path, token=old, headers={"x-service-token": fresh})).status_code == 401


WRONG = ("hush-hush", ["hush-hush"], {"hush-hush": {"x": "hush-hush"}})


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
async def test_no_answer_repeats_a_secret(site: Site, value: Any) -> None:
    owner = site.ids.demo_user_id
    login = {"auth": {"identity": {"methods": ["password"], "password": value}}}
    half = {"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": value, "name": 1}}}}}
    shouted = {"user": {"name": "x", "password": value, "enabled": "yes"}}
    for path, body in (
        ("/v3/auth/tokens", login),
        ("/v3/auth/tokens", half),
        ("/v3/auth/tokens", {"auth": {"identity": {"methods": ["totp"], "totp": {"user": {"passcode": value}}}}}),
        ("/v3/users", shouted),
        ("/v3/users", {"user": {"password": value}}),
        (f"/v3/users/{owner}/password", {"user": {"password": 1, "original_password": value}}),
        ("/v3/credentials", {"credential": {"type": 1, "blob": value, "user_id": owner}}),
        (
            f"/v3/users/{site.ids.admin_user_id}/application_credentials",
            {"application_credential": {"name": 1, "secret": value}},
        ),
    ):
        answer = await site.ask("POST", path, json=body)
        assert answer.status_code in (400, 401), path
        assert "hush-hush" not in answer.text, (path, answer.text)
