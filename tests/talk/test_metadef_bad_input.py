"""Metadata definitions over HTTP: who may do what, what bad input gets, and that it changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from image_site import Site, Tokens, open_site
from metadef_site import PROPERTY, ROOT, WATCHDOG, made, names

from kilonova.cloud.metadef.model import MAX_BYTES
from kilonova.edge.openstack.image.policy import RULES
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit.db import Database


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database, tmp_path) as site:
        yield site


async def test_another_projects_private_namespace_is_not_there(site: Site) -> None:
    secret = await made(site, **{**WATCHDOG, "namespace": "secret", "visibility": "private"}, owner="ann")
    assert (await site.ann.get(secret)).json()["owner"] == "ann"
    assert await names(site.bob) == []
    assert await names(site.eve) == []
    for path in ("", "/objects", "/objects/CPU Limits", "/properties", "/properties/action", "/tags", "/tags/a"):
        assert (await site.ann.get(secret + path)).status_code == 200, path
        assert (await site.bob.get(secret + path)).status_code == 404, path
        assert (await site.bob.delete(secret + path)).status_code == 404, path
    assert (await site.bob.get(f"{secret}/resource_types")).status_code == 404
    assert (await site.bob.put(secret, json={"namespace": "mine"})).status_code == 404
    assert await names(site.ann) == ["secret"]


async def test_only_administrators_change_anything(site: Site) -> None:
    url = await made(site, **{**WATCHDOG, "namespace": "own", "visibility": "private"}, owner="ann")
    before = (await site.admin.get(url)).json()
    for path, body in {
        "/objects": {"name": "o"},
        "/properties": PROPERTY,
        "/tags": {"tags": [{"name": "t"}]},
        "/resource_types": {"name": "R"},
        "/tags/t": None,
    }.items():
        assert (await site.ann.post(url + path, json=body)).status_code == 403, path
    for path, body in {
        "": {"namespace": "own"},
        "/objects/CPU Limits": {"name": "o"},
        "/properties/action": PROPERTY,
        "/tags/a": {"name": "t"},
    }.items():
        assert (await site.ann.put(url + path, json=body)).status_code == 403, path
        assert (await site.ann.delete(url + path)).status_code == 403, path
    for path in ("/objects", "/properties", "/tags", "/resource_types/OS::Nova::Flavor"):
        assert (await site.ann.delete(url + path)).status_code == 403, path
    assert (await site.ann.post(ROOT, json={"namespace": "mine"})).status_code == 403
    assert (await site.admin.get(url)).json() == before
    assert await names(site.admin) == ["own"]


class Lenient(Tokens):
    """A site whose operator lets members keep definitions of their own project's."""

    def __init__(self, file: Path) -> None:
        file.write_text("metadef_admin: role:admin or (role:member and project_id:%(project_id)s)\n")
        self._enforcer = Enforcer(RULES, file)


async def test_an_operator_may_let_members_keep_their_own(site: Site, tmp_path: Path) -> None:
    site.serve(Lenient(tmp_path / "image.yaml"))
    async with site.client("ann") as ann, site.client("bob") as bob, site.client("eve") as eve:
        assert (await ann.post(ROOT, json={"namespace": "theirs", "owner": "bob"})).status_code == 403
        assert (await eve.post(ROOT, json={"namespace": "mine"})).status_code == 403
        made = await ann.post(ROOT, json={"namespace": "mine", "visibility": "public", "tags": [{"name": "t"}]})
        assert (made.status_code, made.json()["owner"]) == (201, "ann")
        url = made.json()["self"]
        assert (await bob.put(url, json={"namespace": "mine"})).status_code == 403
        assert (await bob.delete(f"{url}/tags")).status_code == 403
        assert (await ann.put(url, json={"namespace": "mine", "owner": "bob"})).status_code == 403
        assert (await ann.put(f"{url}/tags/t", json={"name": "u"})).status_code == 200
        assert (await bob.get(f"{url}/tags")).json() == {"tags": [{"name": "u"}]}
        assert (await ann.delete(url)).status_code == 204
    assert await names(site.admin) == []


