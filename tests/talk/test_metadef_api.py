"""Metadata definitions over HTTP: what clients send and get."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from image_site import Site, open_site
from metadef_site import PROPERTY, ROOT, WATCHDOG, made, names

from kilonova.kit.db import Database


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database, tmp_path) as site:
        yield site


async def test_a_namespace_with_all_that_it_holds(site: Site) -> None:
    created = await site.admin.post(ROOT, json=WATCHDOG)
    assert created.status_code == 201, created.text
    space = created.json()
    assert created.headers["location"] == f"http://cloud/image{ROOT}/OS::Compute::Watchdog"
    assert (space["self"], space["schema"]) == (f"{ROOT}/OS::Compute::Watchdog", "/v2/schemas/metadefs/namespace")
    assert (space["owner"], space["visibility"], space["protected"]) == ("admin", "public", False)
    assert "description" not in space
    shown = (await site.ann.get(space["self"])).json()
    assert shown == space
    assert shown["properties"] == WATCHDOG["properties"]
    assert shown["tags"] == [{"name": "a"}, {"name": "b"}]
    (limits,) = shown["objects"]
    assert (limits["self"], limits["schema"]) == (f"{space['self']}/objects/CPU Limits", "/v2/schemas/metadefs/object")
    assert (limits["required"], limits["created_at"]) == (["shares"], space["created_at"])
    assert [(one["name"], one.get("prefix")) for one in shown["resource_type_associations"]] == [
        ("OS::Glance::Image", "hw_"),
        ("OS::Nova::Flavor", None),
    ]
    prefixed = (await site.ann.get(space["self"], params={"resource_type": "OS::Glance::Image"})).json()
    assert list(prefixed["properties"]) == ["hw_action"]
    assert (prefixed["objects"][0]["required"], list(prefixed["objects"][0]["properties"])) == (
        ["hw_shares"],
        ["hw_shares"],
    )
    (listed,) = (await site.ann.get(ROOT)).json()["namespaces"]
    assert {*listed} == {*shown} - {"objects", "properties", "tags"}
    assert (await site.admin.delete(space["self"])).status_code == 204
    for path in ("", "/objects", "/properties/action", "/tags/a", "/resource_types"):
        assert (await site.admin.get(space["self"] + path)).status_code == 404
    assert (await site.admin.post(ROOT, json=WATCHDOG)).status_code == 201


async def test_a_namespace_is_replaced_by_its_update_and_not_what_it_holds(site: Site) -> None:
    url = await made(site, description="d", tags=[{"name": "t"}], protected=True)
    await made(site, namespace="other")
    answer = await site.admin.put(url, json={"namespace": "new", "display_name": "New"})
    assert answer.status_code == 200
    assert answer.json()["self"] == f"{ROOT}/new"
    shown = (await site.admin.get(f"{ROOT}/new")).json()
    assert (shown["visibility"], shown["protected"], shown["display_name"]) == ("private", False, "New")
    assert "description" not in shown
    assert shown["tags"] == [{"name": "t"}]
    assert (await site.admin.get(url)).status_code == 404
    assert (await site.admin.put(f"{ROOT}/new", json={"namespace": "other"})).status_code == 409
    assert (await site.admin.post(ROOT, json={"namespace": "new"})).status_code == 409
    assert (await site.admin.put(url, json={"namespace": "n"})).status_code == 404


async def test_what_is_protected_stays(site: Site) -> None:
    url = await made(site, **{**WATCHDOG, "namespace": "n"}, protected=True)
    before = (await site.admin.get(url)).json()
    paths = ("", "/objects", "/properties", "/tags", "/objects/CPU Limits", "/properties/action", "/tags/a")
    for path in (*paths, "/resource_types/OS::Nova::Flavor"):
        assert (await site.admin.delete(url + path)).status_code == 403, path
    assert (await site.admin.get(url)).json() == before
    assert (await site.admin.put(url, json={"namespace": "n", "visibility": "public"})).status_code == 200
    for path in paths[1:4]:
        assert (await site.admin.delete(url + path)).status_code == 204
    assert {*(await site.admin.get(url)).json()} & {"objects", "properties", "tags"} == set()
    assert (await site.admin.get(f"{url}/objects")).json() == {"objects": [], "schema": "v2/schemas/metadefs/objects"}


async def test_objects(site: Site) -> None:
    url = f"{await made(site)}/objects"
    created = await site.admin.post(url, json={"name": "o", "properties": {"a": {"title": "A", "type": "string"}}})
    assert created.status_code == 201, created.text
    assert (created.json()["required"], created.json()["self"]) == ([], f"{url}/o")
    assert (await site.ann.get(f"{url}/o")).json() == created.json()
    assert (await site.admin.post(url, json={"name": "o"})).status_code == 409
    assert (await site.admin.post(url, json={"name": "o2"})).status_code == 201
    assert (await site.admin.put(f"{url}/o", json={"name": "o2"})).status_code == 409
    assert (await site.admin.put(f"{url}/o", json={"name": "o3", "description": "d"})).status_code == 200
    shown = (await site.ann.get(f"{url}/o3")).json()
    assert (shown["description"], shown["properties"], shown["created_at"]) == ("d", {}, created.json()["created_at"])
    assert (await site.ann.get(f"{url}/o")).status_code == 404
    assert [o["name"] for o in (await site.ann.get(f"{url}?sort_key=name")).json()["objects"]] == ["o3", "o2"]
    assert [o["name"] for o in (await site.ann.get(f"{url}?limit=1&sort_key=name&sort_dir=asc")).json()["objects"]] == [
        "o2"
    ]
    assert (await site.admin.delete(f"{url}/o3")).status_code == 204
    assert (await site.admin.delete(f"{url}/o3")).status_code == 404
    assert (await site.admin.put(f"{url}/o3", json={"name": "o3"})).status_code == 404


async def test_properties(site: Site) -> None:
    space = await made(site, resource_type_associations=[{"name": "T", "prefix": "x:"}, {"name": "U"}])
    url = f"{space}/properties"
    created = await site.admin.post(url, json=PROPERTY)
    assert (created.status_code, created.json()) == (201, PROPERTY)
    assert (await site.ann.get(url)).json() == {"properties": {"p": {k: PROPERTY[k] for k in PROPERTY if k != "name"}}}
    assert (await site.ann.get(f"{url}/x:p?resource_type=T")).json()["name"] == "p"
    assert (await site.ann.get(f"{url}/p?resource_type=U")).json()["name"] == "p"
    assert (await site.ann.get(f"{url}/p?resource_type=T")).status_code == 404
    assert (await site.ann.get(f"{url}/p?resource_type=V")).status_code == 404
    assert (await site.admin.post(url, json=PROPERTY)).status_code == 409
    changed = {"name": "q", "title": "Q", "type": "number", "maximum": 1.5}
    assert (await site.admin.put(f"{url}/p", json=changed)).json() == changed
    assert (await site.ann.get(f"{url}/q")).json() == changed
    assert (await site.admin.delete(f"{url}/q")).status_code == 204
    assert (await site.ann.get(f"{url}/q")).status_code == 404
    assert (await site.ann.get(url)).json() == {"properties": {}}


async def test_tags(site: Site) -> None:
    url = f"{await made(site)}/tags"

    async def there() -> list[str]:
        listed = (await site.ann.get(f"{url}?sort_key=name&sort_dir=asc")).json()["tags"]
        return [tag["name"] for tag in listed]

    def bulk(*some: str) -> dict[str, Any]:
        return {"tags": [{"name": name} for name in some]}

    created = await site.admin.post(url, json=bulk("b", "a"))
    assert (created.status_code, created.json()) == (201, bulk("b", "a"))
    assert (await site.admin.post(url, json=bulk("c"), headers={"x-openstack-append": "True"})).status_code == 201
    assert await there() == ["a", "b", "c"]
    assert (await site.admin.post(url, json=bulk("d", "a"), headers={"x-openstack-append": "1"})).status_code == 409
    assert (await site.admin.post(url, json=bulk("d", "d"))).status_code == 409
    assert await there() == ["a", "b", "c"]
    assert (await site.admin.post(url, json=bulk("x"))).status_code == 201
    assert await there() == ["x"]
    one = await site.admin.post(f"{url}/y z")
    assert (one.status_code, {*one.json()}) == (201, {"name", "created_at", "updated_at"})
    assert (await site.admin.post(f"{url}/y z")).status_code == 409
    assert (await site.admin.put(f"{url}/y z", json={"name": "w"})).json()["name"] == "w"
    assert (await site.admin.put(f"{url}/w", json={"name": "x"})).status_code == 409
    assert await there() == ["w", "x"]
    page = (await site.ann.get(f"{url}?limit=1&marker=w&sort_key=name&sort_dir=asc")).json()
    assert page == bulk("x")
    assert (await site.ann.get(f"{url}?marker=none")).status_code == 404
    assert (await site.admin.delete(f"{url}/w")).status_code == 204
    assert (await site.ann.get(f"{url}/w")).status_code == 404
    assert (await site.admin.delete(url)).status_code == 204
    assert await there() == []


async def test_resource_types_and_their_associations(site: Site) -> None:
    url = f"{await made(site)}/resource_types"
    body = {"name": "T", "prefix": "t:", "properties_target": "image"}
    created = await site.admin.post(url, json=body)
    assert (created.status_code, {**created.json(), **body}) == (201, created.json())
    assert (await site.admin.post(url, json=body)).status_code == 409
    assert (await site.ann.get(url)).json() == {"resource_type_associations": [created.json()]}
    assert (await site.admin.delete(f"{url}/T")).status_code == 204
    assert (await site.admin.delete(f"{url}/T")).status_code == 404
    assert (await site.ann.get(url)).json() == {"resource_type_associations": []}
    known = (await site.ann.get("/v2/metadefs/resource_types")).json()["resource_types"]
    assert [{*one} for one in known if one["name"] == "T"] == [{"name", "created_at", "updated_at"}]


async def test_lists_are_filtered_and_page_by_their_links(site: Site) -> None:
    for at in range(5):
        visibility = "private" if at == 2 else "public"
        linked = [{"name": "A"}, {"name": "B"}] if at in (1, 2) else [{"name": "B"}] if at == 3 else []
        await made(site, namespace=f"n{at}", visibility=visibility, resource_type_associations=linked)
    url, seen = f"{ROOT}?limit=2&sort_key=namespace&sort_dir=desc", []
    while url:
        page = (await site.ann.get(url)).json()
        assert page["schema"] == "/v2/schemas/metadefs/namespaces"
        assert page["first"] == f"{ROOT}?limit=2&sort_key=namespace&sort_dir=desc"
        seen += [one["namespace"] for one in page["namespaces"]]
        url = page.get("next")
    assert seen == ["n4", "n3", "n1", "n0"]
    assert (await site.ann.get(ROOT)).json()["first"] == ROOT
    assert await names(site.admin, "?visibility=private") == ["n2"]
    assert await names(site.ann, "?visibility=private") == []
    assert await names(site.ann, "?resource_types=A&sort_key=display_name") == ["n1"]
    assert sorted(await names(site.admin, "?resource_types=A,B,C")) == ["n1", "n2", "n3"]
    assert await names(site.admin, "?resource_types=C") == []
    assert await names(site.ann, "?limit=0") == []
    assert (await site.ann.get(f"{ROOT}?marker=n2")).status_code == 404


async def test_answers_are_as_the_schemas_say_and_may_come_back(site: Site) -> None:
    """python-glanceclient checks every answer so, and sends a whole namespace back to change a part of it."""
    url = await made(site, **{**WATCHDOG, "namespace": "n"})
    shown = (await site.ann.get(url)).json()
    answers = {
        "namespace": shown,
        "namespaces": (await site.ann.get(ROOT)).json(),
        "object": (await site.ann.get(f"{url}/objects/CPU Limits")).json(),
        "objects": (await site.ann.get(f"{url}/objects")).json(),
        "property": (await site.ann.get(f"{url}/properties/action")).json(),
        "properties": (await site.ann.get(f"{url}/properties")).json(),
        "tag": (await site.ann.get(f"{url}/tags/a")).json(),
        "tags": (await site.ann.get(f"{url}/tags")).json(),
        "resource_types": (await site.ann.get(f"{url}/resource_types")).json(),
    }
    for name, answer in answers.items():
        schema = (await site.ann.get(f"/v2/schemas/metadefs/{name}")).json()
        jsonschema_rs.Draft4Validator(schema, validate_formats=True).validate(answer)
    back = {key: value for key, value in shown.items() if key not in ("self", "schema", "created_at", "updated_at")}
    assert (await site.admin.put(url, json={**back, "display_name": "Changed"})).status_code == 200
    again = (await site.ann.get(url)).json()
    assert {**again, "display_name": "Watchdog", "updated_at": ""} == {**shown, "updated_at": ""}
    assert (await site.admin.delete(url)).status_code == 204
    assert (await site.admin.post(ROOT, json=back)).status_code == 201


async def test_schemas(site: Site) -> None:
    inner = {"namespaces": "namespace", "objects": "object", "tags": "tag", "properties": "property"}
    for many, one in {**inner, "resource_types": "resource_type"}.items():
        shown = (await site.eve.get(f"/v2/schemas/metadefs/{one}")).json()
        listed = (await site.eve.get(f"/v2/schemas/metadefs/{many}")).json()
        part = listed["properties"][listed["name"]]
        assert (part.get("items") or part["additionalProperties"])["properties"] == shown["properties"]
        assert listed.get("definitions") == shown.get("definitions")
        assert listed["name"].startswith(shown["name"][:7])
    assert shown["name"] == "resource_type_association"
    space = (await site.eve.get("/v2/schemas/metadefs/namespace")).json()
    assert space["required"] == ["namespace"]
    assert space["properties"]["properties"] == {"$ref": "#/definitions/property"}
    held = space["definitions"]["property"]["additionalProperties"]["properties"]
    assert held["minItems"] == {"$ref": "#/definitions/positiveIntegerDefault0"}
    assert (await site.eve.get("/v2/schemas/metadefs/nothing")).status_code == 404
    async with site.client("nobody") as nobody:
        for name in (*inner, *inner.values(), "resource_type", "resource_types"):
            assert (await nobody.get(f"/v2/schemas/metadefs/{name}")).status_code == 401
        assert (await nobody.get("/v2/metadefs/resource_types")).status_code == 401
