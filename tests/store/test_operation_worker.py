"""Workers that compete, die, are lost and come back; waiting that loses no wake-up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import asyncpg
import pytest
from operation_rig import PACE, SERVER, Do, Gated, Rig, Script, begin, finish, got, idle, look, put, script, until

from kilonova.core.errors import Lost
from kilonova.core.ids import new_uuid
from kilonova.kit.bus import LocalBus
from kilonova.kit.bus.faulty import Faults, FaultyBus
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx, open_database
from kilonova.kit.ops import Done, Lock, Next, Run, Step, Wait
from kilonova.kit.ops import store as operations
from kilonova.kit.ops.engine import Pace
from kilonova.kit.ops.start import Operations

NUMBER = Lock("number", "p")
SLOW = 30.0
"""A poll that no test waits for."""


def waiting(database: Database, wanted: int) -> Script:
    async def wait(run: Run) -> Wait | Done:
        seen = await database.read(look)
        return Done() if seen >= wanted else Wait(NUMBER, seen, got, poll=SLOW)

    return script("f", wait=wait)


async def bump(rig: Rig, number: int, ops: Operations | None = None) -> None:
    def work(tx: Tx) -> None:
        put(number)(tx)
        (ops or rig.ops).notify(tx, NUMBER.kind, [NUMBER.id])

    await rig.db.write(work)


async def test_no_wake_up_is_lost_under_many_notifications(database: Database) -> None:
    async with Rig(database, waiting(database, 160)) as rig:
        await database.write(put(100))
        await rig.work()
        operation = await rig.start("f")
        for number in range(101, 161):
            await bump(rig, number)
            await asyncio.sleep(random.Random(number).random() * 0.003)
        assert (await rig.outcome(operation)).outcome == "done"


async def test_a_hint_that_is_lost_costs_one_poll_of_the_worker(database: Database) -> None:
    deaf = FaultyBus(LocalBus(), Faults(lose=1), random.Random(1))
    async with Rig(database, waiting(database, 101), told=deaf) as rig:
        await database.write(put(100))
        await rig.work()
        operation = await rig.start("f")
        await asyncio.sleep(3 * PACE.poll)
        await bump(rig, 101)
        assert (await rig.outcome(operation)).outcome == "done"


async def test_a_notification_between_look_and_commit_is_not_missed(database: Database) -> None:
    looks = 0

    async def wait(run: Run) -> Wait | Done:
        nonlocal looks
        seen = await database.read(look)
        looks += 1
        if looks == 1:
            await bump(rig, 101)
        return Done() if seen >= 101 else Wait(NUMBER, seen, got, poll=SLOW)

    async with Rig(database, script("f", wait=wait)) as rig:
        await database.write(put(100))
        await rig.work()
        assert (await rig.run("f")).outcome == "done"
        assert looks == 2


async def test_registering_with_the_step_before_misses_nothing_either(database: Database) -> None:
    async def register(run: Run) -> Next:
        return Next(wait=NUMBER)

    async def wait(run: Run) -> Wait | Done:
        seen = await database.read(look)
        if seen == 100:
            asyncio.get_running_loop().create_task(bump(rig, 101))
        return Done() if seen >= 101 else Wait(NUMBER, seen, got, poll=SLOW)

    async with Rig(database, script("f", register=register, wait=wait)) as rig:
        await database.write(put(100))
        await rig.work(pace=Pace(poll=SLOW, renew=0))
        assert (await rig.run("f")).outcome == "done"


@pytest.mark.postgresql
async def test_a_notification_still_uncommitted_while_the_wait_commits(postgresql_url: str) -> None:
    """The notifier's transaction began before the wait was registered, so it wakes nobody; and ends after it began."""
    database = await open_database(postgresql_url, SystemClock())
    notifier = await asyncpg.connect(postgresql_url)
    changing = notifier.transaction()
    looks = 0

    async def wait(run: Run) -> Wait | Done:
        nonlocal looks
        looks += 1
        seen = await database.read(look)
        if looks == 1:
            await changing.start()
            await notifier.execute("""UPDATE quota_limit SET "limit" = 101""")
            woken = await notifier.execute("UPDATE operation SET run_at = 1 WHERE wait_kind = 'number'")
            assert woken == "UPDATE 0"
            asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(changing.commit()))
        return Done() if seen >= 101 else Wait(NUMBER, seen, got, poll=SLOW)

    async with Rig(database, script("f", wait=wait)) as rig:
        await database.write(put(100))
        await rig.work()
        assert (await rig.run("f")).outcome == "done"
        assert looks == 2
    await notifier.close()
    await database.close()


async def test_a_superseded_step_that_hears_nothing_commits_nothing(database: Database) -> None:
    reached, free = asyncio.Event(), asyncio.Event()
    deaf = FaultyBus(LocalBus(), Faults(lose=1), random.Random(1))

    async def work(run: Run) -> Done:
        reached.set()
        await free.wait()
        return Done(put(7))

    async with Rig(database, script("f", work=work), script("new", only=finish), told=deaf) as rig:
        engine = await rig.work()
        await rig.start("f")
        await reached.wait()
        before = await database.read(look)
        fresh = await database.write(lambda tx: (rig.ops.supersede(tx, SERVER), begin(rig.ops, tx, "new"))[1])
        assert (await rig.outcome(fresh)).outcome == "done", "the locks were free at once"
        free.set()
        await until(idle(engine))
        assert await database.read(look) == before


