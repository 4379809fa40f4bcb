"""Ports through the Network API: making one, and a page of 1,000."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.bench.caller import Caller
from tests.bench.daemon import Daemon, running
from tests.bench.figure import Figure, percentile

GROUP = "network"
V2: Final = "/network/v2.0"
MADE: Final = 300
BULK: Final = 100
TABLE: Final = 3_000
PAGES: Final = 12


async def measure() -> AsyncIterator[Figure]:
    """Ports in one network of an empty cloud, made one at a time; then more at once, and pages of them."""
    async with running() as daemon:
        caller = await daemon.caller()
        project = (await caller.get("/identity/v3/auth/projects"))["projects"][0]["id"]
        limits = {"quota": {"port": -1}}
        await _ask(caller, "PUT", f"{V2}/quotas/{project}", limits, 200)
        network = (await caller.post(f"{V2}/networks", {"network": {"name": "bench"}}, 201))["network"]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.64.0.0/16"}
        await caller.post(f"{V2}/subnets", {"subnet": subnet}, 201)
        yield await _making(daemon, caller, network)
        many = {"ports": [{"network_id": network, "name": f"p{i}"} for i in range(BULK)]}
        for _ in range((TABLE - MADE) // BULK):
            await caller.post(f"{V2}/ports", many, 201)
        yield await _page(daemon, caller)


async def _making(daemon: Daemon, caller: Caller, network: str) -> Figure:
    request = caller.request("POST", f"{V2}/ports", {"port": {"network_id": network, "name": "one"}})
    walls, before = [], daemon.cpu()
    for _ in range(MADE):
        began = time.perf_counter()
        reply = await caller.ask(request)
        walls.append(time.perf_counter() - began)
        if reply.status != 201:
            raise RuntimeError(f"POST /ports: {reply.status} {reply.body.decode()[:500]}")
    cpu, wall = (daemon.cpu() - before) / MADE * 1e3, percentile(walls, 0.5) * 1e3
    note = f"p50 of {MADE}, p99 {percentile(walls, 0.99) * 1e3:.1f} ms"
    return Figure(GROUP, "POST /ports", wall, "ms", 10, cpu=cpu, wall=wall, note=note)


async def _page(daemon: Daemon, caller: Caller) -> Figure:
    path = f"{V2}/ports?limit=1000"
    first = (await caller.get(path))["ports"]
    request = caller.request("GET", f"{path}&marker={first[-1]['id']}")
    walls, before = [], daemon.cpu()
    for _ in range(PAGES):
        began = time.perf_counter()
        reply = await caller.ask(request)
        walls.append(time.perf_counter() - began)
    cpu, wall = (daemon.cpu() - before) / PAGES * 1e3, percentile(walls, 0.5) * 1e3
    assert len(reply.json()["ports"]) == 1000
    note = f"p50 of {PAGES}, second page, {len(reply.body) / 1e6:.2f} MB"
    return Figure(
        GROUP, f"GET /ports, page of 1,000 of {TABLE:,}", wall, "ms", 150, cpu=cpu, wall=wall, note=note
    )  # fmt: skip


async def _ask(caller: Caller, method: str, path: str, body: Any, status: int) -> None:
    reply = await caller.ask(caller.request(method, path, body))
    if reply.status != status:
        raise RuntimeError(f"{method} {path}: {reply.status} {reply.body.decode()[:500]}")
