"""What a token costs to get, and to show."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from tests.bench.caller import Caller, login
from tests.bench.daemon import Daemon, running
from tests.bench.figure import Figure

GROUP = "token"
LOGINS = 40
CHECKS = 2000


async def measure() -> AsyncIterator[Figure]:
    """Tokens by password, one after the other; then requests that need nothing but a token."""
    async with running() as daemon:
        caller = await daemon.caller()
        password = (daemon.state / "secrets" / "demo-password").read_text().strip()
        ask = Caller(daemon.port).request("POST", "/identity/v3/auth/tokens", login("demo", password))
        wall, cpu = await _cost(daemon, caller, ask, LOGINS, 201)
        yield Figure(GROUP, "token by password", cpu, "ms CPU", 25, cpu=cpu, wall=wall, note=f"mean of {LOGINS}")
        check = caller.request("GET", "/identity/v3/auth/tokens", headers={"x-subject-token": caller.token})
        wall, cpu = await _cost(daemon, caller, check, CHECKS, 200)
        yield Figure(
            GROUP, "token check (GET /auth/tokens)", cpu, "ms CPU", cpu=cpu, wall=wall, note=f"mean of {CHECKS}"
        )


async def _cost(daemon: Daemon, caller: Caller, request: bytes, times: int, status: int) -> tuple[float, float]:
    """(wall, CPU) in ms of one of `times` equal requests after one another, the first few not counted."""
    for _ in range(5):
        await caller.ask(request)
    began, before = time.perf_counter(), daemon.cpu()
    for _ in range(times):
        reply = await caller.ask(request)
        if reply.status != status:
            raise RuntimeError(f"{reply.status} {reply.body.decode()}")
    wall, cpu = time.perf_counter() - began, daemon.cpu() - before
    return wall / times * 1e3, cpu / times * 1e3
