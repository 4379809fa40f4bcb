"""The worker: takes operations and drives each in a task of its own until it waits, ends or is lost.

A worker that lost an operation (it was superseded, or the worker was declared dead) can commit nothing: every commit is
conditional on worker and fence. Waiting and retrying write no rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from kilonova.kit.bus import Bus
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database
from kilonova.kit.log import Logger
from kilonova.kit.ops import store
from kilonova.kit.ops.drive import Driver, Ended, Observe, Pause, ignore
from kilonova.kit.ops.model import Flow, Operation
from kilonova.kit.ops.start import TOPIC, Hint, Operations

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a worker spends its time; seconds. `renew` 0: the only process on its database, nobody else to tell."""

    poll: float = 1.0
    renew: float = 1.0
    ttl: float = 4.0
    retry: float = 0.2
    retry_longest: float = 10.0
    take: int = 100
    most: int = 4000
    active: int = 24


@dataclass(slots=True)
class _Owned:
    """An operation in hand: its task, and the bell that ends its pause."""

    operation: Operation
    bell: asyncio.Event
    task: asyncio.Task[None] | None = None


class Engine:
    """One worker. `start` begins, `stop` hands everything back."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        clock: Clock,
        operations: Operations,
        flows: Iterable[Flow],
        worker_id: str,
        pace: Pace | None = None,
        observe: Observe = ignore,
    ) -> None:
        self.worker_id: Final = worker_id
        self._db = db
        self._bus = bus
        self._clock = clock
        self._operations = operations
        self._pace = pace or Pace()
        self._driver = Driver(db, clock, operations, {f.name: f for f in flows}, self._pace, observe)
        self._owned: dict[str, _Owned] = {}
        self._bell = asyncio.Event()
        self._maybe_due = True
        self._active = asyncio.Semaphore(self._pace.active)
        self._loop_task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def flows(self) -> frozenset[str]:
        return frozenset(self._driver.flows)

    @property
    def load(self) -> int:
        """How many operations are in hand."""
        return len(self._owned)

    async def start(self) -> None:
        """Free what dead workers held and begin to take work."""
        alone = self._pace.renew == 0
        await self._db.write(lambda tx: store.renew(tx, self.worker_id))
        await self._db.write(lambda tx: store.bury(tx, None if alone else self._pace.ttl, self.worker_id))
        self._unlisten = self._bus.listen(TOPIC, self._hear)
        self._operations.attach(self)
        self._loop_task = asyncio.create_task(self._loop(), name="operations-engine")

    async def stop(self) -> None:
        """Stop driving; whatever is in hand is free for others at once."""
        self._stopping = True
        self._operations.attach(None)
        if self._loop_task is None:
            return
        self._unlisten()
        tasks = [self._loop_task, *(o.task for o in self._owned.values() if o.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._owned.clear()
        await self._db.write(lambda tx: store.resign(tx, self.worker_id))

    def spare_worker(self) -> str | None:
        return None if self._stopping or len(self._owned) >= self._pace.most else self.worker_id

    def adopt(self, op: Operation) -> None:
        if self._stopping:
            return
        if (stale := self._owned.get(op.id)) and stale.task:
            # It was taken from this worker and came back under a higher fence: what still runs of it commits nothing.
            stale.task.cancel()
        owned = self._owned[op.id] = _Owned(op, asyncio.Event())
        owned.task = asyncio.create_task(self._drive(owned), name=f"operation-{op.id}")

    def _hear(self, data: bytes) -> None:
        hint = msgspec.json.decode(data, type=Hint)
        for identifier in hint.ended:
            if (owned := self._owned.get(identifier)) and owned.task:
                owned.task.cancel()
        for identifier in hint.due:
            if owned := self._owned.get(identifier):
                owned.bell.set()
            else:
                self._maybe_due = True
                self._bell.set()

    async def _loop(self) -> None:
        last_renewal = self._clock.now()
        while True:
            try:
                if self._pace.renew and self._clock.now() - last_renewal >= self._pace.renew * 1e6:
                    last_renewal = self._clock.now()
                    await self._renew()
                await self._collect()
            except Exception:
                log.exception("the worker could not look for work")
                self._maybe_due = False
            if not self._maybe_due:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pace.poll):
                        await self._bell.wait()
            self._bell.clear()

    async def _renew(self) -> None:
        if not await self._db.write(lambda tx: store.renew(tx, self.worker_id)):
            log.warning("this worker had been declared dead; it lets go of everything", worker=self.worker_id)
            for owned in tuple(self._owned.values()):
                if owned.task:
                    owned.task.cancel()
        await self._db.write(lambda tx: store.bury(tx, self._pace.ttl, self.worker_id))

    async def _collect(self) -> None:
        """Take what is due; ring the bells of owned operations that were notified."""
        room = min(self._pace.take, self._pace.most - len(self._owned))
        if not self._maybe_due:
            free, notified = await self._db.read(lambda tx: store.runnable(tx, self.worker_id, self._pace.take))
            for identifier in notified:
                if owned := self._owned.get(identifier):
                    owned.bell.set()
            self._maybe_due = free
        self._maybe_due = self._maybe_due and room > 0
        if self._maybe_due:
            taken = await self._db.write(lambda tx: store.take(tx, self.worker_id, room))
            self._maybe_due = len(taken) == room
            for op in taken:
                self.adopt(op)

    async def _drive(self, owned: _Owned) -> None:
        try:
            while True:
                async with self._active:
                    owned.bell.clear()
                    ending = await self._advance(owned.operation)
                if isinstance(ending, Ended):
                    return
                if isinstance(ending, Pause) and ending.seconds > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(ending.seconds):
                            await owned.bell.wait()
        finally:
            if self._owned.get(owned.operation.id) is owned:
                del self._owned[owned.operation.id]

    async def _advance(self, op: Operation) -> Pause | Ended:
        """One step. As long as this worker owns the row nobody else takes it, so whatever happens it goes on."""
        try:
            return await self._driver.advance(op)
        except Exception:
            log.exception("an operation could not be driven", operation=op.id, flow=op.flow, step=op.step)
            return Pause(self._pace.retry_longest)
