"""The operations engine on both databases: what a caller of it may rely on while nothing dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from operation_rig import SERVER, Rig, Script, begin, finish, go_on, idle, look, put, script, until

from kilonova.core.errors import Conflict, Failure, Unavailable
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Call, Commit, Done, Fail, Lock, Next, Run, Sleep, Step
from kilonova.kit.ops import store as operations


async def test_steps_run_in_order_and_tell_their_story(database: Database) -> None:
    async def first(run: Run) -> Next:
        run.frame["met"] = ["first"]
        run.host = "host0"
        return Next(put(1))

    async def second(run: Run) -> Next:
        assert await database.read(look) == 1
        run.frame["met"].append("second")
        return Next(to="fourth")

    async def fourth(run: Run) -> Done:
        run.frame["met"].append("fourth")
        return Done(put(4))

    async with Rig(database, script("f", first=first, second=second, third=go_on, fourth=fourth)) as rig:
        await rig.work()
        outcome = await rig.run("f")
        assert (outcome.outcome, outcome.frame, outcome.error) == ("done", {"met": ["first", "second", "fourth"]}, None)
        assert await database.read(look) == 4
        tale = await rig.tale()
        assert [(e.step, e.result, e.attempts, e.host) for e in tale.events] == [
            ("first", "success", 1, "host0"), ("second", "success", 1, ""), ("fourth", "success", 1, ""),
        ]  # fmt: skip
        assert all(e.finished_at >= e.started_at for e in tale.events)
        assert (await database.read(operations.live), await database.read(operations.locks)) == ({}, [])


async def test_a_step_is_tried_again_with_growing_pauses_and_writes_nothing(database: Database) -> None:
    tries: list[float] = []
    writes: list[int] = []

    async def stumble(run: Run) -> Done:
        tries.append(asyncio.get_running_loop().time())
        writes.append(database.counts.writes)
        if len(tries) == 3:
            raise RuntimeError("a bug is tried again too")
        if len(tries) < 6:
            raise Unavailable("not now")
        return Done()

    async with Rig(database, script("f", stumble=stumble)) as rig:
        await rig.work()
        assert (await rig.run("f")).outcome == "done"
        assert (await rig.tale()).events[0].attempts == 6
    pauses = [b - a for a, b in pairwise(tries)]
    assert pauses[0] >= 0.004
    assert pauses[3] >= 0.018
    assert writes[5] - writes[0] <= 2, "only the worker's own renewals"


async def test_a_deadline_is_time_without_progress(database: Database) -> None:
    async def stuck(run: Run) -> Sleep:
        return Sleep(0.01)

    async def long(run: Run) -> Sleep | Done:
        started.setdefault(run.id, run.now)
        run.touch()
        return Done() if run.now - started[run.id] > 400_000 else Sleep(0.01)

    started: dict[str, int] = {}
    async with Rig(database, script("stuck", 0.15, stuck=stuck), script("long", 0.15, long=long)) as rig:
        await rig.work()
        outcome = await rig.run("stuck")
        assert outcome.outcome == "failed"
        assert outcome.error is not None
        assert (outcome.error["code"], outcome.error["step"]) == ("expired", "stuck")
        assert (await rig.run("long")).outcome == "done"


@pytest.mark.parametrize("how", ["returned", "raised"])
async def test_a_failure_undoes_in_reverse_order_and_ends_with_the_reason(database: Database, how: str) -> None:
    undone: list[str] = []

    def undo(name: str, effect: int) -> Any:
        async def work(run: Run) -> Commit:
            undone.append(name)
            return put(effect)

        return work

    async def refuse(run: Run) -> Fail:
        failure = Failure("no room", detail="for operators", nearest=3)
        if how == "raised":
            raise failure
        return Fail(failure)

    flow = Script(
        "f",
        (
            Step("a", go_on, undo("a", 1)),
            Step("b", go_on),
            Step("c", go_on, undo("c", 3)),
            Step("d", refuse, undo("d", 4)),
            Step("e", finish, undo("e", 5)),
        ),
    )
    async with Rig(database, flow) as rig:
        await rig.work()
        outcome = await rig.run("f")
        assert undone == ["d", "c", "a"]
        assert await database.read(look) == 1
        assert outcome.outcome == "failed"
        assert outcome.error == {
            "code": "internal", "message": "no room", "detail": "for operators", "step": "d", "facts": {"nearest": 3},
        }  # fmt: skip
        assert flow.failures == ["no room"]
        assert [(e.step, e.undo, e.result) for e in (await rig.tale()).events][-4:] == [
            ("d", False, "error"), ("d", True, "success"), ("c", True, "success"), ("a", True, "success"),
        ]  # fmt: skip
        assert await database.read(operations.locks) == []


async def test_an_undo_that_fails_is_tried_and_then_left_so_that_the_rest_is_undone(database: Database) -> None:
    tries = 0

    async def broken(run: Run) -> Commit | None:
        nonlocal tries
        tries += 1
        raise Unavailable("the host does not answer")

    async def undo(run: Run) -> Commit:
        return put(7)

    async def refuse(run: Run) -> Fail:
        return Fail(Failure("no"))

    flow = Script("f", (Step("a", go_on, undo), Step("b", go_on, broken), Step("c", refuse)))
    async with Rig(database, flow) as rig:
        await rig.work()
        assert (await rig.run("f")).outcome == "failed"
        assert tries > 1
        assert await database.read(look) == 7
        assert [(e.step, e.result) for e in (await rig.tale()).events if e.undo] == [("b", "error"), ("a", "success")]


async def test_a_commit_that_breaks_does_not_orphan_the_operation(database: Database) -> None:
    """Whatever happens to a worker's step, as long as it owns the row it goes on with it."""
    broken = iter([True, True])

    class Broken(Script):
        def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
            if next(broken, False):
                raise RuntimeError("a bug")

    async def refuse(run: Run) -> Fail:
        return Fail(Failure("no"))

    async with Rig(database, Broken("f", (Step("a", refuse),))) as rig:
        await rig.work()
        assert (await rig.run("f")).outcome == "failed"


