"""Reading servers with 20,000 in the table: a page of 1,000 with details, and single ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from tests.bench.caller import Caller
from tests.bench.daemon import Daemon, running
from tests.bench.figure import Figure, percentile
from tests.bench.server import SERVERS, Recipe, make, until_built

from kilonova.cloud.server import store
from kilonova.cloud.server.model import NicView, Server
from kilonova.core.context import ALL
from kilonova.core.ids import ec2_id, new_uuid
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import open_database

GROUP = "list"
HOSTS: Final = 100
TABLE: Final = 20_000
PAGES: Final = 12
GETS: Final = 4_000
CONNECTIONS: Final = 4


async def measure() -> AsyncIterator[Figure]:
    """One server is booted, then copied into the table while the daemon is stopped."""
    async with running(HOSTS) as daemon:
        caller = await daemon.caller()
        recipe = await Recipe.find(caller)
        made, _ = await make(caller, caller.request("POST", SERVERS, recipe.body("first")))
        await until_built(caller)
        caller.close()
        daemon.stop()
        await _fill(daemon, made)
        await daemon.start()
        await daemon.ready()
        caller = await daemon.caller(connections=CONNECTIONS)
        yield await _page(daemon, caller)
        async for figure in _single(daemon, caller, made):
            yield figure


async def _fill(daemon: Daemon, pattern: str) -> None:
    db = await open_database(f"sqlite:///{daemon.state / 'kilonova.db'}", SystemClock())
    try:
        one = await db.read(lambda tx: store.get(tx, ALL, pattern))
        copies = [_copy(one, i) for i in range(1, TABLE)]
        for start in range(0, len(copies), 1000):
            part = copies[start : start + 1000]
            await db.write(lambda tx, part=part: store.add_all(tx, part))  # type: ignore[misc]
    finally:
        await db.close()


def _copy(one: Server, index: int) -> Server:
    identifier = new_uuid()
    nics = tuple(_nic(nic, index) for nic in one.nics)
    return replace(
        one, id=identifier, ec2_id=ec2_id("i", identifier), name=f"server-{index}", hostname=f"server-{index}",
        created_at=one.created_at + index, nics=nics,
    )  # fmt: skip


def _nic(nic: NicView, index: int) -> NicView:
    address = f"10.96.{index >> 8}.{index & 255}"
    addresses = tuple((subnet, address, version) for subnet, _, version in nic.addresses)
    return NicView(
        port_id=new_uuid(), network_id=nic.network_id, network_label=nic.network_label, mac=nic.mac, addresses=addresses
    )


async def _page(daemon: Daemon, caller: Caller) -> Figure:
    path = f"{SERVERS}/detail?limit=1000"
    first = (await caller.get(path))["servers"]
    request = caller.request("GET", f"{path}&marker={first[-1]['id']}")
    walls, before = [], daemon.cpu()
    for _ in range(PAGES):
        began = time.perf_counter()
        reply = await caller.ask(request)
        walls.append(time.perf_counter() - began)
    cpu, wall = (daemon.cpu() - before) / PAGES * 1e3, percentile(walls, 0.5) * 1e3
    assert len(reply.json()["servers"]) == 1000
    return Figure(
        GROUP, f"GET /servers/detail, page of 1,000 of {TABLE:,}", wall, "ms", 150, cpu=cpu, wall=wall,
        note=f"p50 of {PAGES}, second page, {len(reply.body) / 1e6:.2f} MB",
    )  # fmt: skip


async def _single(daemon: Daemon, caller: Caller, server_id: str) -> AsyncIterator[Figure]:
    request = caller.request("GET", f"{SERVERS}/{server_id}")

    async def ask() -> None:
        for _ in range(GETS // CONNECTIONS):
            assert (await caller.ask(request)).status == 200

    await caller.ask(request)
    before, began = daemon.cpu(), time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    wall, cpu = time.perf_counter() - began, daemon.cpu() - before
    each, rate = cpu / GETS * 1e3, GETS / wall
    note = f"{GETS:,} on {CONNECTIONS} connections, {HOSTS} hosts"
    yield Figure(GROUP, "GET /servers/{id}, CPU each", each, "ms CPU", 0.75, cpu=each, note=note)
    yield Figure(
        GROUP, "GET /servers/{id}, requests per second", rate, "/s", 1000, at_least=True, wall=wall / GETS * 1e3,
        note=f"{note}; the caller shares the machine",
    )  # fmt: skip
