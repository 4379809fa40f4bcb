"""Waiting for a server in one request: for a status, for the end of a task, until the time is over."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from compute_world import Site, act, fault

from kilonova.cloud.server import store
from kilonova.core.context import ALL
from kilonova.edge.openstack.compute.server import wait
from kilonova.kit.db import Tx


async def status(client: httpx.AsyncClient, server_id: str, query: str) -> str:
    answer = await client.get(f"/servers/{server_id}?{query}")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["server"]["status"])


async def test_a_server_is_answered_when_it_runs(site: Site) -> None:
    server_id = await site.make()
    assert await status(site.ann, server_id, "wait=30&status=ACTIVE,ERROR") == "ACTIVE"
    assert (await act(site.ann, server_id, "os-stop")).status_code == 202
    assert await status(site.ann, server_id, "wait=30") == "SHUTOFF"
    assert await status(site.ann, server_id, "wait=30&status=active&status=shutoff") == "SHUTOFF"


async def test_a_failure_is_answered_too(site: Site) -> None:
    script = {"fake.fail.power_on": "always", "fake.fail.power_on.code": "no"}
    server_id = await site.make(metadata=script)
    assert await status(site.ann, server_id, "wait=30&status=ACTIVE,ERROR") == "ERROR"


async def test_without_wait_a_status_means_nothing(still: Site) -> None:
    server_id = await still.make()
    for query in ("status=ACTIVE", "status=cheese", "wait=0&status=cheese"):
        began = time.monotonic()
        assert await status(still.ann, server_id, query) == "BUILD"
        assert time.monotonic() - began < 0.5


async def test_the_server_as_it_is_when_the_time_is_over(still: Site) -> None:
    server_id = await still.make()
    began = time.monotonic()
    assert await status(still.ann, server_id, "wait=1&status=ACTIVE") == "BUILD"
    assert 0.9 < time.monotonic() - began < 3


async def test_a_server_that_goes_ends_the_wait(site: Site) -> None:
    server_id = await site.boot()
    waiting = asyncio.create_task(site.ann.get(f"/servers/{server_id}?wait=30&status=SHUTOFF"))
    await asyncio.sleep(0.05)
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    assert fault(await waiting)[0] == 404


async def test_only_one_s_own_servers_are_waited_for(site: Site) -> None:
    server_id = await site.make()
    assert fault(await site.bob.get(f"/servers/{server_id}?wait=30&status=ACTIVE"))[0] == 404
    assert await status(site.admin, server_id, "wait=30&status=ACTIVE") == "ACTIVE"


async def test_the_end_of_the_cloud_ends_a_wait(still: Site) -> None:
    server_id = await still.make()
    waiting = asyncio.create_task(status(still.ann, server_id, "wait=30&status=ACTIVE"))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await still.feed.stop()
    assert await waiting == "BUILD"
    assert time.monotonic() - began < 1


async def test_who_waits_asks_the_database_nothing_meanwhile(still: Site) -> None:
    server_id, other = await still.make(), await still.make()
    crowd = [asyncio.create_task(status(still.ann, server_id, "wait=30&status=ERROR")) for _ in range(50)]
    await asyncio.sleep(0.3)
    before = still.db.counts.reads

    def rename(tx: Tx) -> None:
        store.edit(tx, ALL, other, name="other")

    for _ in range(5):
        await still.db.write(rename)
    await asyncio.sleep(0.3)
    assert still.db.counts.reads - before < 25

    def fail(tx: Tx) -> None:
        store.move(tx, store.lock(tx, ALL, server_id), "fail")

    await still.db.write(fail)
    assert set(await asyncio.gather(*crowd)) == {"ERROR"}


async def test_waits_are_counted_and_given_back(still: Site) -> None:
    server_id = await still.make()
    crowd = [asyncio.create_task(status(still.ann, server_id, "wait=2&status=ERROR")) for _ in range(wait.EACH)]
    await asyncio.sleep(0.5)
    refused = await still.ann.get(f"/servers/{server_id}?wait=1&status=ERROR")
    assert fault(refused)[0] == 429
    assert await status(still.ann, server_id, "") == "BUILD"
    assert await status(still.admin, server_id, "wait=1&status=ERROR") == "BUILD"
    await asyncio.gather(*crowd)
    assert await status(still.ann, server_id, "wait=1&status=BUILD") == "BUILD"


BAD = [
    "wait=61",
    "wait=-1",
    "wait=x",
    "wait=",
    "wait=1.5",
    "wait=9999",
    "wait=5&status=CHEESE",
    "wait=5&status=ACTIVE,",
]


@pytest.mark.parametrize("query", BAD)
async def test_bad_waits_are_refused(still: Site, query: str) -> None:
    server_id = await still.make()
    assert fault(await still.ann.get(f"/servers/{server_id}?{query}"))[0] == 400
