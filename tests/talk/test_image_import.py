"""Importing images: staged bytes, bytes from elsewhere, and their tasks."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from image_site import BYTES, MIB, PATCH, RAW, Site, open_site, qcow2

from kilonova.cloud.image.sweep import ImageSweep
from kilonova.cloud.quota import store as quota
from kilonova.kit.db import Database

URI = "https://images.example.org/disk.raw"
DIRECT = {"method": {"name": "glance-direct"}}
WEB = {"method": {"name": "web-download", "uri": URI}}


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database, tmp_path) as site:
        yield site


async def stage(site: Site, image_id: str, data: bytes = RAW, client: httpx.AsyncClient | None = None) -> int:
    url = f"/v2/images/{image_id}/stage"
    return (await (client or site.ann).put(url, content=data, headers=BYTES)).status_code


async def begin(site: Site, image_id: str, body: Any, client: httpx.AsyncClient | None = None) -> int:
    return (await (client or site.ann).post(f"/v2/images/{image_id}/import", json=body)).status_code


async def ended(site: Site, image_id: str, client: httpx.AsyncClient | None = None) -> dict[str, Any]:
    """The newest task of an image when it has ended."""
    async with asyncio.timeout(5):
        while True:
            task = (await (client or site.ann).get(f"/v2/images/{image_id}/tasks")).json()["tasks"][0]
            if task["status"] in ("success", "failure"):
                return dict(task)
            await asyncio.sleep(0.01)


async def look(site: Site, image_id: str) -> dict[str, Any]:
    return dict((await site.ann.get(f"/v2/images/{image_id}")).json())


async def uses(site: Site) -> dict[str, int]:
    names = ("image_bytes", "image_stage_bytes", "image_uploads")
    found = await site.db.read(lambda tx: quota.uses(tx, "ann", names))
    return {name: use.used for name, use in found.items()}


async def test_staged_bytes_become_the_image(site: Site) -> None:
    body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    created = await site.ann.post("/v2/images", json=body)
    assert created.headers["openstack-image-import-methods"] == "glance-direct,web-download"
    image_id = created.json()["id"]
    assert await begin(site, image_id, DIRECT) == 409
    assert await stage(site, image_id) == 204
    shown = await look(site, image_id)
    assert (shown["status"], shown["size"], shown["checksum"]) == ("uploading", len(RAW), None)
    assert await uses(site) == {"image_bytes": 0, "image_stage_bytes": len(RAW), "image_uploads": 1}
    assert await stage(site, image_id) == 409
    assert (await site.ann.get(f"/v2/images/{image_id}/file")).status_code == 204
    assert await begin(site, image_id, DIRECT) == 202
    task = await ended(site, image_id)
    assert (task["status"], task["type"], task["message"]) == ("success", "api_image_import", "")
    assert (task["input"]["import_req"], task["result"]) == (DIRECT, {"image_id": image_id})
    shown = await look(site, image_id)
    assert (shown["status"], shown["os_hash_value"]) == ("active", hashlib.sha512(RAW).hexdigest())
    assert (await site.ann.get(f"/v2/images/{image_id}/file")).content == RAW
    assert await uses(site) == {"image_bytes": len(RAW), "image_stage_bytes": 0, "image_uploads": 0}
    assert await begin(site, image_id, DIRECT) == 409


async def test_an_import_needs_formats(site: Site) -> None:
    image_id = (await site.ann.post("/v2/images", json={"name": "i"})).json()["id"]
    assert await begin(site, image_id, WEB) == 409
    assert await stage(site, image_id) == 204
    assert await begin(site, image_id, DIRECT) == 409
    assert (await look(site, image_id))["status"] == "uploading"


async def test_bytes_from_elsewhere(site: Site) -> None:
    site.source.books[URI], site.source.stumbles = RAW, 2
    image_id = await site.create()
    assert await begin(site, image_id, {**WEB, "all_stores": True, "all_stores_must_succeed": False}) == 202
    task = await ended(site, image_id)
    assert (task["status"], task["input"]["import_req"]) == ("success", WEB)
    assert (await site.ann.get(f"/v2/images/{image_id}/file")).content == RAW
    assert len(site.files()) == 1


FAILURES: dict[str, tuple[bytes | None, int, str]] = {
    "not there": (None, 0, "answered 404"),
    "never answers": (RAW, 9, "not now"),
    "another format": (qcow2(), 0, "it is qcow2"),
    "too large": (bytes(17 * MIB), 0, "More than"),
}


@pytest.mark.parametrize("why", FAILURES)
async def test_a_failed_import_leaves_a_queued_image_and_nothing_else(site: Site, why: str) -> None:
    data, site.source.stumbles, said = FAILURES[why]
    if data is not None:
        site.source.books[URI] = data
    image_id = await site.create()
    assert await begin(site, image_id, WEB) == 202
    task = await ended(site, image_id)
    assert (task["status"], task["result"]) == ("failure", None)
    assert said in task["message"]
    assert (await look(site, image_id))["status"] == "queued"
    assert site.files() == []
    assert set((await uses(site)).values()) == {0}
    assert (await site.fill(image_id)).status_code == 204


async def test_staged_bytes_that_are_not_what_they_claim(site: Site) -> None:
    image_id = await site.create(disk_format="qcow2")
    assert await stage(site, image_id, qcow2(backing=72)) == 204
    assert await begin(site, image_id, DIRECT) == 202
    assert "safety check" in (await ended(site, image_id))["message"]
    assert (await look(site, image_id))["status"] == "queued"
    assert site.files() == []
    assert await stage(site, image_id, qcow2()) == 204


async def test_delete_ends_an_import(site: Site) -> None:
    site.source.books[URI], site.source.gate = RAW, (gate := asyncio.Event())
    image_id = await site.create()
    assert await begin(site, image_id, WEB) == 202
    assert (await look(site, image_id))["status"] == "importing"
    assert (await site.ann.delete(f"/v2/images/{image_id}")).status_code == 204
    gate.set()
    async with asyncio.timeout(5):
        while site.files():
            await ImageSweep(site.db, site.blobs).sweep()
    [task] = (await site.admin.get("/v2/tasks")).json()["tasks"]
    assert task["status"] == "failure"
    assert set((await uses(site)).values()) == {0}


async def test_staged_bytes_go_with_their_image_and_are_counted(site: Site) -> None:
    await site.db.write(lambda tx: quota.set_limit(tx, "ann", "image_stage_bytes", len(RAW)))
    image_id, other = await site.create(), await site.create()
    assert await stage(site, image_id) == 204
    assert await stage(site, other, b"x") == 413
    assert (await look(site, other))["status"] == "queued"
    assert (await site.ann.delete(f"/v2/images/{image_id}")).status_code == 204
    assert site.files() == []
    assert await stage(site, other, b"x") == 204


async def test_who_may_import_and_see_tasks(site: Site) -> None:
    image_id = await site.create(site.admin, visibility="public")
    assert await stage(site, image_id, client=site.bob) == 403
    assert await begin(site, image_id, WEB, site.bob) == 403
    assert await begin(site, image_id, WEB, site.eve) == 403
    private = await site.create()
    assert await begin(site, private, WEB, site.bob) == 404
    assert await stage(site, private, client=site.bob) == 404
    assert (await site.bob.get(f"/v2/images/{private}/tasks")).status_code == 404
    assert (await site.ann.get("/v2/tasks")).status_code == 403
    site.source.books[URI] = RAW
    await begin(site, private, WEB)
    task = await ended(site, private)
    assert (await site.ann.get(f"/v2/tasks/{task['id']}")).status_code == 403
    assert (await site.admin.get(f"/v2/tasks/{task['id']}")).json() == task
    assert (await site.admin.get(f"/v2/tasks/{private}")).status_code == 404


async def test_who_sees_an_image_does_not_see_where_it_came_from(site: Site) -> None:
    secret = f"{URI}?token=secret"
    site.source.books[secret] = RAW
    image_id = await site.create()
    await begin(site, image_id, {"method": {"name": "web-download", "uri": secret}})
    task = await ended(site, image_id)
    assert task["input"]["import_req"]["method"]["uri"] == secret
    tasks = f"/v2/images/{image_id}/tasks"
    assert (await site.bob.get(tasks)).status_code == 404
    assert (await site.ann.post(f"/v2/images/{image_id}/members", json={"member": "bob"})).status_code == 200
    assert (await site.bob.get(tasks)).json() == {"tasks": []}
    change = json.dumps([{"op": "replace", "path": "/visibility", "value": "public"}])
    assert (await site.admin.patch(f"/v2/images/{image_id}", content=change, headers=PATCH)).status_code == 200
    assert (await site.eve.get(tasks)).json() == {"tasks": []}
    for client in (site.ann, site.admin):
        assert (await client.get(tasks)).json() == {"tasks": [task]}


async def test_an_administrator_imports_in_the_old_way(site: Site) -> None:
    site.source.books[URI] = RAW
    properties = {"name": "old", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    asked = {"import_from": URI, "import_from_format": "raw", "image_properties": properties}
    body = {"type": "import", "input": asked}
    assert (await site.ann.post("/v2/tasks", json=body)).status_code == 403
    made = await site.admin.post("/v2/tasks", json=body)
    assert (made.status_code, made.json()["input"], made.json()["type"]) == (201, asked, "import")
    [image] = (await site.admin.get("/v2/images?name=old")).json()["images"]
    task = await ended(site, image["id"], site.admin)
    assert (task["status"], task["result"]) == ("success", {"image_id": image["id"]})
    assert [t["id"] for t in (await site.admin.get("/v2/tasks?type=import")).json()["tasks"]] == [task["id"]]
    for wrong in (
        {"type": "export"},
        {"input": {}},
        {"input": {**asked, "import_from": "http://10.0.0.1:81/"}},
        {"input": {**asked, "import_from_format": "qcow2"}},
        {"input": {**asked, "more": 1}},
        {"more": 1},
    ):
        assert (await site.admin.post("/v2/tasks", json={**body, **wrong})).status_code == 400, wrong
    assert len((await site.admin.get("/v2/images")).json()["images"]) == 1


async def test_tasks_page(site: Site) -> None:
    site.source.books[URI] = RAW
    for _ in range(3):
        image_id = await site.create()
        await begin(site, image_id, WEB)
        await ended(site, image_id)
    page = (await site.admin.get("/v2/tasks?limit=2&sort_key=created_at&sort_dir=asc")).json()
    rest = (await site.admin.get(page["next"])).json()
    times = [task["created_at"] for task in (*page["tasks"], *rest["tasks"])]
    assert (len(page["tasks"]), len(rest["tasks"]), times) == (2, 1, sorted(times))
    assert "input" not in page["tasks"][0]
    assert (await site.admin.get("/v2/tasks?status=failure")).json()["tasks"] == []
    for query in ("status=x", "type=x", "sort_key=x", "sort_dir=x", "limit=-1", "marker=x"):
        assert (await site.admin.get(f"/v2/tasks?{query}")).status_code == 400, query


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"method": {}}, {"method": {"name": "copy-image"}}, {"method": {"name": "web-download"}},
        {"method": {"name": "glance-direct", "uri": URI}}, {"method": {"name": "web-download", "uri": "file:///etc"}},
        {"method": {"name": "web-download", "uri": "http://u:p@x/"}}, {**WEB, "stores": ["x"]},
        {"method": {"name": "web-download", "uri": "http://x:22/"}}, {**WEB, "more": "x"},
        {"method": {**WEB["method"], "more": "x"}},
    ],
)  # fmt: skip
async def test_what_is_no_import(site: Site, body: Any) -> None:
    image_id = await site.create()
    assert await begin(site, image_id, body) == 400
    assert (await look(site, image_id))["status"] == "queued"
    assert (await site.ann.get(f"/v2/images/{image_id}/tasks")).json()["tasks"] == []
