"""Every driver call that a flow leads to: the agent dies around it, it fails, the server is deleted during it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from scenario import GONE, SCENARIOS, Count, Scenario, check, finish
from tapped_host import Host
from world import Tap, World

from kilonova.node.driver.failure import DriverError

Call = tuple[str, int]
IDLE = {
    "block.list",
    "block.evict",
    "virt.list",
    "virt.inventory",
    "net.world",
    "net.start",
    "virt.start",
    "block.start",
    "block.space",
    "net.close",
}
OFTEN = {"sqlite": 2, "postgresql": 1}
"""The agent looks at guests all the time: of each kind of call the first ones are interfered with."""
TRAPS = {
    "sqlite": ["dies: before", "dies: after", "fails: before", "fails: after", "stumbles", "deleted"],
    "postgresql": ["dies: after"],
}
"""What happens within a node is the same on both databases: on one of them, what involves the control plane."""


async def _record(world: World, scenario: Scenario, often: int) -> list[Call]:
    """The calls of an undisturbed run: (method, how many of it came before)."""
    made: Counter[str] = Counter()
    calls: list[Call] = []

    async def listen(host: Host, method: str, point: str) -> None:
        if point == "before" and method not in IDLE:
            if made[method] < often:
                calls.append((method, made[method]))
            made[method] += 1

    server_id = await scenario.prepare(world)
    world.tap = listen
    server_id = await scenario.start(world, server_id)
    await world.rest(server_id)
    world.tap = None
    await check(world, server_id, (scenario.end,))
    await finish(world, server_id)
    return calls


class At:
    """Waits for one call of a run, and lets `Trap` happen there."""

    def __init__(self, call: Call, point: str) -> None:
        self._call, self._point = call, point
        self._seen: Counter[str] = Counter()
        self.reached = asyncio.Event()
        self.host: Host | None = None

    def arrived(self, host: Host, method: str, point: str) -> bool:
        if (method, point) != (self._call[0], self._point) or self.reached.is_set():
            return False
        self._seen[method] += 1
        if self._seen[method] <= self._call[1]:
            return False
        self.host = host
        self.reached.set()
        return True


def _die(at: At) -> Tap:
    async def tap(host: Host, method: str, point: str) -> None:
        if at.arrived(host, method, point) or at.host is host:
            await host.die()

    return tap


def _fail(at: At, *, retryable: bool) -> Tap:
    async def tap(host: Host, method: str, point: str) -> None:
        if at.arrived(host, method, point):
            raise DriverError("told", "The host was told to fail.", retryable=retryable)

    return tap


def _hold(at: At) -> Tap:
    """The call takes so long that something else happens meanwhile."""

    async def tap(host: Host, method: str, point: str) -> None:
        if at.arrived(host, method, point):
            await asyncio.sleep(0.03)

    return tap


async def _one(world: World, scenario: Scenario, call: Call, trap: str) -> bool:
    """One case; False when the run did not come to that call this time."""
    kind, _, point = trap.partition(": ")
    at = At(call, point or "before")
    taps = {"dies": _die(at), "fails": _fail(at, retryable=False), "stumbles": _fail(at, retryable=True)}
    prepared = await scenario.prepare(world)
    world.tap = taps.get(kind, _hold(at))
    server_id = await scenario.start(world, prepared)
    reaching = asyncio.create_task(at.reached.wait())
    resting = asyncio.create_task(world.rest(server_id))
    await asyncio.wait({reaching, resting}, return_when=asyncio.FIRST_COMPLETED)
    reached = at.host is not None
    if not reached:
        world.tap = None
    if at.host is not None and kind == "dies":
        world.tap = None
        await at.host.kill()
        await at.host.start()
    if reached and kind == "deleted":
        await world.delete(server_id)
    await resting
    reaching.cancel()
    allowed = {"deleted": (GONE,), "fails": (scenario.end, scenario.failed, *scenario.dead_ends)}.get(
        kind if reached else "", (scenario.end,)
    )
    await check(world, server_id, allowed)
    await finish(world, server_id)
    return reached


@pytest.mark.parametrize("name", [n for n, s in SCENARIOS.items() if s.flow.startswith("server_")])
async def test_calls(name: str, database_url: str, tmp_path: Path, count: Count) -> None:
    scenario = SCENARIOS[name]
    kind = database_url.partition(":")[0]
    async with World(database_url, tmp_path) as world:
        calls = await _record(world, scenario, OFTEN[kind])
        for trap in TRAPS[kind]:
            ran = 0
            for call in calls:
                try:
                    reached = await _one(world, scenario, call, trap)
                except Exception as error:
                    error.add_note(f"{name}, call {call}: {trap}")
                    raise
                if reached:
                    ran += 1
                    count(f"{name} {call[0]}", f"node {trap}")
            assert ran >= len(calls) / 2, f"{trap}: only {ran} of {len(calls)} calls were reached"
