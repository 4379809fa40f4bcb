"""Routes as data: matching, versions, bodies, policy, failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from kilonova.core.context import Context
from kilonova.core.errors import Conflict, Failure, Unauthenticated
from kilonova.kit.http import (
    AUTHENTICATED,
    PUBLIC,
    App,
    Request,
    Response,
    Route,
    Service,
    VersionedSchemas,
    Versioning,
    query,
    single,
    status_of,
    unbuilt,
)

COUNT = {
    "type": "object",
    "properties": {"count": {"type": "integer", "minimum": 1}, "name": {"type": "string", "maxLength": 3}},
    "required": ["count"],
    "additionalProperties": False,
}
LOOSE = {"type": "object"}


class Door:
    """Lets `x-auth-token: USER` in; the rule `closed` is for nobody and `own` for the project of the same name."""

    async def authenticate(self, request: Request) -> Context:
        token = request.header("x-auth-token")
        if not token:
            raise Unauthenticated("who?")
        return Context(token, token, frozenset({"member"}), request.request_id)

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        return rule == "open" or (rule == "own" and target["project_id"] == context.project_id)


def fault(failure: Failure, request: Request) -> Response:
    return Response.json({"code": status_of(failure), "message": failure.message}, status_of(failure))


async def echo(request: Request) -> Mapping[str, Any]:
    route = request.route
    assert route is not None
    return {
        "route": route.path,
        "action": route.action,
        "params": request.params,
        "json": request.json,
        "version": request.version,
        "url": request.service_url,
        "query": request.query,
    }


async def measure(request: Request) -> Mapping[str, Any]:
    return {"bytes": sum([len(chunk) async for chunk in request.stream(1000)])}


async def refuse(request: Request) -> None:
    raise Conflict("busy", detail="secret detail")


async def break_down(request: Request) -> None:
    raise RuntimeError("secret detail")


async def stream_out(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    return Response(200, chunks(), [("content-type", "application/octet-stream")])


async def split_header(request: Request) -> Response:
    return Response(200, b"", [("location", "x\r\nset-cookie: a=b")])


ROUTES = [
    Route("GET", "/things", echo, "open", query=query({"limit": single({"type": "string", "pattern": "^[0-9]+$"})})),
    Route("POST", "/things", echo, "open", schema=COUNT, success=202),
    Route("GET", "/things/detail", echo, "open"),
    Route("GET", "/things/{id}", echo, "open"),
    Route("DELETE", "/things/{id}", refuse, "open"),
    Route("POST", "/things/{id}/action", echo, "open", action="start"),
    Route("POST", "/things/{id}/action", echo, "closed", action="stop"),
    Route("POST", "/things/{id}/action", echo, "open", action="new", min_version=(2, 5), schema=LOOSE),
    Route("GET", "/new", echo, "open", min_version=(2, 5)),
    Route("GET", "/old", echo, "open", max_version=(2, 4)),
    Route("POST", "/shifting", echo, "open", schema=VersionedSchemas({(2, 1): COUNT, (2, 5): LOOSE})),
    Route("PUT", "/bytes", measure, "open", body="stream"),
    Route("GET", "/stream", stream_out, "open"),
    Route("GET", "/broken", break_down, "open"),
    Route("GET", "/header", split_header, "open"),
    Route("GET", "/closed", echo, "closed"),
    Route("GET", "/projects/{project_id}", echo, "own"),
    Route("GET", "/public", echo, PUBLIC),
    Route("GET", "/known", echo, AUTHENTICATED),
    Route("GET", "/keys/{bucket}/{key:path}", echo, "open"),
    *unbuilt("/later", "/later/{rest:path}"),
]
SEEN: list[tuple[str, str, int]] = []


def build(**extra: Any) -> App:
    def observe(service: str, path: str, status: int, seconds: float) -> None:
        SEEN.append((service, path, status))

    service = Service(
        "things",
        "/svc",
        ROUTES,
        fault,
        Door(),
        roots=("/v2", "/v2/{tenant:p[0-9]+}"),
        versioning=Versioning("things", (2, 1), (2, 9), "API-Version", "X-Old-Version"),
        request_id_headers=("x-openstack-request-id", "x-things-request-id"),
        observe=observe,
    )
    return App([service], **extra)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-auth-token": "ann"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(build()), base_url="http://cloud:8774", headers=headers
    ) as one:
        yield one


@pytest.mark.parametrize(
    ("path", "route", "params"),
    [
        ("/svc/v2/things/7", "/things/{id}", {"id": "7"}),
        ("/svc/v2/things/detail", "/things/detail", {}),
        ("/svc/v2/things/7/", "/things/{id}", {"id": "7"}),
        ("/svc/v2/p1/things/7", "/things/{id}", {"tenant": "p1", "id": "7"}),
        ("/svc/v2/things/a%2Fb", "/things/{id}", {"id": "a/b"}),
        ("/svc/v2/things/%C3%BC", "/things/{id}", {"id": "ü"}),
        ("/svc/v2/keys/b/x/y%20z/", "/keys/{bucket}/{key:path}", {"bucket": "b", "key": "x/y z/"}),
    ],
)
async def test_a_path_finds_its_route(client: httpx.AsyncClient, path: str, route: str, params: dict[str, str]) -> None:
    answer = (await client.get(path)).json()
    assert (answer["route"], answer["params"], answer["url"]) == (route, params, "http://cloud:8774/svc")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/svc/v2/nothing", 404),
        ("GET", "/nothing", 404),
        ("PUT", "/svc/v2/things", 405),
        ("DELETE", "/svc/v2/things/detail", 409),
        ("GET", "/svc/v2/later", 501),
        ("DELETE", "/svc/v2/later/x/y", 501),
        ("GET", "/svc/v2/closed", 403),
        ("GET", "/svc/v2/projects/ann", 200),
        ("GET", "/svc/v2/projects/bob", 403),
        ("GET", "/svc/v2/known", 200),
        ("GET", "/svc/v2/things/%ff", 400),
        ("GET", "/svc/v2/things/%00", 400),
        ("GET", "/svc/v2/things?limit=-1", 400),
        ("GET", "/svc/v2/things?limit=1&limit=2", 400),
        ("GET", "/svc/v2/things?limit=%ff", 400),
        ("GET", "/svc/v2/things?limit=12&x=y", 200),
        ("GET", "/svc/v2/broken", 500),
        ("GET", "/svc/v2/old", 200),
        ("GET", "/svc/v2/new", 404),
    ],
)
async def test_the_status_says_what_happened(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert "secret" not in answer.text
    if path.startswith("/svc"):
        assert answer.headers["x-things-request-id"] == answer.headers["x-openstack-request-id"]
        assert answer.headers["vary"] == "API-Version, X-Old-Version"
    if status == 405:
        assert answer.json()["message"] == "The method is not allowed for this resource."


async def test_head_answers_where_get_does(client: httpx.AsyncClient) -> None:
    answer = await client.head("/svc/v2/things/7")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_nobody_gets_in_without_a_token(client: httpx.AsyncClient) -> None:
    del client.headers["x-auth-token"]
    assert (await client.post("/svc/v2/things", content=b"{")).status_code == 401
    assert (await client.get("/svc/v2/later")).status_code == 401
    assert (await client.get("/svc/v2/public")).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"count": 1}', 202, ""),
        (b'{"count": "1"}', 400, "Invalid input for field/attribute count. Value: 1. '1' is not of type 'integer'"),
        (b'{"count": 0}', 400, "0 is less than the minimum of 1"),
        (b'{"count": 1, "name": "long"}', 400, "'long' is too long"),
        (b"{}", 400, "'count' is a required property"),
        (b'{"count": 1, "x": 2}', 400, "Additional properties are not allowed ('x' was unexpected)"),
        (b"", 400, "None is not of type 'object'"),
        (b"{", 400, "not valid JSON"),
        (b'{"count": NaN}', 400, "not valid JSON"),
        (b'{"name": "\xff"}', 400, "Malformed"),
        (b'{"name": "\\ud800"}', 400, "Malformed"),
        (b'{"count": 1, "name": "\\u0000"}', 400, "NUL"),
        (b'{"count": 1' + b"0" * 400 + b"}", 202, ""),
        (b'{"count": 1e999}', 400, "Malformed"),
        (b"[" * 1000 + b"]" * 1000, 400, "Malformed"),
        (b"[" * 40 + b"]" * 40, 400, "too deep"),
        (b"[" + b"1," * 25000 + b"1]", 400, "too many"),
        (b'{"name": "' + b"x" * 120_000 + b'"}', 413, "too large"),
    ],
)
async def test_bodies_are_checked(client: httpx.AsyncClient, body: bytes, status: int, says: str) -> None:
    answer = await client.post("/svc/v2/things", content=body)
    assert (answer.status_code, says in answer.text.replace('\\"', '"')) == (status, True), answer.text[:300]


async def test_other_media_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/svc/v2/things", content=b"a=1", headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    good = await client.post(
        "/svc/v2/things", content=b'{"count":1}', headers={"content-type": "application/json; a=b"}
    )
    assert good.status_code == 202


@pytest.mark.parametrize(
    ("body", "version", "status"),
    [
        ({"start": None}, "2.1", 200),
        ({"stop": None}, "2.1", 403),
        ({"new": {}}, "2.1", 400),
        ({"new": {}}, "2.5", 200),
        ({"start": None, "stop": None}, "2.1", 400),
        ([], "2.1", 400),
        ({"other": 1}, "2.1", 400),
    ],
)
async def test_an_action_is_the_bodys_sole_member(
    client: httpx.AsyncClient, body: Any, version: str, status: int
) -> None:
    answer = await client.post("/svc/v2/things/7/action", json=body, headers={"x-old-version": version})
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["action"] == next(iter(body))


@pytest.mark.parametrize(
    ("headers", "status", "version"),
    [
        ({}, 200, "2.1"),
        ({"api-version": "things 2.7"}, 200, "2.7"),
        ({"api-version": "other 9.9, things 2.7"}, 200, "2.7"),
        ({"api-version": "other 9.9"}, 200, "2.1"),
        ({"api-version": "things latest"}, 200, "2.9"),
        ({"x-old-version": "2.3"}, 200, "2.3"),
        ({"x-old-version": "2.3", "api-version": "things 2.4"}, 200, "2.4"),
        ({"api-version": "things 2.10"}, 406, "2.1"),
        ({"api-version": "things 3.1"}, 406, "2.1"),
        ({"api-version": "things 2.01"}, 400, "2.1"),
        ({"api-version": "things two"}, 400, "2.1"),
        ({"api-version": "things 2.1 2.2"}, 400, "2.1"),
    ],
)
async def test_versions_are_negotiated(
    client: httpx.AsyncClient, headers: dict[str, str], status: int, version: str
) -> None:
    answer = await client.get("/svc/v2/things", headers=headers)
    assert (answer.status_code, answer.headers["api-version"]) == (status, f"things {version}")
    assert answer.headers["x-old-version"] == version


async def test_a_schema_follows_the_version(client: httpx.AsyncClient) -> None:
    assert (await client.post("/svc/v2/shifting", json={})).status_code == 400
    newer = await client.post("/svc/v2/shifting", json={}, headers={"x-old-version": "2.6"})
    assert newer.status_code == 200


async def test_streams_go_both_ways(client: httpx.AsyncClient) -> None:
    assert (await client.put("/svc/v2/bytes", content=b"x" * 1000)).json() == {"bytes": 1000}
    assert (await client.put("/svc/v2/bytes", content=b"x" * 1001)).status_code == 413
    assert (await client.get("/svc/v2/stream")).content == b"abcd"


async def test_a_header_cannot_smuggle_another(client: httpx.AsyncClient) -> None:
    answer = await client.get("/svc/v2/header")
    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("extra", "headers", "url"),
    [
        ({}, {"host": "a.b:1"}, "http://a.b:1/svc"),
        ({}, {"host": "[::1]:5"}, "http://[::1]:5/svc"),
        ({}, {"x-forwarded-proto": "https"}, "http://cloud:8774/svc"),
        ({"trust_forwarded": True}, {"x-forwarded-proto": "https", "x-forwarded-host": "x.y"}, "https://x.y/svc"),
        ({"trust_forwarded": True}, {"x-forwarded-proto": "ftp"}, "http://cloud:8774/svc"),
        ({"public_url": "https://p/"}, {"host": "evil"}, "https://p/svc"),
        ({}, {"host": "a/<script>"}, "http://cloud/svc"),
    ],
)
async def test_links_begin_where_the_client_is(extra: dict[str, Any], headers: dict[str, str], url: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build(**extra)), base_url="http://cloud:8774") as client:
        shown = (await client.get("/svc/v2/public", headers=headers)).json()["url"]
    assert shown.replace("cloud:8774", "cloud") == url.replace("cloud:8774", "cloud")


async def test_answers_are_observed(client: httpx.AsyncClient) -> None:
    SEEN.clear()
    await client.get("/svc/v2/things/7")
    await client.get("/svc/v2/zzz")
    assert SEEN == [("things", "/things/{id}", 200), ("things", "", 404)]


def test_two_services_cannot_share_a_prefix() -> None:
    service = Service("a", "/a", [], fault)
    with pytest.raises(ValueError, match="prefix"):
        App([service, service])
