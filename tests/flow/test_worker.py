"""Every step of every flow: run twice, cut off, failed, deleted under, lost and found again, with its host down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scenario import BETWEEN_HOSTS, GONE, SCENARIOS, Count, Scenario, check, finish
from world import World, flow_classes, wrap

from kilonova.core.errors import Failure, Unavailable
from kilonova.kit.db import Tx
from kilonova.kit.ops import Operation, Run, Step, Wait
from kilonova.kit.ops.story import tales

Case = Callable[[World, Scenario, str], Awaitable[str]]
CASES: dict[str, Case] = {}
EXACT = {"run twice", "tried again", "worker dies: before", "worker dies: effect", "worker dies: committed"}
EXACT |= {"worker lost and back"}
"""After these the guest has booted exactly as often as without them."""


class Killed(asyncio.CancelledError):
    """The worker's process ends here."""


def case(name: str) -> Callable[[Case], Case]:
    def keep(run: Case) -> Case:
        CASES[name] = run
        return run

    return keep


def test_every_flow_has_a_scenario() -> None:
    assert {c.name for c in flow_classes()} == {s.flow for s in SCENARIOS.values()}


@case("run twice")
async def _twice(world: World, scenario: Scenario, step: str) -> str:
    async def twice(original: Step, run: Run) -> Any:
        await original.do(replace(run, frame=deepcopy(run.frame)))
        return await original.do(run)

    world.tamper = wrap(scenario.flow, step, twice)
    return await _go(world, scenario)


@case("tried again")
async def _again(world: World, scenario: Scenario, step: str) -> str:
    tries = iter([Unavailable("not now"), RuntimeError("a bug"), Unavailable("not yet")])

    async def stumble(original: Step, run: Run) -> Any:
        ending = await original.do(run)
        if error := next(tries, None):
            raise error
        return ending

    world.tamper = wrap(scenario.flow, step, stumble)
    return await _go(world, scenario)


def _killing(point: str, *, undo: bool = False) -> Case:
    async def kill(world: World, scenario: Scenario, step: str) -> str:
        killed = asyncio.Event()
        names = scenario.path
        following = names[names.index(step) + 1] if step != names[-1] else step

        def observe(at: str, operation: Operation) -> None:
            moved = point == "committed" and not undo
            here = operation.flow == scenario.flow and operation.step in ((step, following) if moved else (step,))
            if at == point and here and operation.undoing == undo and not killed.is_set():
                if moved and step not in operation.done:
                    return
                killed.set()
                raise Killed

        async def end(original: Step, run: Run) -> Any:
            ending = await original.do(run)
            if not killed.is_set() and not isinstance(ending, Wait):
                killed.set()
                raise Killed
            return ending

        if undo:
            world.tamper = wrap(scenario.flow, step, _refuse)
        if point == "effect" and not undo:
            world.tamper = wrap(scenario.flow, step, end)
        else:
            world.observe = observe
        server_id = await _go(world, scenario, until=killed)
        await world.replace_worker()
        return server_id

    return kill


for _point in ("before", "effect", "committed"):
    case(f"worker dies: {_point}")(_killing(_point))
    case(f"worker dies: {_point}, undoing")(_killing(_point, undo=True))


async def _refuse(original: Step, run: Run) -> Any:
    await original.do(replace(run, frame=deepcopy(run.frame)))
    raise Failure("told to fail")


async def _refuse_at_once(original: Step, run: Run) -> Any:
    raise Failure("told to fail")


@case("fails before")
async def _fails_before(world: World, scenario: Scenario, step: str) -> str:
    world.tamper = wrap(scenario.flow, step, _refuse_at_once)
    return await _go(world, scenario)


@case("fails after")
async def _fails_after(world: World, scenario: Scenario, step: str) -> str:
    world.tamper = wrap(scenario.flow, step, _refuse)
    return await _go(world, scenario)


def _deleting(*, before: bool) -> Case:
    async def delete(world: World, scenario: Scenario, step: str) -> str:
        done = asyncio.Event()

        async def interrupted(original: Step, run: Run) -> Any:
            async def delete_once() -> None:
                if not done.is_set():
                    done.set()
                    subject = run.operation.subject
                    which = world.prepared if subject.kind == "host" else subject.id
                    await asyncio.shield(asyncio.ensure_future(world.delete(which)))

            if before:
                await delete_once()
            ending = await original.do(run)
            if not before:
                await delete_once()
            return ending

        world.tamper = wrap(scenario.flow, step, interrupted)
        return await _go(world, scenario, until=done)

    return delete


