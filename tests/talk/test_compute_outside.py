"""What other services tell of servers, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from compute_world import Site, caller

from kilonova.node.driver.virt.fake import FakeVirt

GHOST = "00000000-0000-4000-8000-000000000000"


async def tell(site: Site, *events: dict[str, str], who: str = "admin", minor: int = 104) -> httpx.Response:
    version = {"openstack-api-version": f"compute 2.{minor}"}
    client: Any = getattr(site, who)
    answer: httpx.Response = await client.post(
        "/os-server-external-events", json={"events": list(events)}, headers=version
    )
    return answer


async def test_each_event_is_taken_or_refused_by_itself(site: Site) -> None:
    server_id = await site.boot()
    [port] = await site.ports()
    plugged = {"name": "network-vif-plugged", "server_uuid": server_id, "tag": port.id}
    for name, status in (("network-vif-unplugged", "DOWN"), ("network-vif-plugged", "ACTIVE")):
        assert (await tell(site, {**plugged, "name": name})).status_code == 200
        assert [p.status for p in await site.ports()] == [status]
    answer = await tell(
        site, plugged, {**plugged, "tag": GHOST}, {"name": "network-changed", "server_uuid": GHOST},
        {"name": "volume-extended", "server_uuid": server_id, "tag": GHOST},
    )  # fmt: skip
    assert answer.status_code == 207
    told = answer.json()["events"]
    assert [(one["code"], one["status"]) for one in told] == [
        (200, "completed"), (422, "failed"), (404, "failed"), (422, "failed")
    ]  # fmt: skip
    assert told[0] == {**plugged, "status": "completed", "code": 200}
    assert (await tell(site, {"name": "network-changed", "server_uuid": GHOST})).status_code == 404


async def test_a_deleted_port_is_taken_from_the_guest(site: Site) -> None:
    server_id = await site.boot()
    [port] = await site.ports()
    gone = {"name": "network-vif-deleted", "server_uuid": server_id, "tag": port.id}
    assert (await tell(site, gone)).status_code == 200
    assert f"NIC {port.mac} is gone" in await site.said(server_id)
    assert (await tell(site, gone)).status_code == 207
    assert (await site.show(server_id))["addresses"] == {}


async def test_what_a_host_missed_is_looked_at(site: Site) -> None:
    server_id = await site.boot()
    virt = site.agents[0]._drivers.virt
    assert isinstance(virt, FakeVirt)
    virt._guests[server_id].state = "stopped"  # behind the driver's back, and no event tells
    assert (await tell(site, {"name": "power-update", "server_uuid": server_id, "tag": "POWER_OFF"})).status_code == 200
    async with asyncio.timeout(5):
        while (await site.show(server_id))["status"] != "SHUTOFF":
            await asyncio.sleep(0.02)
    [port] = await site.ports()
    await site.networks.ports.update(caller("ann"), port.id, {"name": "changed"})
    assert (await tell(site, {"name": "network-changed", "server_uuid": server_id})).status_code == 200


async def test_who_may_tell_what(site: Site) -> None:
    server_id = await site.boot()
    event = {"name": "network-changed", "server_uuid": server_id}
    assert (await tell(site, event, who="ann")).status_code == 403
    for bad in (
        {},
        {"name": "network-changed"},
        {**event, "name": "x"},
        {**event, "status": "odd"},
        {**event, "a": "b"},
    ):
        assert (await tell(site, bad)).status_code == 400, bad
    assert (await tell(site)).status_code == 400
    assert (await tell(site, {**event, "name": "power-update"}, minor=75)).status_code == 400
    assert (await tell(site, {**event, "name": "volume-reimaged"}, minor=92)).status_code == 400
