"""Who used how much, over HTTP: exact to the second, of servers living and gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from compute_world import PROJECTS, Site

from kilonova.core.context import ALL

PATH = "/os-simple-tenant-usage"


def moment(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


async def test_usage_is_exact_for_the_living_and_the_gone(site: Site) -> None:
    living, gone = await site.boot(flavorRef="1", name="lives"), await site.boot(flavorRef="2", name="gone")
    await site.boot(site.bob, flavorRef="1")
    at = {one: (await site.servers.get(ALL, one)).launched_at for one in (living, gone)}
    await site.ann.delete(f"/servers/{gone}")
    assert await site.settle(gone) == ""
    ended = (await site.servers.get(ALL, gone, deleted=True)).terminated_at
    start, end = min(at.values()) - 3_600_000_000, ended + 1_000
    query = f"?start={moment(start)}&end={moment(end)}"
    await asyncio.sleep(0.01)
    own = (await site.ann.get(f"{PATH}/{PROJECTS['ann']}{query}")).json()["tenant_usage"]
    hours = {living: (end - at[living]) / 3.6e9, gone: (ended - at[gone]) / 3.6e9}
    assert own["total_hours"] == pytest.approx(sum(hours.values()), abs=1e-9)
    assert own["total_memory_mb_usage"] == pytest.approx(512 * hours[living] + 2048 * hours[gone], abs=1e-6)
    assert (own["start"], own["stop"]) == (moment(start), moment(end))
    told = {one["instance_id"]: one for one in own["server_usages"]}
    assert {one: (told[one]["hours"], told[one]["state"], told[one]["flavor"]) for one in told} == {
        living: (pytest.approx(hours[living]), "active", "m1.tiny"),
        gone: (pytest.approx(hours[gone]), "terminated", "m1.small"),
    }
    assert told[living]["ended_at"] is None
    before = f"?start={moment(start - 10_000_000)}&end={moment(start)}"
    assert (await site.ann.get(f"{PATH}/{PROJECTS['ann']}{before}")).json() == {"tenant_usage": {}}
    part = f"?start={moment(ended)}&end={moment(end)}"
    later = (await site.ann.get(f"{PATH}/{PROJECTS['ann']}{part}")).json()["tenant_usage"]
    assert later["total_hours"] == pytest.approx(1_000 / 3.6e9)
    every = (await site.admin.get(f"{PATH}{query}")).json()["tenant_usages"]
    assert {one["tenant_id"] for one in every} == {PROJECTS["ann"], PROJECTS["bob"]}
    assert "server_usages" not in every[0]
    assert "server_usages" in (await site.admin.get(f"{PATH}{query}&detailed=1")).json()["tenant_usages"][0]


async def test_hours_to_come_are_not_used_yet(site: Site) -> None:
    server = await site.boot()
    launched = (await site.servers.get(ALL, server)).launched_at
    tomorrow = f"?start=1970-01-01T00:00:00&end={moment(launched + 86_400_000_000)}"
    own = (await site.ann.get(f"{PATH}/{PROJECTS['ann']}{tomorrow}")).json()["tenant_usage"]
    assert 0 < own["total_hours"] < 60 / 3600
    assert (own["start"], own["server_usages"][0]["uptime"] < 60) == ("1970-01-01T00:00:00.000000", True)
    later = f"?start={moment(launched + 3_600_000_000)}&end={moment(launched + 7_200_000_000)}"
    assert (await site.ann.get(f"{PATH}/{PROJECTS['ann']}{later}")).json()["tenant_usage"]["total_hours"] == 0


async def test_usage_comes_in_pages(site: Site) -> None:
    servers = sorted([await site.boot() for _ in range(3)])
    await site.ann.delete(f"/servers/{servers[1]}")
    await site.settle(servers[1])
    path = f"{PATH}/{PROJECTS['ann']}?limit=2"
    first = (await site.ann.get(path)).json()
    assert [one["instance_id"] for one in first["tenant_usage"]["server_usages"]] == servers[:2]
    marker = first["tenant_usage_links"][0]["href"].partition("marker=")[2]
    second = (await site.ann.get(f"{path}&marker={marker}")).json()
    assert [one["instance_id"] for one in second["tenant_usage"]["server_usages"]] == servers[2:]
    assert "tenant_usage_links" not in second
    old = {"openstack-api-version": "compute 2.39"}
    whole = (await site.ann.get(f"{PATH}/{PROJECTS['ann']}", headers=old)).json()["tenant_usage"]
    assert len(whole["server_usages"]) == 3


async def test_whose_usage_and_which_times_are_refused(site: Site) -> None:
    own = f"{PATH}/{PROJECTS['ann']}"
    assert (await site.ann.get(PATH)).status_code == 403
    assert (await site.bob.get(own)).status_code == 403
    assert (await site.eve.get(own)).json() == {"tenant_usage": {}}
    for bad in ("start=x", "start=2026-01-02T00:00:00&end=2026-01-01T00:00:00", "end=2026", "marker=x", "limit=x",
                "marker=00000000-0000-4000-8000-000000000000", "more=1"):  # fmt: skip
        assert (await site.ann.get(f"{own}?{bad}")).status_code == 400, bad
