"""Hands every event to somebody, at least once and in order, also over restarts: how far it came is a row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from kilonova.cloud.event import store
from kilonova.cloud.event.feed import Feed, until
from kilonova.cloud.event.model import Event, Wanted
from kilonova.core.context import ALL
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database
from kilonova.kit.log import Logger

log = Logger(__name__)
BATCH: Final = 200
LEASE_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0

Take = Callable[[Sequence[Event]], Awaitable[None]]


class Pump:
    """One of all processes at a time is the pump `name`. Events that were taken but not yet noted as such when it died
    are handed over again."""

    def __init__(self, name: str, mine: str, db: Database, feed: Feed, clock: Clock, take: Take) -> None:
        self._name = name
        self._mine = mine
        self._db = db
        self._feed = feed
        self._clock = clock
        self._take = take
        self._news = asyncio.Event()
        self._news.set()
        self._came = -1
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin where it stopped."""
        self._feed.follow(self._news.set)
        self._task = asyncio.create_task(self._run(), name=f"pump-{self._name}")

    async def stop(self) -> None:
        """End; what is being handed over may come again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await until(self._news, LEASE_SECONDS)
            self._news.clear()
            try:
                await self._catch_up()
            except Exception:
                log.exception("events cannot be handed over now", pump=self._name)
                await self._clock.sleep(RETRY_SECONDS)
                self._news.set()

    async def _catch_up(self) -> None:
        """All that has been told so far, a batch at a time; nothing while another process is the pump."""
        while self._came < self._feed.reached:
            came = await self._db.write(lambda tx: store.resume(tx, self._name, self._mine, LEASE_SECONDS))
            if came is None:
                return
            events = await self._feed.past(Wanted(ALL), came, BATCH)
            if events:
                await self._take(events)
            self._came = events[-1].seq if events else max(came, self._feed.reached)
            await self._db.write(lambda tx: store.advance(tx, self._name, self._mine, self._came))
