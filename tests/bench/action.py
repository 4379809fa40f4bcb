"""What each action costs on simulated hosts: processor time from the request to the last row."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from tests.bench.caller import Caller
from tests.bench.daemon import Daemon, running
from tests.bench.figure import Figure
from tests.bench.server import SERVERS, Recipe, idle_share, make, until_built

GROUP = "action"
HOSTS = 20
MANY = 40
SPACING = 0.06
SETTLE = 1.0
BUDGET = 20.0
LIVE: Final = {"host": None, "block_migration": "auto"}
CHAIN: Final[tuple[tuple[str, str, Any, str], ...]] = (
    ("pause", "pause", None, "PAUSED"), ("unpause", "unpause", None, "ACTIVE"),
    ("suspend", "suspend", None, "SUSPENDED"),
    ("resume", "resume", None, "ACTIVE"), ("reboot, soft", "reboot", {"type": "SOFT"}, "ACTIVE"),
    ("reboot, hard", "reboot", {"type": "HARD"}, "ACTIVE"), ("stop", "os-stop", None, "SHUTOFF"),
    ("start", "os-start", None, "ACTIVE"), ("rescue", "rescue", None, "RESCUE"),
    ("unrescue", "unrescue", None, "ACTIVE"), ("live migration", "os-migrateLive", LIVE, "ACTIVE"),
    ("cold migration", "migrate", None, "VERIFY_RESIZE"), ("confirm", "confirmResize", None, "ACTIVE"),
    ("attach a NIC", "", None, "ACTIVE"), ("createImage", "createImage", {"name": "copy"}, "ACTIVE"),
    ("shelve", "shelve", None, "SHELVED_OFFLOADED"), ("unshelve", "unshelve", None, "ACTIVE"),
)  # fmt: skip
"""(name, action, its body, the status that it leads to); one after the other on the same servers."""


async def measure() -> AsyncIterator[Figure]:
    """One daemon, `MANY` servers; each action on all of them, one every 60 ms."""
    async with running(HOSTS) as daemon:
        caller = await daemon.caller(connections=4)
        recipe = await Recipe.find(caller)
        servers = [(await make(caller, caller.request("POST", SERVERS, recipe.body(f"s-{i}"))))[0] for i in range(MANY)]
        await until_built(caller)
        await asyncio.sleep(SETTLE)
        idle = await idle_share(daemon)
        for name, action, body, status in CHAIN:
            yield await _measure(daemon, caller, servers, (name, action, body, status), idle)


async def _measure(
    daemon: Daemon, caller: Caller, servers: Sequence[str], what: tuple[str, str, Any, str], idle: float
) -> Figure:
    name, action, body, status = what
    before, began = daemon.cpu(), time.perf_counter()
    for number, server_id in enumerate(servers):
        if action:
            path, asked = f"{SERVERS}/{server_id}/action", {action: body}
        else:
            path, asked = f"{SERVERS}/{server_id}/os-interface", {"interfaceAttachment": {}}
        reply = await caller.ask(caller.request("POST", path, asked))
        if reply.status >= 300:
            raise RuntimeError(f"{name}: {reply.status} {reply.body.decode()[:500]}")
        await asyncio.sleep(max(0.0, began + (number + 1) * SPACING - time.perf_counter()))
    await asyncio.sleep(SETTLE)
    took = time.perf_counter() - began
    cpu = (daemon.cpu() - before - idle * took) / len(servers) * 1e3
    await _until_all(caller, len(servers), status)
    return Figure(GROUP, f"CPU per {name}", cpu, "ms CPU", BUDGET, cpu=cpu, note=f"{len(servers)} servers")


async def _until_all(caller: Caller, number: int, status: str) -> None:
    end = time.monotonic() + 60
    while True:
        found = (await caller.get(f"{SERVERS}/detail?limit=1000"))["servers"]
        there = [s for s in found if s["status"] == status and s["OS-EXT-STS:task_state"] is None]
        if len(there) == number:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{len(there)} of {number} servers are {status}: {found[0]}")
        await asyncio.sleep(0.2)
