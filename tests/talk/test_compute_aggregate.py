"""Aggregates and zones over HTTP: what operators gather, and where servers may go because of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from compute_world import PROJECTS, Site, fault

from kilonova.core.context import ALL

EVERY = "/os-aggregates"


@pytest.fixture
def hosts() -> int:
    return 2


async def gather(site: Site, name: str, *hosts: str, **items: str) -> int:
    """An aggregate of these hosts with these items."""
    made = (await site.admin.post(EVERY, json={"aggregate": {"name": name}})).json()["aggregate"]
    for host in hosts:
        assert (await do(site, made["id"], "add_host", host=host)).status_code == 200
    assert (await do(site, made["id"], "set_metadata", metadata=items)).status_code == 200
    return int(made["id"])


async def do(site: Site, number: int, action: str, **given: Any) -> httpx.Response:
    return await site.admin.post(f"{EVERY}/{number}/action", json={action: given})


async def test_an_aggregate_is_made_changed_and_deleted(site: Site) -> None:
    made = (await site.admin.post(EVERY, json={"aggregate": {"name": "rack", "availability_zone": "a"}})).json()
    assert made["aggregate"]["availability_zone"] == "a"
    assert "hosts" not in made["aggregate"]
    one = f"{EVERY}/{made['aggregate']['id']}"
    shown = (await site.admin.get(one)).json()["aggregate"]
    assert shown["metadata"] == {"availability_zone": "a"}
    assert shown["hosts"] == []
    assert shown["updated_at"] is None
    old = await site.admin.get(one, headers={"openstack-api-version": "compute 2.40"})
    assert "uuid" not in old.json()["aggregate"]
    assert "uuid" in shown
    number = shown["id"]
    added = (await do(site, number, "add_host", host="host1")).json()["aggregate"]
    assert added["hosts"] == ["host1"]
    assert added["updated_at"]
    items = (await do(site, number, "set_metadata", metadata={"ssd": "true", "gone": None})).json()["aggregate"]
    assert items["metadata"] == {"availability_zone": "a", "ssd": "true"}
    renamed = (await site.admin.put(one, json={"aggregate": {"name": "row", "availability_zone": "b"}})).json()
    assert (renamed["aggregate"]["name"], renamed["aggregate"]["availability_zone"]) == ("row", "b")
    assert [a["name"] for a in (await site.admin.get(EVERY)).json()["aggregates"]] == ["row"]
    assert (await site.admin.delete(one)).status_code == 400
    assert (await do(site, number, "remove_host", host="host1")).json()["aggregate"]["hosts"] == []
    assert (await site.admin.delete(one)).status_code == 200
    assert fault(await site.admin.get(one)) == (404, f"Aggregate {number} could not be found.")


async def test_aggregates_are_for_operators_and_nonsense_changes_nothing(site: Site) -> None:
    number = await gather(site, "rack", "host1")
    for client in (site.ann, site.eve):
        assert (await client.get(EVERY)).status_code == 403
        assert (await client.post(EVERY, json={"aggregate": {"name": "x"}})).status_code == 403
        assert (await client.delete(f"{EVERY}/{number}")).status_code == 403
    for body in (
        {},
        {"name": ""},
        {"name": "x" * 256},
        {"name": "x", "availability_zone": "a:b"},
        {"name": "x", "y": 1},
    ):
        assert (await site.admin.post(EVERY, json={"aggregate": body})).status_code == 400, body
    assert (await site.admin.post(EVERY, json={"aggregate": {"name": "rack"}})).status_code == 409
    assert (await site.admin.put(f"{EVERY}/{number}", json={"aggregate": {}})).status_code == 400
    assert (await do(site, number, "set_metadata", metadata={"k": 1})).status_code == 400
    assert (await do(site, number, "set_metadata", metadata={"availability_zone": "a:b"})).status_code == 400
    assert (await do(site, number, "add_host", host="nowhere")).status_code == 404
    assert (await do(site, number, "add_host", host="host1")).status_code == 409
    assert (await do(site, number, "remove_host", host="host2")).status_code == 404
    for missing in ("0", "99999999999", "x"):
        assert (await site.admin.get(f"{EVERY}/{missing}")).status_code == 404
    assert [a["hosts"] for a in (await site.admin.get(EVERY)).json()["aggregates"]] == [["host1"]]


async def test_a_zone_is_made_of_hosts_and_keeps_those_with_servers(site: Site) -> None:
    await gather(site, "one", "host1", availability_zone="a")
    second = await gather(site, "two", "host2")
    zones = (await site.ann.get("/os-availability-zone")).json()["availabilityZoneInfo"]
    assert {zone["zoneName"] for zone in zones} == {"a", "nova"}
    server = await site.boot(availability_zone="a")
    assert (await site.servers.get(ALL, server)).host_name == "host1"
    assert (await site.ann.get(f"/servers/{server}")).json()["server"]["OS-EXT-AZ:availability_zone"] == "a"
    assert fault(await do(site, 1, "remove_host", host="host1"))[0] == 409
    assert fault(await do(site, 1, "set_metadata", metadata={"availability_zone": "c"}))[0] == 400
    assert (await do(site, second, "set_metadata", metadata={"availability_zone": "b"})).status_code == 200
    assert fault(await do(site, second, "add_host", host="host1"))[0] == 409
    assert (await site.ann.delete(f"/servers/{server}")).status_code == 204
    assert await site.settle(server) == ""
    assert (await do(site, 1, "set_metadata", metadata={"availability_zone": None})).status_code == 200
    zones = (await site.ann.get("/os-availability-zone")).json()["availabilityZoneInfo"]
    assert {zone["zoneName"] for zone in zones} == {"b", "nova"}


async def test_metadata_says_who_and_what_may_use_the_hosts(site: Site) -> None:
    await gather(site, "ours", "host1", filter_tenant_id=f"x, {PROJECTS['bob']}", disk="ssd,nvme", size="8")
    await gather(site, "theirs", "host2", os_distro="windows")
    for _ in range(3):
        assert (await site.servers.get(ALL, await site.boot())).host_name == "host2"
    specs = {"aggregate_instance_extra_specs:disk": "nvme", "aggregate_instance_extra_specs:size": ">= 4"}
    made = {"flavor": {"name": "fast", "ram": 64, "vcpus": 1, "disk": 1, "id": "fast"}}
    assert (await site.admin.post("/flavors", json=made)).status_code == 200
    old = {"openstack-api-version": "compute 2.85"}
    answer = await site.admin.post("/flavors/fast/os-extra_specs", json={"extra_specs": specs}, headers=old)
    assert answer.status_code == 200, answer.text
    assert (await site.servers.get(ALL, await site.boot(site.bob, flavorRef="fast"))).host_name == "host1"
    assert await site.settle(await site.make(flavorRef="fast")) == "error"
    linux = await site.add_image("linux", properties={"os_distro": "debian"})
    assert await site.settle(await site.make(imageRef=linux)) == "error"
    told = (await site.ann.get(f"/servers/{await site.make(imageRef=linux)}")).json()["server"]
    assert await site.settle(told["id"]) == "error"
    fault_of = (await site.ann.get(f"/servers/{told['id']}")).json()["server"]["fault"]["message"]
    assert "aggregates' projects removed 1, aggregates' image properties removed 1" in fault_of