case("deleted before")(_deleting(before=True))
case("deleted after")(_deleting(before=False))
case("deleted, unheard")(_deleting(before=False))


@case("worker lost and back")
async def _paused(world: World, scenario: Scenario, step: str) -> str:
    """Stopped between effect and commit; another worker finishes; then the first goes on and can change nothing."""
    first = world.workers[-1]
    stopped = asyncio.Event()
    resumed = asyncio.Event()

    async def stall(original: Step, run: Run) -> Any:
        ending = await original.do(run)
        if not stopped.is_set() and not isinstance(ending, Wait):
            first.life.alive.clear()
            stopped.set()
            await resumed.wait()
        return ending

    world.tamper = wrap(scenario.flow, step, stall)
    server_id = await _go(world, scenario, until=stopped)
    await world.expire(first.engine.worker_id)
    await world.add_worker()
    await world.rest(server_id)

    def told(tx: Tx) -> object:
        return tales(tx, "server", server_id)

    before = await world.look(server_id), await world.db.read(told)
    resumed.set()
    first.life.alive.set()
    await world.until(lambda: _is(first.engine.load == 0), "a worker that let go")
    assert (await world.look(server_id), await world.db.read(told)) == before
    await first.kill(world)
    return server_id


def _losing(*, own: bool, others: bool) -> Case:
    async def down(world: World, scenario: Scenario, step: str) -> str:
        """Hosts die at the step, are found to be down, and come back when the flow has ended without them."""
        died = asyncio.Event()

        async def lose(original: Step, run: Run) -> Any:
            if not died.is_set():
                died.set()
                at = await world.host_of(run.subject_id) or world.hosts[0].id
                lost = [h for h in world.hosts if h.agent and (own if h.id == at else others)]
                await asyncio.gather(*(h.kill() for h in lost))
            return await original.do(run)

        world.tamper = wrap(scenario.flow, step, lose)
        server_id = await _go(world, scenario, until=died)
        await (asyncio.sleep(0.8) if scenario.waits else world.rest(server_id))
        await asyncio.gather(*(h.start() for h in world.hosts if h.agent is None))
        return server_id

    return down


case("host down")(_losing(own=True, others=False))
case("other host down")(_losing(own=False, others=True))
case("both hosts down")(_losing(own=True, others=True))


async def _is(value: bool) -> bool:
    return value


async def _go(world: World, scenario: Scenario, until: asyncio.Event | None = None) -> str:
    """Start the flow under a worker that has been tampered with; its server, once `until` is set or it rests."""
    server_id = await scenario.start(world, world.prepared)
    if until is None:
        await world.rest(server_id)
    else:
        async with asyncio.timeout(10):
            await until.wait()
    return server_id


def _allowed(point: str, scenario: Scenario) -> tuple[str, ...]:
    """What may have become of the server. A power flow that is failed artificially may have had its effect."""
    powered = scenario.flow not in ("server_create", "server_delete", "image_import")
    if point.startswith("deleted"):
        return (GONE,)
    if point.startswith("fails") or point.endswith("undoing") or (point.endswith(" down") and powered):
        return (scenario.failed, scenario.end, *scenario.dead_ends) if powered else (scenario.failed,)
    return (scenario.end,)


def _table() -> list[tuple[str, str]]:
    """Which scenario is put to which cases. A soft reboot is the same flow as a reset; what differs is on the node. An
    import of staged bytes is one from the web whose first step has nothing to do."""
    names = [name for name in SCENARIOS if name not in ("reboot", "import staged")]
    two = ("other host down", "both hosts down")
    return [(name, point) for name in names for point in CASES if point not in two or name in BETWEEN_HOSTS]


@pytest.mark.parametrize(("name", "point"), _table())
async def test_steps(name: str, point: str, database_url: str, tmp_path: Path, count: Count) -> None:
    scenario = SCENARIOS[name]
    silence = 0.6 if point.endswith(" down") else 60
    async with World(database_url, tmp_path, silence=silence, deaf=point == "deleted, unheard") as world:
        for step in scenario.path:
            try:
                await _one(world, scenario, step, point)
            except Exception as error:
                error.add_note(f"{name}, step {step}: {point}")
                raise
            count(f"{name}.{step}", point)


async def _one(world: World, scenario: Scenario, step: str, point: str) -> None:
    world.prepared = await scenario.prepare(world)
    boots = await world.boots(world.prepared)
    server_id = await CASES[point](world, scenario, step)
    phase = await check(world, server_id, _allowed(point, scenario))
    if point in EXACT and phase != GONE:
        assert await world.boots(server_id) == boots + scenario.boots
    await finish(world, server_id)
