"""The Image API over HTTP: what clients send and get, and what bad input gets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import struct
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.upload import ImageUpload
from kilonova.cloud.quota import store as quota
from kilonova.core.context import Context
from kilonova.core.errors import Unauthenticated
from kilonova.edge.openstack.image.policy import RULES
from kilonova.edge.openstack.image.routes import build_image_service
from kilonova.edge.openstack.image.schema import READ_ONLY, WRITABLE
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit.blob import DirectoryBlobs
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database
from kilonova.kit.http import App, Request
from kilonova.kit.http.server import Server

MIB = 1 << 20
RAW = bytes(range(256)) * 16384
PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
OLD_PATCH = {"content-type": "application/openstack-images-v2.0-json-patch"}
BYTES = {"content-type": "application/octet-stream"}


def qcow2(virtual: int = MIB, backing: int = 0) -> bytes:
    return struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing, 0, 16, virtual).ljust(65536, b"\0")


class Tokens:
    """A gate that knows three tokens: ann, bob and admin, each of a project of that name."""

    def __init__(self) -> None:
        self._enforcer = Enforcer(RULES)

    async def authenticate(self, request: Request) -> Context:
        name = request.header("x-auth-token")
        if name not in ("ann", "bob", "admin", "eve"):
            raise Unauthenticated("no")
        roles = {"admin": {"admin", "member", "reader"}, "eve": {"reader"}}.get(name, {"member", "reader"})
        return Context(name, name, frozenset(roles), request.request_id, is_admin=name == "admin")

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        return self._enforcer.permits(context, rule, target)


class Site:
    """A running Image API and its clients."""

    def __init__(self, db: Database, root: Path) -> None:
        self.db, self.root = db, root
        self.blobs = DirectoryBlobs(root, keep_free=0)
        images = ImageService(db, self.blobs)
        self.uploads = ImageUpload(db, self.blobs, SystemClock(), max_bytes=16 * MIB)
        self.app = App([build_image_service(images, self.uploads, Tokens())])
        self.ann, self.bob, self.admin, self.eve = (self.client(name) for name in ("ann", "bob", "admin", "eve"))

    def client(self, token: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://cloud/image", headers={"x-auth-token": token})

    async def create(self, client: httpx.AsyncClient | None = None, **values: Any) -> str:
        body = {"name": "i", "disk_format": "raw", "container_format": "bare", **values}
        answer = await (client or self.ann).post("/v2/images", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def fill(self, image_id: str, data: bytes = RAW, client: httpx.AsyncClient | None = None) -> httpx.Response:
        return await (client or self.ann).put(f"/v2/images/{image_id}/file", content=data, headers=BYTES)

    def files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_file()]


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(database, tmp_path / "images")
    await site.blobs.start()
    yield site
    for client in (site.ann, site.bob, site.admin, site.eve):
        await client.aclose()
    await site.uploads.close()
    await site.blobs.close()


async def test_versions_are_found_as_clients_look_for_them(site: Site) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site.app), base_url="http://cloud:1") as anyone:
        root = await anyone.get("/image/")
        assert root.status_code == 300
        assert (await anyone.get("/image/versions")).status_code == 200
        assert root.json()["versions"][0] == {
            "id": "v2.9",
            "status": "CURRENT",
            "links": [{"rel": "self", "href": "http://cloud:1/image/v2/"}],
        }
        assert (await anyone.get("/image/v2/images")).status_code == 401


async def test_the_whole_life(site: Site) -> None:
    created = await site.ann.post(
        "/v2/images",
        json={"name": "disk", "disk_format": "qcow2", "container_format": "bare", "os_distro": "debian", "tags": ["t"]},
    )
    image = created.json()
    assert created.headers["location"] == f"http://cloud/image/v2/images/{image['id']}"
    assert (image["status"], image["visibility"], image["os_distro"]) == ("queued", "shared", "debian")
    assert (image["owner"], image["size"], image["checksum"], image["tags"]) == ("ann", None, None, ["t"])
    assert (await site.ann.get(image["file"])).status_code == 204
    data = qcow2(5 * MIB)
    filled = await site.fill(image["id"], data)
    assert (filled.status_code, filled.content) == (204, b"")
    shown = (await site.ann.get(image["self"])).json()
    assert (shown["status"], shown["size"], shown["virtual_size"]) == ("active", len(data), 5 * MIB)
    assert shown["checksum"] == hashlib.md5(data).hexdigest()
    assert (shown["os_hash_algo"], shown["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    got = await site.ann.get(image["file"])
    assert got.content == data
    assert got.headers["content-length"] == str(len(data))
    assert got.headers["content-md5"] == shown["checksum"]
    assert (await site.fill(image["id"])).status_code == 409
    assert (await site.ann.put(f"/v2/images/{image['id']}/tags/new")).status_code == 204
    assert (await site.ann.get(image["self"])).json()["tags"] == ["new", "t"]
    assert (await site.ann.delete(f"/v2/images/{image['id']}/tags/t")).status_code == 204
    assert (await site.ann.delete(f"/v2/images/{image['id']}/tags/t")).status_code == 404
    assert (await site.ann.delete(image["self"])).status_code == 204
    assert (await site.ann.get(image["self"])).status_code == 404
    assert site.files() == []


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


async def test_an_id_is_taken_once_even_after_delete(site: Site) -> None:
    image_id = await site.create(id=str(uuid.uuid4()))
    body = {"id": image_id}
    assert (await site.bob.post("/v2/images", json=body)).status_code == 409
    await site.ann.delete(f"/v2/images/{image_id}")
    assert (await site.ann.post("/v2/images", json=body)).status_code == 409


async def patch(site: Site, image_id: str, *steps: Any, old: bool = False) -> httpx.Response:
    return await site.ann.patch(
        f"/v2/images/{image_id}", content=json.dumps(list(steps)), headers=OLD_PATCH if old else PATCH
    )


async def test_updates(site: Site) -> None:
    image_id = await site.create(a="1", min_ram=2.0)
    answer = await patch(
        site,
        image_id,
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/x~1y~0z", "value": "2"},
        {"op": "remove", "path": "/a"},
        {"op": "replace", "path": "/tags", "value": ["b", "a"]},
        {"op": "replace", "path": "/os_hidden", "value": True},
        {"op": "replace", "path": "/min_disk", "value": 3.0},
    )
    image = answer.json()
    assert answer.status_code == 200, answer.text
    assert (image["name"], image["x/y~z"], image["tags"], image["os_hidden"]) == ("new", "2", ["a", "b"], True)
    assert "a" not in image
    assert (image["min_disk"], image["min_ram"]) == (3, 2)
    answer = await patch(site, image_id, {"replace": "/name", "value": "newer"}, {"remove": "/x~1y~0z"}, old=True)
    assert (answer.status_code, answer.json()["name"]) == (200, "newer")


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
    answer = await patch(site, image_id, {"op": "replace", "path": "/name", "value": "changed"}, step)
    assert answer.status_code == status, answer.text
    assert (await site.ann.get(f"/v2/images/{image_id}")).json() == before


async def test_media_types(site: Site) -> None:
    image_id = await site.create()
    assert (await site.ann.patch(f"/v2/images/{image_id}", json=[])).status_code == 415
    answer = await site.ann.put(f"/v2/images/{image_id}/file", json={})
    assert answer.status_code == 415


@pytest.mark.parametrize("visibility", ["private", "shared"])
async def test_another_projects_image_is_not_there(site: Site, visibility: str) -> None:
    image_id = await site.create(visibility=visibility)
    url = f"/v2/images/{image_id}"
    answers = [
        await site.bob.get(url),
        await site.bob.delete(url),
        await site.bob.get(f"{url}/file"),
        await site.fill(image_id, b"x", site.bob),
        await site.bob.put(f"{url}/tags/x"),
        await site.bob.patch(url, content="[]", headers=PATCH),
        await site.bob.get("/v2/images/nonsense"),
        await site.bob.get(f"/v2/images?marker={image_id}"),
    ]
    assert [a.status_code for a in answers] == [404] * 7 + [400]
    assert (await site.bob.get("/v2/images?visibility=all")).json()["images"] == []
    assert (await site.ann.get(url)).json()["tags"] == []


async def test_roles(site: Site) -> None:
    image_id = await site.create(site.admin, visibility="public")
    await site.fill(image_id, RAW, site.admin)
    url = f"/v2/images/{image_id}"
    assert (await site.eve.get(url)).status_code == 200
    assert (await site.bob.get(f"{url}/file")).content == RAW
    assert (await site.bob.delete(url)).status_code == 403
    assert (await site.eve.post("/v2/images", json={})).status_code == 403
    assert (await site.ann.post(f"{url}/actions/deactivate")).status_code == 403
    assert (await site.admin.post(f"{url}/actions/deactivate")).status_code == 204
    assert (await site.bob.get(f"{url}/file")).status_code == 403
    assert (await site.admin.post(f"{url}/actions/reactivate")).status_code == 204
    assert (await site.bob.get(f"{url}/file")).status_code == 200


async def test_lists_page_by_their_links(site: Site) -> None:
    made = [await site.create(name=f"n{n}") for n in range(5)]
    url, seen = "/v2/images?limit=2&sort=name:desc", []
    while url:
        page = (await site.ann.get(url)).json()
        seen += [image["id"] for image in page["images"]]
        url = page.get("next")
    assert seen == made[::-1]
    assert page["schema"] == "/v2/schemas/images"
    by_name = (
        await site.ann.get("/v2/images", params={"name": 'in:n1,"n3"', "sort_key": "name", "sort_dir": "asc"})
    ).json()
    assert [image["name"] for image in by_name["images"]] == ["n1", "n3"]


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


async def test_what_is_not_built_says_so(site: Site) -> None:
    image_id = await site.create()
    for path in (f"images/{image_id}/members", "tasks", "metadefs/namespaces", "info/usage", "schemas/member"):
        assert (await site.ann.get(f"/v2/{path}")).status_code == 501, path
    assert (await site.ann.get("/v2/info/import")).json()["import-methods"]["value"] == []
    assert (await site.ann.get("/v2/info/stores")).status_code == 404
    assert (await site.ann.get("/v2/schemas/images")).json()["name"] == "images"
