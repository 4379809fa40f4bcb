"""Draining hosts: servers leave live or cold, what cannot leave has its reason, and a crash changes nothing of that."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from compute_world import Site, act


@pytest.fixture
def hosts() -> int:
    return 3


@pytest.fixture
async def operator(site: Site) -> Any:
    client = site.client("admin", "/kilonova/v1")
    yield client
    await client.aclose()


async def ended(operator: httpx.AsyncClient, host: str, seconds: float = 30) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while (found := (await operator.get(f"/hosts/{host}/drain")).json())["state"] == "running":
            await asyncio.sleep(0.05)
    return dict(found)


async def places(site: Site) -> Counter[str]:
    servers = (await site.admin.get("/servers/detail?all_tenants=1")).json()["servers"]
    return Counter(one["OS-EXT-SRV-ATTR:host"] for one in servers)


async def on(site: Site, host: str, **values: Any) -> str:
    made = await site.admin.post("/servers", json=site.body(host=host, **values))
    server_id = str(made.json()["server"]["id"])
    assert await site.settle(server_id) == "active"
    return server_id


async def test_every_server_leaves_as_it_can(site: Site, operator: httpx.AsyncClient) -> None:
    servers = [await on(site, "host1") for _ in range(6)]
    await act(site.admin, servers[0], "os-stop")
    await act(site.admin, servers[1], "pause")
    for server_id in servers[:2]:
        await site.settle(server_id)
    answer = await operator.post("/hosts/host1/drain", json={"reason": "new disks"})
    assert (answer.status_code, answer.json()["state"], answer.json()["total"]) == (202, "running", 6)
    assert (await operator.post("/hosts/host1/drain", json={})).json()["state"] == "running"
    found = await ended(operator, "host1")
    assert (found["state"], found["left"], found["failed"], found["maintenance"]) == ("done", 0, [], True)
    assert (await places(site))["host1"] == 0
    shown = [await site.show(server_id) for server_id in servers]
    assert [one["status"] for one in shown] == ["SHUTOFF", "PAUSED", *["ACTIVE"] * 4]
    kinds = Counter(m["migration_type"] for m in (await site.admin.get("/os-migrations")).json()["migrations"])
    assert kinds == {"live-migration": 5, "migration": 1}
    services = (await site.admin.get("/os-services?binary=nova-compute&host=host1")).json()["services"]
    assert (services[0]["status"], services[0]["disabled_reason"]) == ("disabled", "new disks")


async def test_what_cannot_leave_says_why(site: Site, operator: httpx.AsyncClient) -> None:
    stuck, asleep = await on(site, "host1", metadata={"fake.fail.send": "always"}), await on(site, "host1")
    await act(site.admin, asleep, "suspend")
    await site.settle(asleep)
    await act(site.admin, stuck, "pause")
    await site.settle(stuck)
    free = await on(site, "host1")
    await operator.post("/hosts/host1/drain", json={})
    found = await ended(operator, "host1")
    assert (found["state"], found["left"], found["maintenance"]) == ("failed", 2, False)
    reasons = {one["id"]: one["reason"] for one in found["failed"]}
    assert set(reasons) == {stuck, asleep}
    assert "is suspended" in reasons[asleep]
    assert "told to fail send" in reasons[stuck]
    assert (await site.show(free))["OS-EXT-SRV-ATTR:host"] != "host1"
    assert (await site.show(stuck))["status"] == "PAUSED"


async def test_a_drain_goes_on_after_its_worker_died_and_ends_when_it_is_told_to(
    site: Site, operator: httpx.AsyncClient
) -> None:
    servers = [await on(site, "host1", metadata={"fake.delay.send": "0.2"}) for _ in range(5)]
    await operator.post("/hosts/host1/drain", json={})
    await asyncio.sleep(0.3)
    await site.replace_engine()
    found = await ended(operator, "host1")
    assert (found["state"], found["left"]) == ("done", 0)
    assert {(await site.show(server_id))["status"] for server_id in servers} == {"ACTIVE"}
    more = [await on(site, "host2", metadata={"fake.delay.send": "0.3"}) for _ in range(5)]
    await operator.post("/hosts/host2/drain", json={})
    assert (await operator.delete("/hosts/host2/drain")).status_code == 204
    assert (await operator.get("/hosts/host2/drain")).json()["state"] == "cancelled"
    for server_id in more:
        assert await site.settle(server_id) == "active"


async def test_who_drains_what(site: Site, operator: httpx.AsyncClient) -> None:
    ann = site.client("ann", "/kilonova/v1")
    for method in ("get", "delete"):
        assert (await getattr(ann, method)("/hosts/host1/drain")).status_code == 403
        assert (await getattr(operator, method)("/hosts/nowhere/drain")).status_code == 404
    assert (await ann.post("/hosts/host1/drain", json={})).status_code == 403
    assert (await operator.post("/hosts/nowhere/drain", json={})).status_code == 404
    for bad in ({"reason": 1}, {"more": 1}, []):
        assert (await operator.post("/hosts/host1/drain", json=bad)).status_code == 400
    assert (await operator.get("/hosts/host1/drain")).json() == {
        "host": "host1", "state": "none", "total": 0, "left": 0, "servers": [], "failed": [], "maintenance": False,
        "started_at": 0, "finished_at": None,
    }  # fmt: skip
    services = (await site.admin.get("/os-services?binary=nova-compute&host=host3")).json()["services"]
    await site.admin.put(f"/os-services/{services[0]['id']}", json={"forced_down": True})
    assert (await operator.post("/hosts/host3/drain", json={})).status_code == 409
    await ann.aclose()