@pytest.mark.parametrize("when", ["while another works on it", "after another has finished it"])
async def test_a_worker_that_was_lost_and_comes_back_commits_nothing(database: Database, when: str) -> None:
    """It is stopped in the middle of a step; its time to live passes; another worker takes over."""
    reached, free, taken, release = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    runs = 0

    async def work(run: Run) -> Done:
        nonlocal runs
        runs += 1
        mine = runs
        if mine == 1:
            first.alive.clear()
            reached.set()
            await free.wait()
        else:
            taken.set()
            await release.wait()
        return Done(put(mine))

    async with Rig(database, script("f", work=work)) as rig:
        first = Gated(database)
        lost = await rig.work(first)
        operation = await rig.start("f")
        await reached.wait()
        await rig.expire(lost)
        await rig.work()
        await taken.wait()
        if when.startswith("after"):
            release.set()
            await rig.outcome(operation)
        free.set()
        first.alive.set()
        await until(idle(lost))
        release.set()
        assert (await rig.outcome(operation)).outcome == "done"
        assert await database.read(look) == 2
        assert len((await rig.tale()).events) == 1


async def test_a_worker_that_takes_its_own_operation_again_cannot_commit_what_it_began_before(
    database: Database,
) -> None:
    async with Rig(database) as rig:
        await rig.start("f")
        [before] = await database.write(lambda tx: operations.take(tx, "me", 10))
        await database.write(lambda tx: operations.renew(tx, "me"))
        [again] = await database.write(lambda tx: operations.take(tx, "me", 10))
        for attempt in (operations.hold, operations.save, lambda tx, op: operations.finish(tx, op, "done", None)):
            with pytest.raises(Lost):
                await database.write(lambda tx, attempt=attempt: attempt(tx, before))  # type: ignore[misc]
        await database.write(lambda tx: operations.finish(tx, again, "done", None))


async def test_what_is_written_for_a_worker_declared_dead_is_driven_all_the_same(database: Database) -> None:
    """It accepts requests too: an operation that it starts after it was buried is written as its own."""
    async with Rig(database, script("f", only=finish)) as rig:
        gate = Gated(database)
        engine = await rig.work(gate)
        gate.alive.clear()
        await rig.expire(engine)
        await database.write(lambda tx: operations.bury(tx, 4, "another"))

        class Late:
            """Writes rows as the worker's own, but its process does not get to drive them."""

            def spare_worker(self) -> str:
                return engine.worker_id

            def adopt(self, op: object) -> None: ...

        rig.ops.attach(Late())
        operation = await rig.start("f")
        gate.alive.set()
        assert (await rig.outcome(operation)).outcome == "done"


async def test_a_worker_that_stops_hands_everything_back(database: Database) -> None:
    runs = 0

    async def work(run: Run) -> Done:
        nonlocal runs
        runs += 1
        if runs == 1:
            await asyncio.sleep(60)
        return Done()

    async with Rig(database, script("f", work=work)) as rig:
        engine = await rig.work()
        operation = await rig.start("f")

        async def busy() -> bool:
            return runs == 1

        await until(busy)
        rig.engines.remove(engine)
        await engine.stop()
        await rig.work()
        assert (await rig.outcome(operation)).outcome == "done"


@pytest.mark.postgresql
async def test_many_workers_never_run_a_step_at_the_same_time(postgresql_url: str) -> None:
    """Four processes, each with its own connections, and hints that are doubled and late."""
    steps = ("a", "b", "c")
    running: Counter[tuple[str, str]] = Counter()
    together: list[tuple[str, str]] = []
    drivers: set[str | None] = set()

    def step(name: str) -> Do:
        async def do(run: Run) -> Next | Done:
            key = (run.id, name)
            running[key] += 1
            if running[key] > 1:
                together.append(key)
            drivers.add(run.operation.worker)
            await asyncio.sleep(random.Random(run.id + name).random() * 0.01)
            running[key] -= 1
            return Done() if name == steps[-1] else Next()

        return do

    flow = Script("f", tuple(Step(n, step(n)) for n in steps))
    databases = [await open_database(postgresql_url, SystemClock()) for _ in range(4)]
    async with Rig(databases[0], flow) as rig:
        rig.ops = Operations(rig.bus, new_uuid)
        for database in databases:
            noisy = FaultyBus(rig.bus, Faults(double=0.5, delay=0.5), random.Random(1))
            await rig.work(database, Pace(poll=0.02, renew=0.1, take=3), bus=noisy)
        ids = [await rig.start("f", Lock("server", str(n))) for n in range(48)]
        for identifier in ids:
            assert (await rig.outcome(identifier)).outcome == "done"
        events = await databases[0].read(lambda tx: tx.execute(operations.operation_event.select()).all())
    assert together == []
    assert Counter(e.operation_id for e in events) == dict.fromkeys(ids, len(steps))
    assert len(drivers) > 1
    for database in databases:
        await database.close()
