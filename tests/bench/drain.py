"""An upgrade of a whole cloud: every host in turn is emptied by live migration, then enabled again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from tests.bench.caller import Caller
from tests.bench.daemon import running
from tests.bench.figure import Figure
from tests.bench.server import SERVERS, Recipe, idle_share, until_built

GROUP = "drain"
HOSTS = 100
MANY = 1_000
PATIENCE: Final = 120.0
SERVICES: Final = "/compute/v2.1/os-services"
MIGRATIONS: Final = "/compute/v2.1/os-migrations?limit=1000"


async def measure() -> AsyncIterator[Figure]:
    """`MANY` servers on `HOSTS` hosts; the hosts are drained one after the other."""
    async with running(HOSTS) as daemon:
        caller = await daemon.caller(connections=4)
        recipe = await Recipe.find(caller)
        await caller.post(SERVERS, recipe.body("fleet", MANY))
        await until_built(caller)
        idle = await idle_share(daemon)
        services = (await caller.get(SERVICES))["services"]
        before, began = daemon.cpu(), time.perf_counter()
        left = 0
        for service in services:
            left += await _empty(caller, service["host"])
            await _enable(caller, service["id"])
        took = time.perf_counter() - began
        cpu = daemon.cpu() - before - idle * took
        statuses = await _migrations(caller)
        done = statuses.count("completed")
        failed = len(statuses) - done + left + await _unwell(caller)
        findings = await caller.post("/kilonova/v1/doctor", {}, status=200)
        note = f"{done:,} live migrations from {len(services)} hosts in turn"
        yield Figure(GROUP, "servers driven from every host in turn: failures", failed, "", 0, note=note)
        yield Figure(GROUP, "the same: findings of doctor", len(findings["findings"]), "", 0)
        yield Figure(GROUP, "the same: CPU per migration", cpu / done * 1e3, "ms CPU", 20, cpu=cpu / done * 1e3)
        yield Figure(GROUP, "the same: per host", took / len(services), "s", wall=took / len(services) * 1e3)


async def _empty(caller: Caller, host: str) -> int:
    """Drain it; how many servers would not leave."""
    path = f"/kilonova/v1/hosts/{host}/drain"
    await caller.post(path, {}, status=202)
    deadline = time.monotonic() + PATIENCE
    while (found := (await caller.get(path)))["state"] == "running":
        if time.monotonic() > deadline:
            raise RuntimeError(f"{host} does not get empty: {found}")
        await asyncio.sleep(0.1)
    return int(found["left"])


async def _enable(caller: Caller, service_id: str) -> None:
    reply = await caller.ask(caller.request("PUT", f"{SERVICES}/{service_id}", {"status": "enabled"}))
    if reply.status != 200:
        raise RuntimeError(f"enable: {reply.status} {reply.body.decode()[:500]}")


async def _migrations(caller: Caller) -> Sequence[str]:
    """The state of each migration that there was."""
    found: list[str] = []
    marker = ""
    while page := (await caller.get(MIGRATIONS + marker))["migrations"]:
        found += [one["status"] for one in page]
        marker = f"&marker={page[-1]['uuid']}"
    return found


async def _unwell(caller: Caller) -> int:
    """Servers that are not ACTIVE and at rest."""
    page: list[dict[str, Any]] = (await caller.get(f"{SERVERS}/detail?limit=1000"))["servers"]
    return MANY - sum(1 for s in page if s["status"] == "ACTIVE" and s["OS-EXT-STS:task_state"] is None)
