"""Moving servers between hosts over HTTP, and the list of what was moved."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from compute_world import Site, act, caller, fault

from kilonova.cloud.image.model import Filter, Page
from kilonova.core.context import ALL
from kilonova.node.agent import Drivers
from kilonova.node.driver.block.fake import FakeBlock
from kilonova.node.driver.net.fake import FakeNet, FakeWorld
from kilonova.node.driver.virt.fake import FakeVirt

LIVE = {"host": None, "block_migration": "auto"}


@pytest.fixture
def hosts() -> int:
    return 2


async def moved(site: Site, server_id: str, action: str, value: Any = None, code: int = 202) -> tuple[str, str]:
    """An action of an administrator that ends; status and host afterwards."""
    answer = await act(site.admin, server_id, action, value)
    assert answer.status_code == code, answer.text
    await site.settle(server_id)
    return await where(site, server_id)


async def where(site: Site, server_id: str) -> tuple[str, str]:
    server = await site.show(server_id)
    return server["status"], server["OS-EXT-SRV-ATTR:host"]


async def listed(site: Site, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await site.admin.get(f"/os-migrations{query}")).json()["migrations"]
    return found


async def test_a_server_moves_and_stays_or_comes_back(site: Site) -> None:
    server_id = await site.boot()
    _, first = await where(site, server_id)
    other = "host2" if first == "host1" else "host1"
    assert await moved(site, server_id, "migrate") == ("VERIFY_RESIZE", other)
    assert await moved(site, server_id, "revertResize") == ("ACTIVE", first)
    assert await moved(site, server_id, "migrate", {"host": other}) == ("VERIFY_RESIZE", other)
    assert await moved(site, server_id, "confirmResize", code=204) == ("ACTIVE", other)
    console = (await act(site.admin, server_id, "os-getConsoleOutput", {})).status_code
    assert console == 200
    await act(site.ann, server_id, "os-stop")
    await site.settle(server_id)
    assert await moved(site, server_id, "migrate") == ("VERIFY_RESIZE", first)
    assert await moved(site, server_id, "confirmResize", code=204) == ("SHUTOFF", first)
    assert [(m["status"], m["source_compute"], m["dest_compute"]) for m in await listed(site)] == [
        ("confirmed", other, first), ("confirmed", first, other), ("reverted", first, other)
    ]  # fmt: skip
    images = await site.images.list(caller("admin"), Filter(), Page())
    assert [image.name for image in images] == ["guest"]


async def test_a_resize_goes_elsewhere_only_where_it_must(site: Site) -> None:
    servers = [await site.boot(flavorRef="1") for _ in range(2)]
    at = {server_id: (await where(site, server_id))[1] for server_id in servers}
    assert await moved(site, servers[0], "resize", {"flavorRef": "2"}) == ("VERIFY_RESIZE", at[servers[0]])
    await moved(site, servers[0], "confirmResize", code=204)
    services = (await site.admin.get("/os-services?binary=nova-compute")).json()["services"]
    [own] = [s["id"] for s in services if s["host"] == at[servers[1]]]
    assert (await site.admin.put(f"/os-services/{own}", json={"status": "disabled"})).status_code == 200
    status, host = await moved(site, servers[1], "resize", {"flavorRef": "2"})
    assert status == "VERIFY_RESIZE"
    assert host != at[servers[1]]
    shown = (await site.admin.get(f"/servers/{servers[1]}")).json()["server"]
    assert shown["flavor"]["ram"] == 2048
    assert await moved(site, servers[1], "revertResize") == ("ACTIVE", at[servers[1]])
    assert [m["migration_type"] for m in await listed(site)] == ["resize", "resize"]


async def test_who_may_move_what_to_where(site: Site) -> None:
    server_id = await site.boot()
    _, host = await where(site, server_id)
    assert (await act(site.ann, server_id, "migrate")).status_code == 403
    assert (await site.ann.get("/os-migrations")).status_code == 403
    same = f"The target host {host} is the one that the server is on."
    assert fault(await act(site.admin, server_id, "migrate", {"host": host})) == (400, same)
    assert (await act(site.admin, server_id, "migrate", {"host": "nowhere"})).status_code == 400
    assert (await act(site.admin, server_id, "migrate", {"host": ""})).status_code == 400
    await act(site.admin, server_id, "pause")
    await site.settle(server_id)
    refused = f"Cannot 'migrate' instance {server_id} while it is in vm_state paused"
    assert fault(await act(site.admin, server_id, "migrate")) == (409, refused)
    assert await listed(site) == []


async def test_a_move_without_a_host_for_it_is_listed_too(site: Site) -> None:
    server_id = await site.boot()
    _, first = await where(site, server_id)
    other = "host2" if first == "host1" else "host1"
    services = (await site.admin.get("/os-services?binary=nova-compute")).json()["services"]
    [unused] = [s["id"] for s in services if s["host"] == other]
    await site.admin.put(f"/os-services/{unused}", json={"status": "disabled"})
    for action, value in (("migrate", None), ("os-migrateLive", LIVE)):
        assert await moved(site, server_id, action, value) == ("ACTIVE", first)
    reason = "No valid host was found: of 2 hosts, host is enabled removed 1, its own host removed 1"
    actions = (await site.admin.get(f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert [one["message"].startswith("Error") for one in actions[:2]] == [True, True]
    told = await site.servers.get(ALL, server_id)
    assert told.fault is not None
    assert told.fault["message"].startswith(reason)
    assert [(m["status"], m["source_compute"], m["dest_compute"], m["migration_type"]) for m in await listed(site)] == [
        ("error", first, "", "live-migration"), ("error", first, "", "migration")
    ]  # fmt: skip


@pytest.mark.parametrize(("action", "call"), [("migrate", "create"), ("os-migrateLive", "receive")])
async def test_a_full_disk_at_the_other_host_leaves_the_server_where_it_is(
    site: Site, tmp_path: Path, action: str, call: str
) -> None:
    server_id = await site.boot()
    _, first = await where(site, server_id)
    full = FakeBlock(state_dir=tmp_path / "full")
    full.script.fail_next(call, 9, "no_space")
    await site.add_host("full", Drivers(FakeVirt(state_dir=tmp_path / "virt"), FakeNet(world=FakeWorld()), full))
    value = {**LIVE, "host": "full"} if action == "os-migrateLive" else {"host": "full"}
    assert await moved(site, server_id, action, value) == ("ACTIVE", first)
    assert (await act(site.admin, server_id, "os-getConsoleOutput", {})).status_code == 200
    assert [one["status"] for one in await listed(site)] == ["error"]
    async with asyncio.timeout(10):
        while (world := await site.nodes.world(site.agents[-1].identity.host_id)).guests or world.disks:
            await asyncio.sleep(0.05)
    shown = (await site.admin.get("/os-hypervisors/detail", headers={"openstack-api-version": "compute 2.1"})).json()
    assert {one["hypervisor_hostname"]: one["vcpus_used"] for one in shown["hypervisors"]}["full"] == 0
    images = await site.images.list(caller("admin"), Filter(), Page())
    assert [image.name for image in images] == ["guest"]


async def test_migrations_are_listed_by_page_and_by_what_they_are(site: Site) -> None:
    server_id = await site.boot()
    for _ in range(3):
        await moved(site, server_id, "migrate")
        await moved(site, server_id, "revertResize")
    every = await listed(site)
    assert len(every) == 3
    answer = (await site.admin.get("/os-migrations?limit=2")).json()
    assert answer["migrations"] == every[:2]
    [link] = answer["migrations_links"]
    marker = link["href"].partition("marker=")[2]
    assert await listed(site, f"?limit=2&marker={marker}") == every[2:]
    assert await listed(site, "?status=confirmed") == []
    assert await listed(site, f"?instance_uuid={server_id}&migration_type=migration") == every
    assert (await site.admin.get("/os-migrations?marker=nothing")).status_code == 400
    assert (await site.admin.get("/os-migrations?nonsense=1")).status_code == 400
    old = {"openstack-api-version": "compute 2.1"}
    [newest, *_] = (await site.admin.get("/os-migrations", headers=old)).json()["migrations"]
    assert "uuid" not in newest
    assert "migration_type" not in newest


async def test_a_deleted_server_leaves_nothing_on_either_host(site: Site) -> None:
    server_id = await site.boot(metadata={"fake.delay.define": "0.3"})
    assert (await act(site.admin, server_id, "migrate")).status_code == 202
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    assert await site.settle(server_id) == ""
    other = await site.boot()
    await moved(site, other, "migrate")
    assert (await site.ann.delete(f"/servers/{other}")).status_code == 204
    assert await site.settle(other) == ""
    for agent in site.agents:
        world = await site.nodes.world(agent.identity.host_id)
        assert (world.guests, world.disks) == ({}, ())
    images = await site.images.list(caller("admin"), Filter(), Page())
    assert [image.name for image in images] == ["guest"]


async def test_a_server_is_taken_elsewhere_while_it_runs(site: Site) -> None:
    server_id = await site.boot()
    _, first = await where(site, server_id)
    other = "host2" if first == "host1" else "host1"
    assert await moved(site, server_id, "os-migrateLive", LIVE) == ("ACTIVE", other)
    await act(site.admin, server_id, "pause")
    await site.settle(server_id)
    assert await moved(site, server_id, "os-migrateLive", {"host": first, "block_migration": True}) == ("PAUSED", first)
    assert await moved(site, server_id, "unpause") == ("ACTIVE", first)
    assert [(m["status"], m["migration_type"], m["dest_compute"]) for m in await listed(site)] == [
        ("completed", "live-migration", first), ("completed", "live-migration", other)
    ]  # fmt: skip
    [log, *_] = (await site.admin.get(f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"][1:]
    assert (log["action"], log["message"]) == ("live-migration", None)
    left = await site.nodes.world(next(a.identity.host_id for a in site.agents if a.identity.name == other))
    assert (left.guests, left.disks, left.ports) == ({}, (), ())


async def under_way(site: Site, server_id: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            found = (await site.admin.get(f"/servers/{server_id}/migrations")).json()["migrations"]
            if found and found[0]["status"] == "running":
                return dict(found[0])
            await asyncio.sleep(0.01)


async def test_a_live_migration_is_watched_and_cancelled(site: Site) -> None:
    server_id = await site.boot(metadata={"fake.delay.send": "30"})
    _, first = await where(site, server_id)
    assert (await act(site.admin, server_id, "os-migrateLive", LIVE)).status_code == 202
    going = await under_way(site, server_id)
    assert going["memory_total_bytes"] >= going["memory_processed_bytes"]
    assert (await site.admin.get(f"/servers/{server_id}")).json()["server"]["status"] == "MIGRATING"
    one = f"/servers/{server_id}/migrations/{going['id']}"
    assert (await site.admin.get(one)).json()["migration"]["uuid"] == going["uuid"]
    assert (await site.admin.post(f"{one}/action", json={"force_complete": None})).status_code == 202
    assert (await site.ann.delete(one)).status_code == 403
    assert (await site.admin.delete(one)).status_code == 202
    await site.settle(server_id)
    assert await where(site, server_id) == ("ACTIVE", first)
    assert [m["status"] for m in await listed(site)] == ["cancelled"]
    assert (await site.admin.get(one)).status_code == 404
    assert (await site.admin.delete(one)).status_code == 400
    assert (await site.admin.post(f"{one}/action", json={"force_complete": None})).status_code == 400
    for nothing in ("999", "x"):
        assert (await site.admin.delete(f"/servers/{server_id}/migrations/{nothing}")).status_code == 404


async def test_what_cannot_be_sent_stays(site: Site) -> None:
    server_id = await site.boot(metadata={"fake.fail.send": "always", "fake.fail.send.code": "unreachable"})
    at = await where(site, server_id)
    assert await moved(site, server_id, "os-migrateLive", LIVE) == at
    assert [m["status"] for m in await listed(site)] == ["error"]
    assert (await act(site.ann, server_id, "os-migrateLive", LIVE)).status_code == 403
    shared, same = {**LIVE, "block_migration": False}, {**LIVE, "host": at[1]}
    for bad in ({}, {"host": None}, shared, same, {**LIVE, "host": "nowhere"}, {**LIVE, "more": 1}):
        assert (await act(site.admin, server_id, "os-migrateLive", bad)).status_code == 400, bad
    await act(site.admin, server_id, "os-stop")
    await site.settle(server_id)
    assert (await act(site.admin, server_id, "os-migrateLive", LIVE)).status_code == 409


async def test_a_host_that_is_said_to_be_down_is_evacuated(site: Site) -> None:
    server_id = await site.boot()
    _, first = await where(site, server_id)
    services = (await site.admin.get("/os-services?binary=nova-compute")).json()["services"]
    [own] = [one["id"] for one in services if one["host"] == first]
    assert (await act(site.admin, server_id, "evacuate", {})).status_code == 400
    assert (await site.ann.put(f"/os-services/{own}", json={"forced_down": True})).status_code == 403
    shown = (await site.admin.put(f"/os-services/{own}", json={"forced_down": True})).json()["service"]
    assert (shown["state"], shown["forced_down"], shown["status"]) == ("down", True, "enabled")
    status, host = await moved(site, server_id, "evacuate", {}, 200)
    assert status == "SHUTOFF"
    assert host != first
    older = {"openstack-api-version": "compute 2.11"}
    named = {"host": first, "binary": "nova-compute", "forced_down": False}
    answer = await site.admin.put("/os-services/force-down", json=named, headers=older)
    assert answer.json() == {"service": {"host": first, "binary": "nova-compute", "forced_down": False}}
    async with asyncio.timeout(10):
        while (await state_of(site, own)) != "up":
            await asyncio.sleep(0.05)


async def state_of(site: Site, service_id: str) -> str:
    services = (await site.admin.get("/os-services")).json()["services"]
    return str(next(one["state"] for one in services if one["id"] == service_id))
