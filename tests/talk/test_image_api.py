"""The Image API over HTTP: what clients send and get."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from image_site import MIB, PATCH, RAW, Site, open_site, qcow2

from kilonova.cloud.quota import store as quota
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.image.protection import load_protection
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
            "id": "v2.17",
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
    assert (await site.eve.get(f"{url}/file")).status_code == 403
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
    for path in (f"images/{image_id}/locations", "cache", "stores/x/y"):
        assert (await site.ann.get(f"/v2/{path}")).status_code == 501, path


async def test_discovery(site: Site) -> None:
    for name in ("image", "images", "member", "members", "task", "tasks"):
        assert (await site.ann.get(f"/v2/schemas/{name}")).json()["name"] == name
    assert (await site.ann.get("/v2/schemas/cat")).status_code == 404
    assert (await site.ann.get("/v2/info/stores")).status_code == 404
    assert (await site.ann.get("/v2/info/stores/detail")).status_code == 403
    assert (await site.admin.get("/v2/info/stores/detail")).status_code == 404


async def test_usage_and_its_limits(site: Site) -> None:
    await site.db.write(lambda tx: quota.set_limit(tx, "ann", "image_count", 2))
    image_id = await site.create()
    await site.fill(image_id)
    await site.create()
    refused = await site.ann.post("/v2/images", json={"name": "third"})
    assert refused.status_code == 413
    usage = (await site.ann.get("/v2/info/usage")).json()["usage"]
    assert usage == {
        "image_size_total": {"usage": 4, "limit": 1 << 20},
        "image_stage_total": {"usage": 0, "limit": 1 << 20},
        "image_count_total": {"usage": 2, "limit": 2},
        "image_count_uploading": {"usage": 0, "limit": 100},
    }
    await site.ann.delete(f"/v2/images/{image_id}")
    assert (await site.ann.get("/v2/info/usage")).json()["usage"]["image_size_total"]["usage"] == 0
    await site.create()


PARTS = {
    "bytes=0-4": (0, 5),
    "bytes=4-": (4, len(RAW) - 4),
    "bytes=-10": (len(RAW) - 10, 10),
    f"bytes={len(RAW) - 1}-99999999999": (len(RAW) - 1, 1),
}


@pytest.mark.parametrize("wanted", PARTS)
async def test_a_part(site: Site, wanted: str) -> None:
    image_id = await site.create()
    await site.fill(image_id)
    first, length = PARTS[wanted]
    part = await site.ann.get(f"/v2/images/{image_id}/file", headers={"range": wanted})
    assert (part.status_code, part.content) == (206, RAW[first : first + length])
    assert part.headers["content-range"] == f"bytes {first}-{first + length - 1}/{len(RAW)}"
    assert part.headers["content-length"] == str(length)
    old = {"content-range": f"bytes {first}-{first + length - 1}/*"}
    assert (await site.ann.get(f"/v2/images/{image_id}/file", headers=old)).content == part.content


async def test_parts_that_there_are_not(site: Site) -> None:
    image_id = await site.create()
    await site.fill(image_id)
    end = len(RAW)
    wrong = [
        {"range": f"bytes={end}-"}, {"range": "bytes=5-4"}, {"range": "lines=0-1"}, {"range": "bytes=-0"},
        {"content-range": f"bytes 0-{end}/*"}, {"content-range": "bytes 4-1/*"}, {"content-range": "nonsense"},
    ]  # fmt: skip
    for headers in wrong:
        assert (await site.ann.get(f"/v2/images/{image_id}/file", headers=headers)).status_code == 416, headers
    several = {"range": "bytes=0-1,3-4"}
    assert (await site.ann.get(f"/v2/images/{image_id}/file", headers=several)).status_code == 400


@pytest.mark.parametrize("kind", ["roles", "policies"])
async def test_protected_properties(database: Database, tmp_path: Path, kind: str) -> None:
    admin = "admin" if kind == "roles" else "context_is_admin"
    all_of = "create = {0}\nread = {0}\nupdate = {0}\ndelete = {0}\n"
    file = tmp_path / f"property-protections-{kind}.conf"
    file.write_text(
        f"[^x_secret]\n{all_of.format(admin)}[^x_fixed]\ncreate = @\nread = @\nupdate = !\ndelete = {admin}\n"
        f"[^a]\n{all_of.format('@')}"
    )
    async with open_site(database, tmp_path, load_protection(tmp_path)) as site:
        body = {"name": "i", "x_secret": "s", "x_fixed": "f", "a": "1"}
        image_id = (await site.admin.post("/v2/images", json={**body, "owner": "ann"})).json()["id"]
        shown = (await site.ann.get(f"/v2/images/{image_id}")).json()
        assert ("x_secret" in shown, shown["x_fixed"], shown["a"]) == (False, "f", "1")
        assert (await site.admin.get(f"/v2/images/{image_id}")).json()["x_secret"] == "s"
        assert "x_secret" not in (await site.ann.get("/v2/images")).json()["images"][0]
        steps = [
            {"op": "replace", "path": "/x_secret", "value": "t"}, {"op": "add", "path": "/x_fixed", "value": "t"},
            {"op": "remove", "path": "/x_fixed"}, {"op": "add", "path": "/unlisted", "value": "t"},
        ]  # fmt: skip
        for step in steps:
            assert (await site.patch(image_id, step)).status_code == 403, step
        assert (await site.ann.post("/v2/images", json={"x_secret": "s"})).status_code == 403
        assert (await site.ann.get("/v2/images?x_secret=s")).status_code == 403
        assert (await site.patch(image_id, {"op": "replace", "path": "/a", "value": "2"})).json()["a"] == "2"


async def test_protections_are_asked_step_by_step(database: Database, tmp_path: Path) -> None:
    text = "[^{0}$]\ncreate = {1}\nread = @\nupdate = {2}\ndelete = @\n"
    file = tmp_path / "property-protections-roles.conf"
    file.write_text(text.format("old", "admin", "@") + text.format("new", "@", "admin"))
    async with open_site(database, tmp_path, load_protection(tmp_path)) as site:
        image_id = await site.create(site.admin, owner="ann", old="1")
        remove_old, add_old = {"op": "remove", "path": "/old"}, {"op": "add", "path": "/old", "value": "2"}
        add_new, change_new = ({"op": "add", "path": "/new", "value": value} for value in ("1", "2"))
        assert (await site.patch(image_id, add_old)).json()["old"] == "2"
        for steps in ((remove_old, add_old), (add_new, change_new)):
            assert (await site.patch(image_id, *steps)).status_code == 403, steps
        shown = (await site.ann.get(f"/v2/images/{image_id}")).json()
        assert (shown["old"], "new" in shown) == ("2", False)
        again = {"op": "remove", "path": "/new"}
        assert (await site.patch(image_id, add_new, again, change_new, remove_old)).json()["new"] == "2"


async def test_a_protection_counts_wherever_it_matches_a_name(database: Database, tmp_path: Path) -> None:
    all_of = "create = {0}\nread = {0}\nupdate = {0}\ndelete = {0}\n"
    file = tmp_path / "property-protections-roles.conf"
    file.write_text(f"[billing]\n{all_of.format('admin')}[.*]\n{all_of.format('@')}")
    async with open_site(database, tmp_path, load_protection(tmp_path)) as site:
        image_id = await site.create(owner="ann", client=site.admin, x_billing_code="7", other="1")
        shown = (await site.ann.get(f"/v2/images/{image_id}")).json()
        assert ("x_billing_code" in shown, shown["other"]) == (False, "1")
        step = {"op": "replace", "path": "/x_billing_code", "value": "0"}
        assert (await site.patch(image_id, step)).status_code == 403
        assert (await site.admin.get(f"/v2/images/{image_id}")).json()["x_billing_code"] == "7"


def test_a_broken_file_of_protections_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "property-protections-roles.conf"
    for text in ("[x(]\n", "create = admin\n", "[x]\ncreate = admin\n", "[x]\ncreate = @,admin\n"):
        file.write_text(text)
        with pytest.raises(Invalid):
            load_protection(tmp_path)
