"""Regions, services and endpoints, and unified limits over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from identity_site import ENDPOINTS, Site, open_site

URL = "http://elsewhere:9696/$(project_id)s"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as one:
        yield one


async def made(site: Site, noun: str, **values: Any) -> dict[str, Any]:
    answer = await site.ask("POST", f"/v3/{noun}s", json={noun: values})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()[noun])


async def catalog(site: Site, who: str = "demo") -> dict[str, list[str]]:
    found = (await site.ask("GET", "/v3/auth/catalog", who)).json()["catalog"]
    return {entry["type"]: [endpoint["url"] for endpoint in entry["endpoints"]] for entry in found}


async def test_own_endpoints_follow_the_host_and_others_are_as_stored(site: Site) -> None:
    service = await made(site, "service", type="dns", name="designate", colour="red")
    assert (service["enabled"], service["colour"]) == (True, "red")
    endpoint = await made(site, "endpoint", service_id=service["id"], interface="public", url=URL, region="RegionTwo")
    assert (endpoint["region_id"], endpoint["region"], endpoint["url"]) == ("RegionTwo", "RegionTwo", URL)
    assert (await site.ask("GET", "/v3/regions/RegionTwo")).status_code == 200
    shown = await catalog(site)
    assert shown["dns"] == [f"http://elsewhere:9696/{site.ids.demo_project_id}"]
    assert shown["compute"] == ["http://cloud:8774/compute/v2.1"] * 3
    other = httpx.AsyncClient(transport=httpx.ASGITransport(site.app), base_url="https://other")
    headers = {"x-auth-token": await site.token()}
    found = (await other.get("/identity/v3/auth/catalog", headers=headers)).json()["catalog"]
    assert {e["url"] for s in found if s["type"] == "compute" for e in s["endpoints"]} == {"https://other/compute/v2.1"}
    own = (await site.ask("GET", "/v3/endpoints?interface=public")).json()["endpoints"]
    assert {one["url"] for one in own} == {"http://cloud:8774/identity", "http://cloud:8774/compute/v2.1", URL}
    # What needs a project is not shown to a token without one.
    system = await site.log_in(
        {"name": "admin", "domain": {"id": "default"}, "password": "adminpw"}, {"system": {"all": True}}
    )
    assert [s["endpoints"] for s in system.json()["token"]["catalog"] if s["type"] == "dns"] == [[]]
    for path, change in ((f"/v3/endpoints/{endpoint['id']}", "endpoint"), (f"/v3/services/{service['id']}", "service")):
        assert (await site.ask("PATCH", path, json={change: {"enabled": False}})).status_code == 200
        assert not (await catalog(site)).get("dns")
        if change == "endpoint":
            assert (await site.ask("PATCH", path, json={change: {"enabled": True}})).json()[change]["enabled"] is True
            assert (await catalog(site))["dns"]
    assert (await site.ask("DELETE", f"/v3/services/{service['id']}")).status_code == 204
    assert (await site.ask("GET", f"/v3/endpoints/{endpoint['id']}")).status_code == 404


async def test_what_an_operator_changed_stays_after_a_start(site: Site) -> None:
    services = (await site.ask("GET", "/v3/services?type=compute")).json()["services"]
    endpoints = (await site.ask("GET", f"/v3/endpoints?service_id={services[0]['id']}")).json()["endpoints"]
    moved = {"endpoint": {"url": "https://nova.example/v2.1"}}
    assert (await site.ask("PATCH", f"/v3/endpoints/{endpoints[0]['id']}", json=moved)).status_code == 200
    assert (await site.ask("DELETE", f"/v3/endpoints/{endpoints[1]['id']}")).status_code == 204
    await site.services.catalog.found(ENDPOINTS, "Elsewhere")
    left = (await site.ask("GET", f"/v3/endpoints?service_id={services[0]['id']}")).json()["endpoints"]
    assert {(one["url"], one["region_id"]) for one in left} == {
        ("https://nova.example/v2.1", "RegionOne"),
        ("http://cloud:8774/compute/v2.1", "Elsewhere"),
    }


async def test_regions_have_parents(site: Site) -> None:
    top = await made(site, "region", id="top", description=None)
    assert (top["description"], top["parent_region_id"]) == ("", None)
    below = await made(site, "region", parent_region_id="top", description="d")
    assert len(below["id"]) == 32
    put = await site.ask("PUT", "/v3/regions/put", json={"region": {"parent_region_id": "top"}})
    assert (put.status_code, put.json()["region"]["id"]) == (201, "put")
    listed = (await site.ask("GET", "/v3/regions?parent_region_id=top", "demo")).json()["regions"]
    assert {one["id"] for one in listed} == {below["id"], "put"}
    for method, path, body, status in (
        ("POST", "/v3/regions", {"id": "top"}, 409),
        ("POST", "/v3/regions", {"parent_region_id": "none"}, 404),
        ("PUT", "/v3/regions/a", {"id": "b"}, 400),
        ("PATCH", "/v3/regions/top", {"parent_region_id": "put"}, 400),
        ("PATCH", "/v3/regions/none", {"description": "x"}, 404),
        ("DELETE", "/v3/regions/top", None, 403),
        ("DELETE", "/v3/regions/RegionOne", None, 403),
        ("DELETE", "/v3/regions/put", None, 204),
        ("GET", "/v3/regions/put", None, 404),
    ):
        json = None if body is None else {"region": body}
        assert (await site.ask(method, path, json=json)).status_code == status, (method, path)


@pytest.mark.parametrize(
    ("noun", "given"),
    [
        ("service", {}),
        ("service", {"type": ""}),
        ("service", {"type": "x", "enabled": "yes"}),
        ("endpoint", {"interface": "public"}),
        ("endpoint", {"interface": "secret", "url": "http://x", "service_id": "SERVICE"}),
        ("endpoint", {"interface": "public", "url": "/relative", "service_id": "SERVICE"}),
        ("endpoint", {"interface": "public", "url": "http://x", "service_id": "none"}),
        ("endpoint", {"interface": "public", "url": "http://x/$(nonsense)s", "service_id": "SERVICE"}),
        ("endpoint", {"interface": "public", "url": "http://x/%(project_id", "service_id": "SERVICE"}),
        ("endpoint", {"interface": "public", "url": "http://x", "service_id": "SERVICE", "region_id": "none"}),
        ("region", {"id": "x" * 256}),
    ],
)
async def test_bad_entries_are_refused(site: Site, noun: str, given: Any) -> None:
    service = (await site.ask("GET", "/v3/services")).json()["services"][0]["id"]
    given = {key: service if value == "SERVICE" else value for key, value in given.items()}
    before = (await site.ask("GET", f"/v3/{noun}s")).json()
    assert (await site.ask("POST", f"/v3/{noun}s", json={noun: given})).status_code == 400
    assert (await site.ask("GET", f"/v3/{noun}s")).json() == before


async def test_only_administrators_change_the_catalog(site: Site) -> None:
    await site.add("auditor", "reader", "system")
    for noun, body in (("service", {"type": "x"}), ("region", {"id": "x"})):
        assert (await site.ask("POST", f"/v3/{noun}s", "demo", json={noun: body})).status_code == 403
        assert (await site.ask("POST", f"/v3/{noun}s", "", json={noun: body})).status_code == 401
    who = {"name": "auditor", "domain": {"id": "default"}, "password": "auditorpw"}
    token = (await site.log_in(who, {"system": {"all": True}})).headers["x-subject-token"]
    assert (await site.ask("GET", "/v3/services", token=token)).status_code == 200
    assert (await site.ask("POST", "/v3/services", token=token, json={"service": {"type": "x"}})).status_code == 403
    assert (await site.ask("GET", "/v3/OS-EP-FILTER/endpoint_groups")).status_code == 501


async def test_the_limits_of_a_service_go_with_it(site: Site) -> None:
    service = (await site.ask("POST", "/v3/services", json={"service": {"type": "x"}})).json()["service"]["id"]
    base = {"service_id": service, "resource_name": "cores"}
    for noun, values in (
        ("registered_limit", {"default_limit": 1}),
        ("limit", {"resource_limit": 2, "project_id": site.ids.demo_project_id}),
    ):
        body = {f"{noun}s": [{**base, **values}]}
        assert (await site.ask("POST", f"/v3/{noun}s", json=body)).status_code == 201
    assert (await site.ask("DELETE", f"/v3/services/{service}")).status_code == 204
    assert (await site.ask("GET", "/v3/limits")).json()["limits"] == []
    assert (await site.ask("GET", "/v3/registered_limits")).json()["registered_limits"] == []


async def test_the_life_of_a_limit(site: Site) -> None:
    service = (await site.ask("GET", "/v3/services?type=compute")).json()["services"][0]["id"]
    one = {"service_id": service, "resource_name": "cores", "default_limit": 10}
    two = {**one, "region_id": "RegionOne", "resource_name": "ram", "description": "MiB"}
    body = {"registered_limits": [one, two]}
    registered: list[Any] = []
    for who, status in (("", 401), ("demo", 403), ("admin", 201), ("admin", 409)):
        answer = await site.ask("POST", "/v3/registered_limits", who, json=body)
        assert answer.status_code == status
        registered = registered or answer.json().get("registered_limits", [])
    assert [row["default_limit"] for row in registered] == [10, 10]
    demo, admin = site.ids.demo_project_id, site.ids.admin_project_id
    base = {"service_id": service, "resource_name": "cores", "resource_limit": 5}
    limits = [{**base, "project_id": demo}, {**base, "project_id": admin}, {**base, "domain_id": "default"}]
    assert (await site.ask("POST", "/v3/limits", "demo", json={"limits": limits})).status_code == 403
    answer = await site.ask("POST", "/v3/limits", json={"limits": limits})
    assert answer.status_code == 201
    of_demo, of_admin, of_domain = (row["id"] for row in answer.json()["limits"])
    for given, status in (
        ({**base, "project_id": demo}, 409),
        ({**base, "project_id": "none"}, 400),
        ({**base, "project_id": demo, "domain_id": "default"}, 400),
        (base, 400),
        ({**base, "project_id": demo, "resource_name": "disk"}, 403),
        ({**base, "project_id": demo, "resource_limit": -2}, 400),
        ({**base, "project_id": demo, "resource_limit": "5"}, 400),
    ):
        assert (await site.ask("POST", "/v3/limits", json={"limits": [given]})).status_code == status, given
    assert len((await site.ask("GET", "/v3/limits")).json()["limits"]) == 3
    assert [row["id"] for row in (await site.ask("GET", "/v3/limits", "demo")).json()["limits"]] == [of_demo]
    assert (await site.ask("GET", f"/v3/limits?project_id={admin}", "demo")).json()["limits"] == []
    assert len((await site.ask("GET", f"/v3/limits?project_id={admin}")).json()["limits"]) == 1
    for identifier, status in ((of_demo, 200), (of_admin, 403), (of_domain, 403), ("none", 403)):
        assert (await site.ask("GET", f"/v3/limits/{identifier}", "demo")).status_code == status
    assert (await site.ask("GET", "/v3/limits/none")).status_code == 404
    changed = {"limit": {"resource_limit": 7}}
    assert (await site.ask("PATCH", f"/v3/limits/{of_demo}", "demo", json=changed)).status_code == 403
    assert (await site.ask("PATCH", f"/v3/limits/{of_demo}", json=changed)).json()["limit"]["resource_limit"] == 7
    # What limits rest on neither goes nor moves.
    cores = f"/v3/registered_limits/{registered[0]['id']}"
    assert (await site.ask("DELETE", cores)).status_code == 403
    moved = {"registered_limit": {"resource_name": "vcpus"}}
    assert (await site.ask("PATCH", cores, json=moved)).status_code == 403
    raised = {"registered_limit": {"default_limit": 20}}
    assert (await site.ask("PATCH", cores, json=raised)).json()["registered_limit"]["default_limit"] == 20
    for identifier in (of_demo, of_admin, of_domain):
        assert (await site.ask("DELETE", f"/v3/limits/{identifier}", "demo")).status_code == 403
        assert (await site.ask("DELETE", f"/v3/limits/{identifier}")).status_code == 204
    assert (await site.ask("DELETE", cores)).status_code == 204
    found = (await site.ask("GET", f"/v3/registered_limits?service_id={service}", "demo")).json()["registered_limits"]
    assert [row["resource_name"] for row in found] == ["ram"]
    assert (await site.ask("GET", "/v3/limits/model", "demo")).json()["model"]["name"] == "flat"


@pytest.mark.parametrize(
    ("noun", "first", "then"),
    [
        ("region", {"description": "a"}, {"description": "b"}),
        ("service", {"type": "dns", "name": "a"}, {"name": "b", "colour": "red"}),
        ("endpoint", {"interface": "public", "url": "http://a"}, {"url": "http://b", "interface": "admin"}),
        ("registered_limit", {"resource_name": "a", "default_limit": 1}, {"resource_name": "b", "description": "d"}),
        ("limit", {"resource_name": "cores", "resource_limit": 1}, {"resource_limit": 2, "description": "d"}),
    ],
)
async def test_what_is_changed_is_read_back_until_it_goes(site: Site, noun: str, first: Any, then: Any) -> None:
    service = (await site.ask("GET", "/v3/services?type=compute")).json()["services"][0]["id"]
    if noun in ("endpoint", "registered_limit", "limit"):
        first = {**first, "service_id": service}
    if noun == "limit":
        first["project_id"] = site.ids.demo_project_id
        registered = {"service_id": service, "resource_name": "cores", "default_limit": 1}
        await site.ask("POST", "/v3/registered_limits", json={"registered_limits": [registered]})
    body = {f"{noun}s": [first]} if "limit" in noun else {noun: first}
    answer = (await site.ask("POST", f"/v3/{noun}s", json=body)).json()
    made = answer[f"{noun}s"][0] if "limit" in noun else answer[noun]
    one = f"/v3/{noun}s/{made['id']}"
    assert made["links"]["self"] == f"http://cloud:8774/identity{one}"
    assert (await site.ask("GET", one)).json()[noun] == made
    assert (await site.ask("PATCH", one, "demo", json={noun: then})).status_code == 403
    assert (await site.ask("PATCH", one, json={noun: then})).status_code == 200
    assert (await site.ask("GET", one)).json()[noun] == {**made, **then}
    assert (await site.ask("DELETE", one, "demo")).status_code == 403
    assert (await site.ask("DELETE", one)).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await site.ask(method, one)).status_code == 404
    assert (await site.ask("PATCH", one, json={noun: then})).status_code == 404
    assert made["id"] not in [row["id"] for row in (await site.ask("GET", f"/v3/{noun}s")).json()[f"{noun}s"]]