BAD = {
    "no name": (ROOT, {"display_name": "x"}),
    "an empty name": (ROOT, {"namespace": ""}),
    "a long name": (ROOT, {"namespace": "x" * 81}),
    "a name that is no text": (ROOT, {"namespace": 1}),
    "a strange visibility": (ROOT, {"namespace": "x", "visibility": "shared"}),
    "an unknown member": (ROOT, {"namespace": "x", "colour": "red"}),
    "a property without a title": (ROOT, {"namespace": "x", "properties": {"p": {"type": "string"}}}),
    "an object without a name": (ROOT, {"namespace": "x", "objects": [{}]}),
    "a null": (ROOT, {"namespace": "x", "description": None}),
    "no body": (ROOT, None),
    "a list": (ROOT, []),
    "an object's property of a strange type": (f"{ROOT}/n/objects", {"name": "o", "properties": {"p": {"title": "x"}}}),
    "required twice": (f"{ROOT}/n/objects", {"name": "o", "required": ["a", "a"]}),
    "a property of a strange type": (f"{ROOT}/n/properties", {"name": "p", "title": "P", "type": "text"}),
    "a negative count": (f"{ROOT}/n/properties", {**PROPERTY, "maxItems": -1}),
    "a long tag": (f"{ROOT}/n/tags/{'x' * 81}", None),
    "no tags": (f"{ROOT}/n/tags", {"tags": []}),
    "tags without names": (f"{ROOT}/n/tags", {"tags": [{}]}),
    "a nameless association": (f"{ROOT}/n/resource_types", {"prefix": "x"}),
}


async def test_bad_bodies_change_nothing(site: Site) -> None:
    url = await made(site)
    before = (await site.admin.get(url)).json()
    for case, (path, body) in BAD.items():
        answer = await site.admin.post(path, json=body) if body is not None else await site.admin.post(path)
        assert (answer.status_code, case) == (400, case), answer.text
        assert answer.headers["content-type"].startswith("text/html")
    assert await names(site.admin) == ["n"]
    assert (await site.admin.get(url)).json() == before


async def test_what_is_read_only_is_refused_by_name(site: Site) -> None:
    url = await made(site, tags=[{"name": "t"}])
    for name in ("self", "schema", "created_at", "updated_at"):
        answer = await site.admin.put(url, json={"namespace": "n", name: "x"})
        assert (answer.status_code, f"'{name}' is read-only" in answer.text.replace("&#x27;", "'")) == (403, True)
    assert (await site.admin.post(f"{url}/objects", json={"name": "o", "self": "x"})).status_code == 403
    assert (await site.admin.post(f"{url}/properties", json={**PROPERTY, "created_at": "x"})).status_code == 403
    assert (await site.admin.put(f"{url}/tags/t", json={"name": "u", "updated_at": "x"})).status_code == 403
    assert (await site.admin.post(f"{url}/resource_types", json={"name": "R", "created_at": ""})).status_code == 403


async def test_bad_queries(site: Site) -> None:
    orders = ("limit=x", "limit=-1", "sort_key=colour", "sort_dir=up")
    for query in (*orders, "visibility=shared", f"resource_types={',' * 200}"):
        assert (await site.ann.get(f"{ROOT}?{query}")).status_code == 400, query
    await made(site)
    for query in orders:
        assert (await site.ann.get(f"{ROOT}/n/tags?{query}")).status_code == 400, query


async def test_a_creation_that_cannot_be_whole_leaves_nothing(site: Site) -> None:
    twice = {"namespace": "x", "objects": [{"name": "o"}, {"name": "o"}]}
    assert (
        await site.admin.post(ROOT, json={**twice, "resource_type_associations": [{"name": "R"}]})
    ).status_code == 409
    assert await names(site.admin) == []
    assert (await site.admin.get("/v2/metadefs/resource_types")).json() == {"resource_types": []}


async def test_a_namespace_has_an_end(site: Site) -> None:
    url = await made(site)
    big = {"title": "x", "type": "string", "description": "x" * 60000}
    statuses = [
        (await site.admin.post(f"{url}/properties", json={**big, "name": f"p{at}"})).status_code
        for at in range(MAX_BYTES // 60000 + 1)
    ]
    assert statuses == [201] * (len(statuses) - 1) + [413]
    assert len((await site.admin.get(f"{url}/properties")).json()["properties"]) == len(statuses) - 1
