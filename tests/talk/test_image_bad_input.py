"""The Image API over HTTP: what bad input gets, and that it changes nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_site import BYTES, MIB, PATCH, RAW, Site, open_site, qcow2

from kilonova.cloud.quota import store as quota
from kilonova.edge.openstack.image.schema import READ_ONLY, WRITABLE
from kilonova.kit.db import Database
from kilonova.kit.http.server import Server


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database, tmp_path) as site:
        yield site


REFUSED_BYTES = {
    "raw that is qcow2": ({}, qcow2(), 415, "it is qcow2"),
    "qcow2 with a backing file": ({"disk_format": "qcow2"}, qcow2(backing=512), 415, "has a backing file"),
    "oversize": ({}, bytes(17 * MIB), 413, "larger than"),
    "no format": ({"disk_format": None}, RAW, 400, "must be set"),
}


@pytest.mark.parametrize("case", REFUSED_BYTES)
async def test_bad_bytes_change_nothing(site: Site, case: str) -> None:
    values, data, status, message = REFUSED_BYTES[case]
    image_id = await site.create(**values)
    answer = await site.fill(image_id, data)
    assert (answer.status_code, message in answer.text) == (status, True), answer.text
    assert (await site.ann.get(f"/v2/images/{image_id}")).json()["status"] == "queued"
    assert site.files() == []


async def test_an_announced_length_too_large_is_refused_before_a_byte_is_read(site: Site) -> None:
    image_id = await site.create()

    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was asked for")
        yield b""

    headers = {**BYTES, "content-length": str(17 * MIB)}
    answer = await site.ann.put(f"/v2/images/{image_id}/file", content=never(), headers=headers)
    assert answer.status_code == 413


async def test_quota_is_413_and_counts_what_is_stored(site: Site) -> None:
    await site.db.write(lambda tx: quota.set_limit(tx, "ann", "image_bytes", len(RAW) + 5))
    assert (await site.fill(await site.create())).status_code == 204
    full = await site.create()
    answer = await site.fill(full, b"123456")
    assert (answer.status_code, "quota" in answer.text) == (413, True)
    assert (await site.fill(full, b"12345")).status_code == 204
    assert len(site.files()) == 2


async def test_the_properties_of_an_image_are_bounded_together(site: Site) -> None:
    half = "\u00e9" * 16300
    assert (await site.ann.post("/v2/images", json={"a": half, "b": half, "c": "x" * 500})).status_code == 413
    assert (await site.ann.get("/v2/images")).json()["images"] == []
    image_id = await site.create(a=half, b=half)
    answer = await site.patch(image_id, {"op": "add", "path": "/c", "value": "x" * 500})
    assert (answer.status_code, "65536 bytes" in answer.text) == (413, True)
    assert "c" not in (await site.ann.get(f"/v2/images/{image_id}")).json()
    room = {"op": "replace", "path": "/a", "value": half[:-250]}
    assert (await site.patch(image_id, room, {"op": "add", "path": "/c", "value": "x" * 500})).status_code == 200


async def test_an_upload_cut_off_half_way_leaves_a_queued_image(site: Site) -> None:
    image_id = await site.create()
    server = Server(site.app, "127.0.0.1", 0)
    serving = asyncio.create_task(server.serve())
    await server.ready.wait()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"PUT /image/v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: ann\r\n"
    writer.write(f"{head}Content-Type: application/octet-stream\r\nContent-Length: {len(RAW)}\r\n\r\n".encode())
    writer.write(RAW[: 3 * MIB])
    await writer.drain()
    statuses = []
    for _ in range(400):
        statuses.append((await site.ann.get(f"/v2/images/{image_id}")).json()["status"])
        if statuses[-1] == "saving" and not writer.is_closing():
            writer.close()
        if statuses[-1] == "queued" and "saving" in statuses:
            break
        await asyncio.sleep(0.02)
    assert statuses[-1] == "queued"
    assert "saving" in statuses
    assert site.files() == []
    assert (await site.fill(image_id)).status_code == 204
    server.stop()
    await serving


BAD_BODIES = {
    "not JSON": (b"{", 400),
    "not UTF-8": (b'{"name": "\xff"}', 400),
    "half a surrogate pair": (b'{"name": "\\ud800"}', 400),
    "not an object": (b"[]", 400),
    "wrong type": (b'{"name": 5}', 400),
    "name of 256 characters": (json.dumps({"name": "n" * 256}).encode(), 400),
    "negative size": (b'{"min_disk": -1}', 400),
    "huge number": (b'{"min_ram": 2147483648}', 400),
    "unknown format": (b'{"disk_format": "floppy"}', 400),
    "unknown visibility": (b'{"visibility": "secret"}', 400),
    "property that is no text": (b'{"cpus": 4}', 400),
    "bad id": (b'{"id": "x"}', 400),
    "read-only": (b'{"size": 5}', 403),
    "reserved": (b'{"locations": []}', 403),
    "public": (b'{"visibility": "public"}', 403),
    "other owner": (b'{"owner": "bob"}', 403),
    "too many tags": (json.dumps({"tags": [str(n) for n in range(129)]}).encode(), 413),
    "oversized": (b'{"a": "' + b"x" * 200_000 + b'"}', 413),
}


@pytest.mark.parametrize("case", BAD_BODIES)
async def test_bad_records_are_refused(site: Site, case: str) -> None:
    body, status = BAD_BODIES[case]
    answer = await site.ann.post("/v2/images", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert (await site.admin.get("/v2/images")).json()["images"] == []


BAD_PATCHES = {
    "unknown op": ({"op": "copy", "path": "/name"}, 400),
    "no value": ({"op": "add", "path": "/name"}, 400),
    "no path": ({"op": "add", "value": "x"}, 400),
    "path without slash": ({"op": "add", "path": "name", "value": "x"}, 400),
    "deep path": ({"op": "add", "path": "/tags/0", "value": "x"}, 400),
    "wrong type": ({"op": "replace", "path": "/name", "value": 7}, 400),
    "not an object": ("replace", 400),
    "absent property": ({"op": "replace", "path": "/absent", "value": "x"}, 409),
    "absent to remove": ({"op": "remove", "path": "/absent"}, 409),
    "attribute to remove": ({"op": "remove", "path": "/name"}, 403),
    "read-only": ({"op": "replace", "path": "/status", "value": "active"}, 403),
    "id": ({"op": "replace", "path": "/id", "value": str(uuid.uuid4())}, 403),
    "public": ({"op": "replace", "path": "/visibility", "value": "public"}, 403),
    "other owner": ({"op": "replace", "path": "/owner", "value": "bob"}, 403),
    "no owner": ({"op": "replace", "path": "/owner", "value": None}, 400),
}


@pytest.mark.parametrize("case", BAD_PATCHES)
async def test_bad_updates_change_nothing(site: Site, case: str) -> None:
    step, status = BAD_PATCHES[case]
    image_id = await site.create()
    before = (await site.ann.get(f"/v2/images/{image_id}")).json()
    answer = await site.patch(image_id, {"op": "replace", "path": "/name", "value": "changed"}, step)
    assert answer.status_code == status, answer.text
    assert (await site.ann.get(f"/v2/images/{image_id}")).json() == before


async def test_media_types(site: Site) -> None:
    image_id = await site.create()
    assert (await site.ann.patch(f"/v2/images/{image_id}", json=[])).status_code == 415
    answer = await site.ann.put(f"/v2/images/{image_id}/file", json={})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=x",
        "marker=absent",
        "sort_key=secret",
        "sort=name:up",
        "sort_dir=up",
        "size_min=-1",
        "size_max=x",
        "visibility=secret",
        "status=odd",
        "os_hidden=5",
        "protected=maybe",
        "created_at=yesterday",
        "created_at=near:2020-01-01",
        "sort=name&sort_key=name",
        "name=in:",
        'name=in:"a',
        "updated_at=2020-99-99",
        "name=%ff",
        "created_at=gt:0001-01-01",
    ],
)
async def test_bad_queries(site: Site, query: str) -> None:
    answer = await site.ann.get(f"/v2/images?{query}")
    assert answer.status_code == (200 if "0001" in query else 400), answer.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*WRITABLE, *READ_ONLY, "locations", "os_distro", ""]) | st.text()
PLAUSIBLE = st.sampled_from(
    ["raw", "public", "", str(uuid.UUID(int=7)), "n" * 256, 0, 1.0, 2**31, 2**63, True, [], ["a"]]
)
STEPS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "replace", "remove"]) | JSON, "path": NAMES.map(lambda name: f"/{name}") | JSON},
    optional={"value": PLAUSIBLE | JSON},
)


async def test_generated_bodies_never_break_it(site: Site) -> None:
    image_id = await site.create()
    counts: dict[str, dict[int, int]] = {"create": {}, "update": {}}

    def count(kind: str, answer: httpx.Response) -> None:
        assert answer.status_code in (200, 201, 400, 403, 409, 413), (answer.status_code, answer.request.content)
        counts[kind][answer.status_code] = counts[kind].get(answer.status_code, 0) + 1

    async def send(create: object, update: object) -> None:
        body = json.dumps(create).encode()
        count("create", await site.ann.post("/v2/images", content=body, headers={"content-type": "application/json"}))
        body = json.dumps(update).encode()
        count("update", await site.ann.patch(f"/v2/images/{image_id}", content=body, headers=PATCH))

    loop = asyncio.get_running_loop()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.dictionaries(NAMES, PLAUSIBLE | JSON, max_size=3) | JSON, st.lists(STEPS, max_size=3) | JSON)
    def run(create: object, update: object) -> None:
        asyncio.run_coroutine_threadsafe(send(create, update), loop).result(30)

    await asyncio.to_thread(run)
    assert (await site.ann.get("/v2/images?limit=1000&visibility=all")).status_code == 200
    assert counts["create"].get(201, 0) > 10, counts
    assert counts["update"].get(200, 0) > 3, counts
    logging.getLogger(__name__).info("bodies by status: %s", counts)
