"""Bad input to the Compute API: the right status and message, nothing changed, nothing left, never a 500."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from compute_world import PROJECTS, NameGate, Site, caller
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilonova.cloud.image.model import NewImage
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.compute.routes import build_compute
from kilonova.edge.openstack.compute.schema import FORMATS
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import open_database
from kilonova.kit.http import Route, VersionedSchemas
from kilonova.kit.http.schema import Checker

GHOST = "00000000-0000-4000-8000-000000000000"
GIB = 1 << 30


CREATES: list[tuple[dict[str, Any], int, str]] = [
    ({"flavorRef": "none"}, 400, "Invalid flavorRef provided."),
    ({"flavorRef": ""}, 400, "too short"),
    ({"imageRef": GHOST}, 400, "Can not find requested image"),
    ({"imageRef": ""}, 400, "Invalid imageRef provided."),
    ({"imageRef": None}, 400, "Missing imageRef attribute"),
    ({"imageRef": "not a uuid"}, 400, "imageRef"),
    ({"key_name": "none"}, 400, "Invalid key_name provided."),
    ({"networks": [{"uuid": GHOST}]}, 400, f"Network {GHOST} could not be found."),
    ({"networks": [{"port": GHOST}]}, 400, f"Port id {GHOST} could not be found."),
    ({"networks": [{}]}, 400, "Bad network format"),
    ({"networks": "some"}, 400, "networks"),
    ({"networks": None}, 400, "'networks' is a required property"),
    ({"security_groups": [{"name": "none"}]}, 400, "none"),
    ({"availability_zone": "mars"}, 400, "The requested availability zone is not available"),
    ({"availability_zone": "nova:host1"}, 403, "os_compute_api:servers:create:forced_host"),
    ({"host": "host1"}, 403, "compute:servers:create:requested_destination"),
    ({"min_count": 3, "max_count": 2}, 400, "min_count must be <= max_count"),
    ({"max_count": 1001}, 400, "max_count must be <= 1000"),
    ({"min_count": 11}, 403, "Quota exceeded for instances: Requested 11, but already used 0 of 10 instances"),
    ({"flavorRef": "5", "min_count": 3}, 403, "Quota exceeded for cores: Requested 24"),
    ({"name": "x" * 256}, 400, "too long"),
    ({"name": "x" * 254, "max_count": 2}, 400, "too long to be numbered"),
    ({"name": "\x07"}, 400, "is not a 'name'"),
    ({"metadata": {"k": "v" * 256}}, 400, "too long"),
    ({"metadata": {"k": 5}}, 400, "not of type 'string'"),
    ({"metadata": {"k/l": "v"}}, 400, "k/l"),
    ({"user_data": "%%%"}, 400, "base64"),
    ({"user_data": "A" * 65536}, 400, "too long"),
    ({"colour": "blue"}, 400, "'colour' was unexpected"),
    ({"personality": []}, 400, "personality"),
    ({"block_device_mapping_v2": [{"source_type": "blank", "destination_type": "volume"}]}, 501, "Block devices"),
    ({"block_device_mapping": [{"device_name": "vda", "volume_id": GHOST}]}, 501, "volumes"),
]


@pytest.mark.parametrize(("values", "status", "message"), CREATES)
async def test_a_refused_create_leaves_nothing(still: Site, values: dict[str, Any], status: int, message: str) -> None:
    answer = await still.ann.post("/servers", json=still.body(**values))
    (body,) = answer.json().values()
    assert (answer.status_code, body["code"]) == (status, status), answer.text
    assert message in body["message"]
    assert (await still.admin.get("/servers?all_tenants=1")).json() == {"servers": []}
    assert {use.used for use in (await still.quotas.uses(PROJECTS["ann"])).values()} <= {0, 1}
    assert (await still.quotas.uses(PROJECTS["ann"]))["cores"].used == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_ram": 129}, "Flavor's memory is too small for requested image."),
        ({"min_disk": 2}, f"Flavor disk is {GIB} bytes, minimum size is {2 * GIB} bytes."),
    ],
)
async def test_an_image_that_needs_more_than_the_flavor_has(still: Site, values: dict[str, int], message: str) -> None:
    image = await still.add_image("big", **values)
    answer = await still.ann.post("/servers", json=still.body(imageRef=image))
    assert answer.status_code == 400
    assert message in answer.text


async def test_an_image_without_bytes(still: Site) -> None:
    image = (await still.images.create(caller("admin"), NewImage("empty", visibility="public"))).id
    answer = await still.ann.post("/servers", json=still.body(imageRef=image))
    assert (answer.status_code, answer.json()["badRequest"]["message"]) == (400, f"Image {image} is not active.")


async def test_bodies_that_are_none(still: Site) -> None:
    server_id = await still.make()
    for path in ("/servers", f"/servers/{server_id}/action", f"/servers/{server_id}/metadata", "/os-keypairs"):
        for data, status in ((b"", 400), (b"{", 400), (b"[]", 400), (b'{"a": "\xff"}', 400), (b'"x"', 400),
                             (b"[" * 100_000, 400), (b'{"x":"' + b"x" * 200_000 + b'"}', 413)):  # fmt: skip
            answer = await still.ann.post(path, content=data, headers={"content-type": "application/json"})
            assert answer.status_code == status, (path, data[:20])
        assert (await still.ann.post(path, content=b"<x/>", headers={"content-type": "text/xml"})).status_code == 415
    for token in ("", "nobody", "x" * 5000):
        assert (await still.ann.get("/servers", headers={"x-auth-token": token})).status_code == 401
    for bad in ("%ff", "%00", "x" * 300, "a/b/c"):
        assert (await still.ann.get(f"/servers/{bad}")).status_code in (400, 404)


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
    st.sampled_from(["", " ", "\u200b", "9" * 30, "-1", "x" * 256, "\ud7ff", GHOST]),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)  # fmt: skip


WORDS = [
    "",
    "1",
    "-1",
    "9" * 19,
    "true",
    "ACTIVE",
    "ERROR",
    "DELETED",
    "name",
    "asc",
    "[",
    "^x$",
    "\\",
    "%",
    "_",
    GHOST,
]
WORDS += ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "created_at", "None"]
QUERY = (
    "name status image flavor ip ip6 changes-since changes-before all_tenants deleted project_id locked tags "
    "availability_zone config_drive key_name power_state task_state vm_state user_id uuid host launch_index limit "
    "marker sort_key sort_dir minRam minDisk is_public tenant_id binary"
)


class Documents:
    """Documents like those that a schema asks for, now and then with junk at some place."""

    def __init__(self, image: str) -> None:
        self._samples = {
            "uuid": [image, image, GHOST], "name": ["x", "nova"], "printable": ["x"], "base64": ["aGk="],
            "ipv4": ["10.0.0.9"], "ipv6": ["fd00::9"],
        }  # fmt: skip

    def of(self, schema: Any) -> st.SearchStrategy[Any]:
        if "enum" in schema:
            fine: st.SearchStrategy[Any] = st.sampled_from(schema["enum"])
        elif "oneOf" in schema:
            rest = {key: value for key, value in schema.items() if key != "oneOf"}
            fine = st.one_of(*(self.of({**rest, **one}) for one in schema["oneOf"]))
        else:
            kind = schema.get("type", "null")
            fine = st.one_of(*(self._of_kind(k, schema) for k in (kind if isinstance(kind, list) else [kind])))
        return st.integers(0, 39).flatmap(lambda dice: JUNK if dice == 39 else fine)

    def _of_kind(self, kind: str, schema: Any) -> st.SearchStrategy[Any]:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return st.lists(self.of(schema.get("items", {})), min_size=schema.get("minItems", 0), max_size=2)
        if kind in ("integer", "number"):
            return st.integers(schema.get("minimum", -1), 3)
        if kind == "string":
            return st.sampled_from(self._samples.get(schema.get("format", ""), ["1", "ab"]))
        return st.none()

    def _object(self, schema: Any) -> st.SearchStrategy[Any]:
        if free := schema.get("patternProperties"):
            least = schema.get("minProperties", 0)
            return st.dictionaries(st.sampled_from("abc"), self.of(*free.values()), min_size=least, max_size=least or 2)
        named = schema.get("properties", {})
        # Without an image hardly any server would get past the first question.
        required = (*schema.get("required", ()), *({"imageRef"} & named.keys()))
        optional = sorted(named.keys() - set(required))

        def chosen(some: list[str]) -> st.SearchStrategy[Any]:
            return st.fixed_dictionaries({name: self.of(named[name]) for name in (*required, *some)})

        few = st.lists(st.sampled_from(optional), unique=True, max_size=3) if optional else st.just([])
        return few.flatmap(chosen)


class Loop:
    """A cloud in an event loop of its own, for tests that hypothesis drives."""

    def __init__(self, url: str, place: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self.run(self._open(url, place))

    async def _open(self, url: str, place: Path) -> None:
        self._db = await open_database(url, SystemClock())
        self.site = Site(self._db, place)
        await self.site.start(work=False)
        self.server = await self.site.make(self.site.admin)
        await self.site.quotas.set(PROJECTS["admin"], dict.fromkeys(("instances", "cores", "ram"), -1))

    def run(self, work: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            return await work

        return self._loop.run_until_complete(whole())

    def close(self) -> None:
        self.run(self.site.stop())
        self.run(self._db.close())
        self._loop.close()


@pytest.fixture
def loop(sqlite_url: str, tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(sqlite_url, tmp_path)
    yield loop
    loop.close()


def written_routes(site: Site) -> list[Route]:
    """Every route that takes a body."""
    gate: Any = NameGate()
    routes = build_compute(site.services, gate, "abcdef").routes
    return [r for r in routes if r.schema is not None and r.path.startswith("/v2.1/") and "{project_id" not in r.path]


def test_generated_bodies_never_break_anything(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    told: dict[str, Counter[str]] = {}
    for route in written_routes(loop.site):
        told[f"{route.method} {route.path} {route.action}"] = _assail(loop, route)
    with capsys.disabled():
        for name, counts in told.items():
            statuses = " ".join(f"{status}×{n}" for status, n in sorted(counts.items()) if status.isdecimal())
            sys.stdout.write(f"\n{name}: {counts['passed']} of {counts['sent']} passed the schema; {statuses}")
    assert all(counts["passed"] for counts in told.values())


def _assail(loop: Loop, route: Route) -> Counter[str]:
    site, counts = loop.site, Counter[str]()
    checker = Checker(FORMATS)
    path = route.path.removeprefix("/v2.1").replace("{server_id}", loop.server).replace("{tenant_id}", PROJECTS["ann"])
    for name, value in (("flavor_id", "42"), ("key", "a"), ("service_id", GHOST)):
        path = path.replace("{" + name + "}", value)
    versions = [v for v in ((2, 1), (2, 37), (2, 57), (2, 85), (2, 96)) if route.serves(v)]

    async def send(version: tuple[int, int], body: Any) -> httpx.Response:
        headers = {"openstack-api-version": f"compute 2.{version[1]}"}
        return await site.admin.request(route.method, path, json=body, headers=headers)

    def attempt(version: tuple[int, int], schema: Any, body: Any) -> None:
        answer = loop.run(send(version, body))
        counts[str(answer.status_code)] += 1
        counts["sent"] += 1
        assert answer.status_code < 500 or answer.status_code == 501, (path, version, body, answer.text)
        with suppress(Invalid):
            checker.check(schema, body, version)
            counts["passed"] += 1

    for version in versions:
        schema = route.schema.at(version) if isinstance(route.schema, VersionedSchemas) else route.schema
        _driven(attempt, version, schema, Documents(site.image))
    return counts


def _driven(
    attempt: Callable[[Any, Any, Any], None], version: tuple[int, int], schema: Any, documents: Documents
) -> None:
    @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(documents.of(schema))
    def drive(body: Any) -> None:
        attempt(version, schema, body)

    drive()


def test_generated_queries_never_break_anything(loop: Loop) -> None:
    gate: Any = NameGate()
    routes = [r for r in build_compute(loop.site.services, gate, "abcdef").routes if r.query is not None]
    paths = sorted({r.path.removeprefix("/v2.1") for r in routes if r.method == "GET" and "{" not in r.path})
    assert len(paths) > 12
    names = QUERY.split()
    value = st.one_of(st.text(max_size=8), st.sampled_from(WORDS))

    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(paths), st.integers(1, 104), st.lists(st.tuples(st.sampled_from(names), value), max_size=3))
    def drive(path: str, minor: int, query: list[tuple[str, str]]) -> None:
        headers = {"openstack-api-version": f"compute 2.{minor}"}
        pairs = [(name, text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")) for name, text in query]
        answer = loop.run(loop.site.admin.get(path, params=pairs, headers=headers))
        assert answer.status_code < 500 or answer.status_code == 501, (path, minor, query, answer.text)

    drive()
