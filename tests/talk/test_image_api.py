"""The Image API over HTTP: what clients send and get."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from image_site import MIB, PATCH, RAW, Site, open_site, qcow2

from kilonova.kit.db import Database


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database, tmp_path) as site:
        yield site


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


async def test_an_id_is_taken_once_even_after_delete(site: Site) -> None:
    image_id = await site.create(id=str(uuid.uuid4()))
    body = {"id": image_id}
    assert (await site.bob.post("/v2/images", json=body)).status_code == 409
    await site.ann.delete(f"/v2/images/{image_id}")
    assert (await site.ann.post("/v2/images", json=body)).status_code == 409


async def test_updates(site: Site) -> None:
    image_id = await site.create(a="1", min_ram=2.0)
    answer = await site.patch(
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
    answer = await site.patch(image_id, {"replace": "/name", "value": "newer"}, {"remove": "/x~1y~0z"}, old=True)
    assert (answer.status_code, answer.json()["name"]) == (200, "newer")


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


async def test_what_is_not_built_says_so(site: Site) -> None:
    image_id = await site.create()
    for path in (f"images/{image_id}/members", "tasks", "info/usage", "schemas/member"):
        assert (await site.ann.get(f"/v2/{path}")).status_code == 501, path
    assert (await site.ann.get("/v2/info/import")).json()["import-methods"]["value"] == []
    assert (await site.ann.get("/v2/info/stores")).status_code == 404
    assert (await site.ann.get("/v2/schemas/images")).json()["name"] == "images"
