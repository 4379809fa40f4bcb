"""The usage audit: who was there in a period that is over, told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from compute_world import PROJECTS, Site, fault

from kilonova.cloud.event.model import EXISTS, Event, Wanted
from kilonova.cloud.event.store import page
from kilonova.core.context import ALL
from kilonova.edge.openstack.compute.notification.notifier import notifications
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import open_database

LOG = "/os-instance_usage_audit_log"


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    db = await open_database(database_url, SystemClock())
    site = Site(db, tmp_path)
    await site.start(hosts=2)
    yield site
    await site.stop()
    await db.close()


async def told(site: Site) -> list[Event]:
    wanted = Wanted(ALL, kinds=frozenset({EXISTS}))
    return await site.db.read(lambda tx: page(tx, wanted, 0, 1 << 60, 1000))


async def test_each_server_of_a_period_is_told_of_once(site: Site) -> None:
    gone, stays = await site.boot(), await site.boot(site.bob)
    await site.ann.delete(f"/servers/{gone}")
    assert await site.settle(gone) == ""
    before = (await site.admin.get(LOG)).json()["instance_usage_audit_logs"]
    assert (before["num_hosts"], before["num_hosts_not_run"], before["log"]) == (2, 2, {})
    assert before["overall_status"] == "0 of 2 hosts done. 0 errors."
    await asyncio.gather(*(site.usage_audit.run() for _ in range(4)))
    await site.usage_audit.run()
    events = await told(site)
    assert sorted((e.server_id, e.project_id) for e in events) == sorted(
        [(gone, PROJECTS["ann"]), (stays, PROJECTS["bob"])]
    )
    log = (await site.admin.get(LOG)).json()["instance_usage_audit_logs"]
    assert (log["num_hosts_done"], log["hosts_not_run"], log["total_instances"]) == (2, [], 2)
    assert log["overall_status"] == "ALL hosts done. 0 errors."
    assert {one["state"] for one in log["log"].values()} == {"DONE"}
    assert log["period_beginning"] < log["period_ending"]
    [event] = [e for e in events if e.server_id == stays]
    [message] = notifications(event, (await site.servers.known([stays]))[stays], "abcdef")
    assert message["event_type"] == "instance.exists"
    payload = message["payload"]
    assert payload["nova_object.name"] == "InstanceExistsPayload"
    period = payload["nova_object.data"]["audit_period"]["nova_object.data"]
    assert period["audit_period_ending"].startswith(log["period_ending"].replace(" ", "T"))


async def test_another_period_and_who_may_ask(site: Site) -> None:
    await site.usage_audit.run()
    path = f"{LOG}/2020-01-01 00:30:00"
    past = (await site.admin.get(path)).json()["instance_usage_audit_log"]
    assert (past["period_beginning"], past["period_ending"]) == ("2019-12-31 23:00:00", "2020-01-01 00:00:00")
    assert past["hosts_not_run"] == ["host1", "host2"]
    assert fault(await site.admin.get(f"{LOG}/yesterday")) == (400, "Invalid timestamp for date yesterday")
    for asked in (LOG, path):
        assert (await site.ann.get(asked)).status_code == 403