async def test_a_lock_is_held_by_one_operation(database: Database) -> None:
    free = asyncio.Event()

    async def hold(run: Run) -> Done:
        await free.wait()
        return Done()

    async with Rig(database, script("f", hold=hold)) as rig:
        await rig.work()
        locks = (Lock("volume", "v"), Lock("server", "one"))
        first = await rig.start("f", locks=locks)

        def second(tx: Tx) -> None:
            put(9)(tx)
            begin(rig.ops, tx, "f", Lock("volume", "v"))

        with pytest.raises(Conflict):
            await database.write(second)
        assert await database.read(look) != 9, "nothing of the refused transaction holds"
        other = await rig.start("f", Lock("server", "two"))
        assert {lock[2] for lock in await database.read(operations.locks)} == {first, other}
        free.set()
        await rig.outcome(first)
        assert (await rig.run("f")).outcome == "done"


@pytest.mark.parametrize("ending", ["done", "failed"])
async def test_a_step_calls_another_flow_and_hears_how_it_ended(database: Database, ending: str) -> None:
    async def outer(run: Run) -> Call | Done:
        if run.child is None:
            return Call("inner", {"asked": 1})
        run.frame["heard"] = (run.child.outcome, run.child.frame)
        return Done()

    async def inner(run: Run) -> Done | Fail:
        with pytest.raises(Conflict):
            await database.write(lambda tx: begin(rig.ops, tx, "outer"))
        run.frame["answer"] = 2
        return Done() if ending == "done" else Fail(Failure("no"))

    async with Rig(database, script("outer", outer=outer), script("inner", inner=inner)) as rig:
        await rig.work()
        outcome = await rig.run("outer")
        assert outcome.outcome == "done"
        assert outcome.frame["heard"][0] == ending
        assert outcome.frame["heard"][1]["asked"] == 1
        assert await database.read(operations.locks) == []


async def test_history_is_pruned_with_its_events(database: Database) -> None:
    async with Rig(database, script("f", only=finish)) as rig:
        await rig.work()
        for _ in range(3):
            await rig.run("f")
        finished = (await rig.tale()).finished_at
        assert finished is not None
        assert await database.write(lambda tx: operations.prune(tx, finished)) == 2
        assert await database.write(lambda tx: operations.prune(tx, finished + 1)) == 1
        left = await database.read(lambda tx: [tx.execute(t.select()).all() for t in HISTORY])
        assert left == [[], []]


HISTORY = (operations.operation_history, operations.operation_event)


@pytest.fixture
async def parent(database: Database) -> AsyncIterator[tuple[Rig, asyncio.Event]]:
    """An operation whose sub-operation is in the middle of a step that ends when the event is set."""
    free, reached = asyncio.Event(), asyncio.Event()

    async def outer(run: Run) -> Call | Done:
        return Call("inner", {}) if run.child is None else Done(put(1))

    async def inner(run: Run) -> Done:
        reached.set()
        await asyncio.shield(asyncio.ensure_future(free.wait()))
        return Done(put(2))

    async with Rig(
        database, script("outer", outer=outer), script("inner", inner=inner), script("new", a=finish)
    ) as rig:
        await rig.work()
        await rig.start("outer")
        await reached.wait()
        yield rig, free


async def test_superseding_ends_an_operation_with_its_children_and_frees_the_locks(
    parent: tuple[Rig, asyncio.Event],
) -> None:
    rig, free = parent
    before = await rig.db.read(look)

    def supersede(tx: Tx) -> str:
        assert len(rig.ops.supersede(tx, SERVER)) == 2
        return begin(rig.ops, tx, "new")

    fresh = await rig.db.write(supersede)
    free.set()
    assert (await rig.outcome(fresh)).outcome == "done"
    await until(idle(rig.engines[0]))
    assert await rig.db.read(look) == before, "neither child nor parent could commit anything"
    rows = await rig.db.read(lambda tx: tx.execute(operations.operation_history.select()).all())
    assert sorted((r.flow, r.outcome) for r in rows) == [
        ("inner", "superseded"), ("new", "done"), ("outer", "superseded"),
    ]  # fmt: skip


async def test_superseding_nothing_is_no_error(database: Database) -> None:
    async with Rig(database) as rig:
        assert await database.write(lambda tx: rig.ops.supersede(tx, SERVER)) == []
