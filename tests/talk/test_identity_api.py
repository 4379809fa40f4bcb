"""Identity API v3 over HTTP: what clients send and get, and what bad input gets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from identity_site import DEMO, ON_DEMO, Site, open_site

from kilonova.edge.openstack.identity.policy import RULES
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit import log
from kilonova.kit.http import AUTHENTICATED, PUBLIC
from kilonova.kit.http.route import refuse_unbuilt

OPEN_TO_ALL = {"/", "/v3", "/v3/auth/tokens", "/v3/users/{user_id}/password"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as one:
        yield one


async def test_clients_discover_the_version(site: Site) -> None:
    root, version = await site.client.get("/"), await site.client.get("/v3/")
    assert (root.status_code, version.status_code) == (300, 200)
    assert root.json()["versions"]["values"] == [version.json()["version"]]
    assert version.json()["version"]["links"] == [{"rel": "self", "href": "http://cloud:8774/identity/v3/"}]


async def test_a_token_tells_who_where_and_what(site: Site) -> None:
    answer = await site.log_in()
    assert answer.status_code == 201
    assert len(answer.headers["x-subject-token"]) < 255
    token = answer.json()["token"]
    home = {"id": "default", "name": "Default"}
    assert token["user"] == {
        "id": site.ids.demo_user_id,
        "name": "demo",
        "domain": home,
        "password_expires_at": None,
    }
    assert token["project"] == {"id": site.ids.demo_project_id, "name": "demo", "domain": home}
    assert [role["name"] for role in token["roles"]] == ["member", "reader"]
    assert (token["methods"], token["is_domain"]) == (["password"], False)
    compute = next(entry for entry in token["catalog"] if entry["type"] == "compute")
    assert {e["interface"]: e["url"] for e in compute["endpoints"]} == dict.fromkeys(
        ("public", "internal", "admin"), "http://cloud:8774/compute/v2.1"
    )


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        ({}, 400),
        ({"identity": {}}, 400),
        ({"identity": {"methods": []}}, 400),
        ({"identity": {"methods": "password"}}, 400),
        ({"identity": {"methods": ["password"]}}, 400),
        ({"identity": {"methods": ["password"], "password": {"user": {"name": "demo", "password": "demopw"}}}}, 400),
        ({"identity": {"methods": ["password"], "password": {"user": {**DEMO, "password": 1}}}}, 400),
        ({"identity": {"methods": ["password"], "password": {"user": {**DEMO, "name": "x" * 256}}}}, 400),
        ({"identity": {"methods": ["password"], "password": {"user": {**DEMO, "name": "x" * 255}}}}, 401),
        ({"identity": {"methods": ["password"], "password": {"user": {**DEMO, "password": "x" * 50_000}}}}, 401),
        ({"identity": {"methods": ["password"], "password": {"user": {**DEMO, "password": ""}}}}, 401),
        (
            {"identity": {"methods": ["password"], "password": {"user": DEMO}}, "scope": {"project": {"name": "demo"}}},
            400,
        ),
        (
            {"identity": {"methods": ["password"], "password": {"user": DEMO}}, "scope": {"project": {}, "domain": {}}},
            400,
        ),
        ({"identity": {"methods": ["password"], "password": {"user": DEMO}}, "scope": "all"}, 400),
        ({"identity": {"methods": ["password"], "password": {"user": DEMO}}, "scope": {"system": {"all": False}}}, 400),
        ({"identity": {"methods": ["password"], "password": {"user": DEMO}}, "scope": {"system": {"all": True}}}, 401),
        ({"identity": {"methods": ["token"], "token": {"id": "forged"}}}, 404),
        ({"identity": {"methods": ["unknown"]}}, 401),
        ({"identity": {"methods": ["totp"]}}, 400),
        ({"identity": {"methods": ["mapped"]}}, 501),
    ],
)
async def test_a_bad_login_is_told_so(site: Site, auth: Any, status: int) -> None:
    answer = await site.client.post("/v3/auth/tokens", json={"auth": auth})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)
    assert "x-subject-token" not in answer.headers


async def test_without_a_token_the_client_hears_where_to_get_one(site: Site) -> None:
    for headers in ({}, {"x-auth-token": "forged"}, {"x-auth-token": ""}):
        answer = await site.client.get("/v3/users", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Keystone uri="http://cloud:8774/identity"'
        assert answer.json()["error"]["title"] == "Unauthorized"


async def test_nothing_is_told_without_a_token(site: Site) -> None:
    closed = {(r.method, r.path) for r in site.service.routes if r.policy != PUBLIC}
    assert len(closed) > 80
    for method, path in sorted(closed):
        answer = await site.client.request("GET" if method == "*" else method, path.replace("{", "").replace("}", ""))
        assert answer.status_code == 401, (method, path)
        assert method == "HEAD" or set(answer.json()) == {"error"}


async def test_a_token_is_validated_and_revoked(site: Site) -> None:
    mine, other = await site.token(), await site.token("admin")

    async def about(method: str, subject: str, token: str) -> int:
        headers = {"x-auth-token": token, "x-subject-token": subject}
        return (await site.client.request(method, "/v3/auth/tokens", headers=headers)).status_code

    assert await about("GET", mine, mine) == 200
    assert await about("HEAD", mine, other) == 200
    assert await about("GET", other, mine) == 403
    assert await about("GET", "forged", other) == 404
    assert await about("DELETE", other, mine) == 403
    assert await about("DELETE", mine, mine) == 204
    assert await about("GET", mine, other) == 404
    assert await about("GET", mine, mine) == 401
    headers = {"x-auth-token": other, "x-subject-token": other}
    short = await site.client.get("/v3/auth/tokens?nocatalog", headers=headers)
    assert "catalog" not in short.json()["token"]


async def test_a_token_opens_another_scope(site: Site) -> None:
    first = await site.log_in(scope={"unscoped": {}})
    assert "project" not in first.json()["token"]
    identity = {"methods": ["token"], "token": {"id": first.headers["x-subject-token"]}}
    second = await site.client.post("/v3/auth/tokens", json={"auth": {"identity": identity, "scope": ON_DEMO}})
    assert second.json()["token"]["project"]["id"] == site.ids.demo_project_id
    assert second.json()["token"]["expires_at"] == first.json()["token"]["expires_at"]


@pytest.mark.parametrize(
    ("path", "admin", "demo"),
    [
        ("/v3/projects", 200, 403),
        ("/v3/users", 200, 403),
        ("/v3/roles", 200, 403),
        ("/v3/domains", 200, 403),
        ("/v3/services", 200, 403),
        ("/v3/endpoints", 200, 403),
        ("/v3/role_assignments?include_names", 200, 403),
        ("/v3/role_inferences", 200, 403),
        ("/v3/regions", 200, 200),
        ("/v3/regions/none", 404, 404),
        ("/v3/auth/catalog", 200, 200),
        ("/v3/auth/projects", 200, 200),
        ("/v3/auth/domains", 200, 200),
        ("/v3/auth/system", 200, 200),
        ("/v3/users/{demo_user_id}", 200, 200),
        ("/v3/users/{demo_user_id}/projects", 200, 200),
        ("/v3/users/{admin_user_id}", 200, 403),
        ("/v3/projects/{demo_project_id}", 200, 200),
        ("/v3/projects/{admin_project_id}", 200, 403),
        ("/v3/users/none", 404, 403),
        ("/v3/projects?enabled=maybe", 400, 403),
        ("/v3/groups", 200, 403),
        ("/v3/users/x/credentials/OS-EC2", 404, 403),
        ("/v3/nonsense", 404, 404),
    ],
)
async def test_roles_decide_what_is_seen(site: Site, path: str, admin: int, demo: int) -> None:
    path = path.format(demo_user_id=site.ids.demo_user_id, admin_user_id=site.ids.admin_user_id,
        demo_project_id=site.ids.demo_project_id, admin_project_id=site.ids.admin_project_id)  # fmt: skip
    assert (await site.ask("GET", path)).status_code == admin
    assert (await site.ask("GET", path, "demo")).status_code == demo


@pytest.mark.parametrize("kind", ["domain", "project", "user", "role"])
async def test_the_life_of_a_row(site: Site, kind: str) -> None:
    path = f"/v3/{kind}s"
    assert (await site.ask("POST", path, "demo", json={kind: {"name": "n"}})).status_code == 403
    made = await site.ask("POST", path, json={kind: {"name": "n", "description": "d", "flavour": "mint"}})
    assert made.status_code == 201
    row = made.json()[kind]
    assert (row["flavour"], row["description"]) == ("mint", "d")
    one = f"{path}/{row['id']}"
    assert row["links"]["self"] == f"http://cloud:8774/identity{one}"
    assert (await site.ask("POST", path, json={kind: {"name": "n"}})).status_code == 409
    assert [r["id"] for r in (await site.ask("GET", f"{path}?name=n")).json()[f"{kind}s"]] == [row["id"]]
    changed = await site.ask("PATCH", one, json={kind: {"description": "e", "colour": "red"}})
    assert {k: changed.json()[kind][k] for k in ("name", "description", "flavour", "colour")} == {
        "name": "n",
        "description": "e",
        "flavour": "mint",
        "colour": "red",
    }
    if kind == "domain":
        assert (await site.ask("DELETE", one)).status_code == 403
        assert (await site.ask("PATCH", one, json={kind: {"enabled": False}})).status_code == 200
    assert (await site.ask("DELETE", one)).status_code == 204
    assert (await site.ask("GET", one)).status_code == 404
    assert (await site.ask("DELETE", one)).status_code == 404


@pytest.mark.parametrize("kind", ["domain", "project", "user", "role"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 256},
        {"name": 1},
        {"name": None},
        {"name": "x", "description": 1},
        [],
    ],
)
async def test_bad_rows_are_refused(site: Site, kind: str, given: Any) -> None:
    answer = await site.ask("POST", f"/v3/{kind}s", json={kind: given})
    assert answer.status_code == 400
    assert (await site.ask("POST", f"/v3/{kind}s", json={"other": {"name": "x"}})).status_code == 400


async def test_grants_are_given_checked_and_taken(site: Site) -> None:
    ids = site.ids
    for place in (f"projects/{ids.admin_project_id}", "domains/default", "system"):
        roles = f"/v3/{place}/users/{ids.demo_user_id}/roles"
        one = f"{roles}/{ids.role_ids['reader']}"
        assert (await site.ask("HEAD", one)).status_code == 404
        assert (await site.ask("PUT", one, "demo")).status_code == 403
        assert (await site.ask("PUT", one)).status_code == 204
        assert (await site.ask("HEAD", one)).status_code == 204
        assert [r["name"] for r in (await site.ask("GET", roles)).json()["roles"]] == ["reader"]
        assert (await site.ask("DELETE", one)).status_code == 204
        assert (await site.ask("DELETE", one)).status_code == 404
        assert (await site.ask("PUT", f"{roles}/none")).status_code == 404
    effective = f"/v3/role_assignments?effective&user.id={ids.demo_user_id}&include_names=1"
    found = (await site.ask("GET", effective)).json()["role_assignments"]
    assert [(one["role"]["name"], one["scope"]["project"]["name"]) for one in found] == [
        ("member", "demo"),
        ("reader", "demo"),
    ]


async def test_a_user_changes_the_password(site: Site) -> None:
    path = f"/v3/users/{site.ids.demo_user_id}/password"
    for original, status in (("wrong", 401), ("demopw", 204)):
        body = {"user": {"original_password": original, "password": "next"}}
        assert (await site.client.post(path, json=body)).status_code == status
    assert (await site.log_in()).status_code == 401
    assert (await site.log_in({**DEMO, "password": "next"})).status_code == 201


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Everything that is logged."""
    root, written = logging.getLogger(), io.StringIO()
    before = root.handlers[:], root.level
    log.set_up("debug", written)
    yield written
    root.handlers[:], root.level = before


async def test_secrets_are_never_logged(site: Site, lines: io.StringIO) -> None:
    token = await site.token()
    await site.log_in({**DEMO, "password": "wrong-password"})
    await site.log_in({**DEMO, "password": 12345678})
    await site.ask("GET", "/v3/auth/tokens", headers={"x-subject-token": token})
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert {e["status"] for e in events if e["event"] == "request"} == {200, 201, 400, 401}
    assert all(e["request_id"].startswith("req-") for e in events if e["event"] == "request")
    for secret in ("demopw", "wrong-password", "12345678", token):
        assert secret not in lines.getvalue()


async def test_every_route_has_a_rule(site: Site) -> None:
    enforcer = Enforcer(RULES)
    for route in site.service.routes:
        if route.policy == PUBLIC:
            assert route.path in OPEN_TO_ALL, route.path
        elif route.policy == AUTHENTICATED:
            assert route.handler is refuse_unbuilt, route.path
        else:
            assert enforcer.has(route.policy), (route.path, route.policy)
