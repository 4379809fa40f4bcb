"""What a token costs to get, and to show."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tests.bench.caller import Caller, login
from tests.bench.daemon import Daemon, running
from tests.bench.figure import Figure

from kilonova.cloud.identity.model import Named, Wish
from kilonova.cloud.identity.proof import Proof
from kilonova.compose.control import Control
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import metadata, open_database
from kilonova.settings import Settings
from kilonova.state import StateDir

GROUP = "token"
LOGINS = 40
CHECKS = 2000
WARM = 20_000


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
    async for one in _in_process():
        yield one


async def _in_process() -> AsyncIterator[Figure]:
    """The same without HTTP: what the gate of every request costs, on SQLite and as one of several processes."""
    with tempfile.TemporaryDirectory() as name:
        state = StateDir(Path(name))
        cloud_id, clock = state.prepare(), SystemClock()
        db = await open_database(state.database_url(), clock)
        await db.write(lambda tx: metadata.create_all(tx.connection))
        control = Control(Settings(state=state.root, driver="fake"), state, cloud_id, db, clock)
        await control.found()
        proofs = [Proof("password", state.password("demo"), Named(name="demo", domain_id="default"))]
        wish = Wish("project", Named(name="demo", domain_id="default"))
        cpu = await _own_cost(LOGINS, lambda: control.login.log_in(proofs, wish))
        yield Figure(GROUP, "token by password, in process", cpu, "ms CPU", 25, cpu=cpu, note=f"mean of {LOGINS}")
        token = (await control.login.log_in(proofs, wish)).token
        cpu = await _own_cost(WARM, lambda: control.authenticator.context(token, "req-1"))
        yield Figure(GROUP, "token check in the gate, warm", cpu, "ms CPU", 0.2, cpu=cpu, note=f"mean of {WARM}")
        control.passwords.close()
        await db.close()


async def _own_cost(times: int, work: Callable[[], Awaitable[object]]) -> float:
    """CPU of this process in ms of one of `times`, the first few not counted."""
    for _ in range(5):
        await work()
    before = time.process_time()
    for _ in range(times):
        await work()
    return (time.process_time() - before) / times * 1e3


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
