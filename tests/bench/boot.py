"""Boots on 100 simulated hosts: what one costs, how soon the reply and the server are there, and 1,000 at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Final

from tests.bench.caller import Caller
from tests.bench.daemon import Daemon, running
from tests.bench.figure import Figure, percentile
from tests.bench.server import SERVERS, Recipe, idle_share, make, until_built

GROUP = "boot"
HOSTS = 100
SINGLE = 250
SPACING = 0.06
PARALLEL = 500
WATCHED = 60
LOADED = 120
BATCH = 1000
COUNTED: Final = {
    "kilonova_database_writes": "transactions (write)",
    "kilonova_database_reads": "transactions (read)",
    "kilonova_database_commits": "durable commits",
    "kilonova_database_statements": "statements",
    "kilonova_bus_wakes": "messages (hint)",
    "kilonova_bus_calls": "messages (call)",
}


async def measure() -> AsyncIterator[Figure]:
    """All on one daemon; each part begins when nothing is being built."""
    async with running(HOSTS) as daemon:
        caller = await daemon.caller(connections=16)
        recipe = await Recipe.find(caller)
        for i in range(20):
            await make(caller, caller.request("POST", SERVERS, recipe.body(f"warm-{i}")))
        await until_built(caller)
        await asyncio.sleep(1)
        idle = await idle_share(daemon)
        for figures in (_one_by_one, _parallel):
            async for figure in figures(daemon, caller, recipe, idle):
                yield figure
        yield await _watched(caller, recipe)
        async for figure in _loaded(daemon, caller, recipe):
            yield figure
    async with running(HOSTS) as daemon:
        async for figure in _thousand(daemon):
            yield figure


async def _one_by_one(daemon: Daemon, caller: Caller, recipe: Recipe, idle: float) -> AsyncIterator[Figure]:
    """A boot every 60 ms: each is through before the next begins, and nobody polls."""
    replies = []
    counted = await caller.gauges()
    before, began = daemon.cpu(), time.perf_counter()
    for i in range(SINGLE):
        replies.append((await make(caller, caller.request("POST", SERVERS, recipe.body(f"one-{i}"))))[1])
        await asyncio.sleep(max(0.0, began + (i + 1) * SPACING - time.perf_counter()))
    await asyncio.sleep(0.2)
    took = time.perf_counter() - began
    cpu = daemon.cpu() - before - idle * took
    for figure in _per_boot(counted, await caller.gauges(), SINGLE):
        yield figure
    await until_built(caller)
    yield Figure(
        GROUP, "CPU per boot, one by one", cpu / SINGLE * 1e3, "ms CPU", 14, cpu=cpu / SINGLE * 1e3,
        note=f"{SINGLE} boots; the idle hosts' {idle:.1%} of a core taken off",
    )  # fmt: skip
    for share, name, budget in ((0.5, "p50", 15), (0.99, "p99", 40)):
        wall = percentile(replies, share) * 1e3
        yield Figure(GROUP, f"POST /servers → reply, {name}", wall, "ms", budget, wall=wall, note="unloaded")


def _per_boot(before: Mapping[str, float], after: Mapping[str, float], boots: int) -> list[Figure]:
    """What /metrics counted, divided; the hosts' own digests and heartbeats of that time are in it."""
    return [
        Figure(
            GROUP, f"per boot: {text}", (after[name] - before[name]) / boots, "", note="one by one, hosts' own included"
        )
        for name, text in COUNTED.items()
    ]


async def _parallel(daemon: Daemon, caller: Caller, recipe: Recipe, idle: float) -> AsyncIterator[Figure]:
    requests = [caller.request("POST", SERVERS, recipe.body(f"many-{i}")) for i in range(PARALLEL)]
    before, began = daemon.cpu(), time.perf_counter()
    await asyncio.gather(*(make(caller, request) for request in requests))
    await until_built(caller)
    wall = (time.perf_counter() - began) / PARALLEL * 1e3
    cpu = (daemon.cpu() - before) / PARALLEL * 1e3
    yield Figure(
        GROUP, "CPU per boot, 16 requests at once", cpu, "ms CPU", 14, cpu=cpu, wall=wall, note=f"{PARALLEL} boots"
    )


async def _watched(caller: Caller, recipe: Recipe) -> Figure:
    walls = []
    for i in range(WATCHED):
        began = time.perf_counter()
        made, _ = await make(caller, caller.request("POST", SERVERS, recipe.body(f"watched-{i}")))
        look = caller.request("GET", f"{SERVERS}/{made}")
        while (await caller.ask(look)).json()["server"]["status"] != "ACTIVE":
            await asyncio.sleep(0.004)
        walls.append(time.perf_counter() - began)
    wall = percentile(walls, 0.5) * 1e3
    return Figure(GROUP, "POST → ACTIVE, p50", wall, "ms", 100, wall=wall, note=f"{WATCHED} boots, asked every 4 ms")


async def _loaded(daemon: Daemon, caller: Caller, recipe: Recipe) -> AsyncIterator[Figure]:
    """20 boots a second, while 50 times a second someone asks for a server."""
    made, _ = await make(caller, caller.request("POST", SERVERS, recipe.body("asked")))
    other = await daemon.caller(connections=4)
    readers = [asyncio.create_task(_ask_often(other, made, 0.08)) for _ in range(4)]
    began, replies = time.perf_counter(), []
    for i in range(LOADED):
        replies.append((await make(caller, caller.request("POST", SERVERS, recipe.body(f"loaded-{i}"))))[1])
        await asyncio.sleep(max(0.0, began + (i + 1) * 0.05 - time.perf_counter()))
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await until_built(caller)
    for share, name, budget in ((0.5, "p50", 15), (0.99, "p99", 40)):
        wall = percentile(replies, share) * 1e3
        note = "20 boots/s and 50 GET/s"
        yield Figure(GROUP, f"POST /servers → reply, {name}, under load", wall, "ms", budget, wall=wall, note=note)


async def _ask_often(caller: Caller, server_id: str, pause: float) -> None:
    while True:
        await caller.get(f"{SERVERS}/{server_id}")
        await asyncio.sleep(pause)


async def _thousand(daemon: Daemon) -> AsyncIterator[Figure]:
    caller = await daemon.caller()
    recipe = await Recipe.find(caller)
    request = caller.request("POST", SERVERS, recipe.body("thousand", BATCH))
    before = daemon.cpu()
    _, accepted = await make(caller, request)
    accepted_cpu = daemon.cpu() - before
    began = time.perf_counter()
    await until_built(caller, pause=0.1)
    wall, cpu = accepted + time.perf_counter() - began, daemon.cpu() - before
    yield Figure(
        GROUP, "1,000 servers in one request: accepted", accepted, "s", 2, cpu=accepted_cpu * 1e3, wall=accepted * 1e3
    )
    yield Figure(GROUP, "1,000 servers in one request: all ACTIVE", wall, "s", 20, cpu=cpu * 1e3, wall=wall * 1e3)
