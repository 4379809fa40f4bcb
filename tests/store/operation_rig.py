"""Flows made of functions, and workers to drive them, for the suites of the operations engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from kilonova.cloud.quota import store as quota
from kilonova.core.errors import Failure
from kilonova.core.ids import new_uuid
from kilonova.kit.bus import LocalBus
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Lock, Next, Outcome, Run, Step
from kilonova.kit.ops import store as operations
from kilonova.kit.ops.engine import Engine, Pace
from kilonova.kit.ops.start import Operations
from kilonova.kit.ops.story import Tale, tales

PACE = Pace(poll=0.03, renew=0.1, retry=0.005, retry_longest=0.02)
SERVER = Lock("server", "one")

Do = Callable[[Run], Awaitable[Any]]


@dataclass
class Script:
    """A flow whose steps are given; `undone` and `failures` tell what became of it."""

    name: str
    steps: tuple[Step, ...]
    deadline: float = 60.0
    failures: list[str] = field(default_factory=list)

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        self.failures.append(failure.message)


async def go_on(run: Run) -> Next:
    """A step without effects."""
    return Next()


async def finish(run: Run) -> Done:
    """A last step without effects."""
    return Done()


def script(name: str, /, deadline: float = 60.0, **steps: Do) -> Script:
    return Script(name, tuple(Step(n, do) for n, do in steps.items()), deadline)


class Gated:
    """A database that a process reaches only while `alive` is set: a process that is stopped, or dead."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.counts = db.counts
        self.alive = asyncio.Event()
        self.alive.set()

    async def write(self, work: Callable[[Tx], Any]) -> Any:
        await self.alive.wait()
        return await self._db.write(work)

    async def read(self, work: Callable[[Tx], Any]) -> Any:
        await self.alive.wait()
        return await self._db.read(work)

    async def close(self) -> None:
        await self._db.close()


class Rig(AbstractAsyncContextManager["Rig"]):
    """Operations on one database, and the workers that drive them. `told` is the bus by which those who write tell."""

    def __init__(self, db: Database, *flows: Any, told: Any = None) -> None:
        self.db = db
        self.flows = flows
        self.bus = LocalBus()
        self.ops = Operations(told or self.bus, new_uuid)
        self.engines: list[Engine] = []

    async def __aexit__(self, *_: object) -> None:
        for engine in self.engines:
            await engine.stop()

    async def work(self, db: Database | None = None, pace: Pace = PACE, bus: Any = None) -> Engine:
        """Another worker, as in a process of its own."""
        bus = bus or self.bus
        engine = Engine(db or self.db, bus, SystemClock(), Operations(bus, new_uuid), self.flows, new_uuid(), pace)
        await engine.start()
        self.engines.append(engine)
        return engine

    async def start(self, flow: str, subject: Lock = SERVER, locks: tuple[Lock, ...] | None = None) -> str:
        return await self.db.write(lambda tx: begin(self.ops, tx, flow, subject, locks))

    async def outcome(self, operation_id: str) -> Outcome:
        """How an operation ended; waits for that."""
        found: Outcome | None = None

        async def ended() -> bool:
            nonlocal found
            found = await self.db.read(lambda tx: operations.outcome(tx, operation_id))
            return found is not None

        await until(ended)
        assert found is not None
        return found

    async def run(self, flow: str) -> Outcome:
        return await self.outcome(await self.start(flow))

    async def tale(self, subject: Lock = SERVER) -> Tale:
        """The newest operation on the subject."""
        return (await self.db.read(lambda tx: tales(tx, subject.kind, subject.id)))[0]

    async def expire(self, engine: Engine) -> None:
        """Let a worker's time to live pass."""
        table = operations.worker
        stale = table.update().where(table.c.id == engine.worker_id).values(renewed_at=0)
        await self.db.write(lambda tx: tx.execute(stale).rowcount)


def begin(ops: Operations, tx: Tx, flow: str, subject: Lock = SERVER, locks: tuple[Lock, ...] | None = None) -> str:
    return ops.start(
        tx, flow, subject, {}, action=flow, project_id="p", user_id="u", request_id="req-1", locks=locks
    )  # fmt: skip


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.005)


def put(number: int) -> Callable[[Tx], None]:
    """An effect in the database: a row with a number."""
    return lambda tx: quota.set_limit(tx, "p", "cores", number)


def got(tx: Tx) -> int:
    """The number; locked until the commit."""
    table = quota.quota_limit
    row = select(table.c["limit"]).where(table.c.project_id == "p").with_for_update()
    return int(tx.execute(row).scalar() or 0)


def look(tx: Tx) -> int:
    """The number, without a lock."""
    return int(quota.limits(tx, "p")["cores"])


def idle(engine: Engine) -> Callable[[], Awaitable[bool]]:
    """Whether a worker has nothing in hand."""

    async def holds() -> bool:
        return not engine.load

    return holds
