"""Notifications of a server's life, from the request to the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from compute_world import PROJECTS, Site, act

from kilonova.cloud.event.pump import Pump
from kilonova.edge.openstack.compute.notification.notifier import TOPIC, Notifier
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import open_database


class Audience:
    """Listens to the bus."""

    def __init__(self, site: Site) -> None:
        self.heard: list[dict[str, Any]] = []
        self._pump = 0
        self._site = site
        site.bus.listen(TOPIC, lambda data: self.heard.append(msgspec.json.decode(data)))

    def pump(self) -> Pump:
        site = self._site
        self._pump += 1
        take = Notifier(site.servers, site.bus, "abcdef").take
        return Pump("notification", f"pump{self._pump}", site.db, site.feed, site.clock, take)

    async def until(self, event_type: str) -> dict[str, Any]:
        async with asyncio.timeout(15):
            while True:
                for message in self.heard:
                    if message["event_type"] == event_type:
                        return message
                await asyncio.sleep(0.01)

    def actions(self) -> list[str]:
        return [name for m in self.heard if (name := m["event_type"]) != "instance.update"]


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    db = await open_database(database_url, SystemClock())
    site = Site(db, tmp_path)
    await site.start()
    yield site
    await site.stop()
    await db.close()


async def test_a_life_is_told_in_order(site: Site) -> None:
    audience = Audience(site)
    pump = audience.pump()
    await pump.start()
    server_id = await site.boot()
    for action, status in (("os-stop", "stopped"), ("os-start", "active")):
        assert (await act(site.ann, server_id, action)).status_code == 202
        assert await site.settle(server_id) == status
    assert (await act(site.ann, server_id, "lock")).status_code == 202
    assert (await act(site.ann, server_id, "unlock")).status_code == 202
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    end = await audience.until("instance.delete.end")
    assert audience.actions() == [
        "instance.create.start", "instance.create.end", "instance.power_off.start", "instance.power_off.end",
        "instance.power_on.start", "instance.power_on.end", "instance.lock", "instance.unlock",
        "instance.delete.start", "instance.delete.end",
    ]  # fmt: skip
    data = end["payload"]["nova_object.data"]
    assert (data["uuid"], data["tenant_id"], data["state"]) == (server_id, PROJECTS["ann"], "deleted")
    stop = await audience.until("instance.power_off.start")
    start = await audience.until("instance.create.start")
    assert stop["payload"]["nova_object.data"]["task_state"] == "powering-off"
    requests = [m["payload"]["nova_object.data"]["request_id"] for m in (start, stop, end)]
    assert len(set(requests)) == 3
    assert all(requests)
    await pump.stop()


async def test_one_request_has_one_id_from_start_to_end(site: Site) -> None:
    audience = Audience(site)
    pump = audience.pump()
    await pump.start()
    answer = await site.ann.post("/servers", json=site.body())
    await audience.until("instance.create.end")
    told = {m["payload"]["nova_object.data"]["request_id"] for m in audience.heard}
    assert told == {answer.headers["x-openstack-request-id"]}
    await pump.stop()


async def test_a_failure_is_told_with_its_reason(site: Site) -> None:
    audience = Audience(site)
    pump = audience.pump()
    await pump.start()
    await site.make(metadata={"fake.fail.power_on": "always", "fake.fail.power_on.code": "no"})
    failed = await audience.until("instance.create.error")
    assert failed["priority"] == "ERROR"
    assert failed["payload"]["nova_object.data"]["fault"]["nova_object.data"]["exception_message"]
    await pump.stop()


async def test_what_happened_while_nobody_told_is_told_later(site: Site) -> None:
    audience = Audience(site)
    server_id = await site.boot()
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    assert await site.settle(server_id) == ""
    pump = audience.pump()
    await pump.start()
    await audience.until("instance.delete.end")
    await asyncio.sleep(0.1)
    await pump.stop()
    before = len(audience.heard)
    again = audience.pump()
    await again.start()
    await asyncio.sleep(0.5)
    assert len(audience.heard) == before
    await again.stop()
