"""Waiting for what becomes of servers. One reader asks the database for all who wait, and only while somebody does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from kilonova.cloud.server import event_store
from kilonova.cloud.server.event_store import ServerEvent
from kilonova.core.context import Scope
from kilonova.core.errors import Failure, Unavailable
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.db import Database, Tx
from kilonova.kit.log import Logger

OF_A_PROJECT: Final = 20
IN_ALL: Final = 500
MOST: Final = 1000
GAP_SECONDS: Final = 3
"""Numbers are given before commits: one that is missing may still come, for as long as a transaction takes."""
log = Logger(__name__)


@dataclass(eq=False, slots=True)
class Watch:
    """Somebody who waits, for a scope's servers (for these, if any are named). `bell` rings when there is something."""

    scope: Scope
    servers: frozenset[str]
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False


class Feed:
    """`poll` seconds pass at most between a commit and who waits for it."""

    def __init__(self, db: Database, clock: Clock, poll: float = 0.2) -> None:
        self._db = db
        self._clock = clock
        self._poll = poll
        self._watches: set[Watch] = set()
        self._projects: Counter[str] = Counter()
        self._safe = 0
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def check(self, whose: str) -> None:
        """Raises Unavailable when nobody else of a project can wait now."""
        if self._projects[whose] >= OF_A_PROJECT or len(self._watches) >= IN_ALL or self._stopped:
            raise Unavailable("Too many wait already. Try again later.")

    @asynccontextmanager
    async def watch(self, scope: Scope, servers: Sequence[str], whose: str) -> AsyncGenerator[Watch, None]:
        """Wait as somebody of the project `whose`. Raises Unavailable when too many do."""
        self.check(whose)
        watch = Watch(scope, frozenset(servers))
        self._projects[whose] += 1
        self._watches.add(watch)
        try:
            if self._task is None:
                settled = await self._db.read(lambda tx: event_store.last(tx, tx.now - GAP_SECONDS * SECOND))
                if self._task is None:
                    self._safe = settled
                    self._task = asyncio.create_task(self._run(), name="server-feed")
            yield watch
        finally:
            self._watches.discard(watch)
            self._projects[whose] -= 1

    async def wait(self, watch: Watch, seconds: float) -> bool:
        """Until something new is there for a watch, or the time is over; whether there is."""
        try:
            async with asyncio.timeout(seconds):
                await watch.bell.wait()
        except TimeoutError:
            return False
        watch.bell.clear()
        return not watch.ended

    async def newest(self) -> int:
        """The number of what was the last to happen."""
        return await self._db.read(event_store.last)

    async def read(self, watch: Watch, after: int) -> list[ServerEvent]:
        """What there is for a watch after a number, at most 500."""
        until, servers = self._safe, sorted(watch.servers)
        return await self._db.read(lambda tx: event_store.page(tx, watch.scope, servers, after, until))

    async def stop(self) -> None:
        """Everybody has waited for long enough."""
        self._stopped = True
        for watch in self._watches:
            watch.ended = True
            watch.bell.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._watches:
            try:
                await self._look()
            except Failure as failure:
                log.warning("nobody is told of servers for a moment", why=failure.message)
            await self._clock.sleep(self._poll)
        self._task = None

    async def _look(self) -> None:
        def work(tx: Tx) -> tuple[int, list[tuple[int, int, str, str]]]:
            return tx.now, event_store.heads(tx, self._safe, MOST)

        now, heads = await self._db.read(work)
        for seq, at, project_id, server_id in heads:
            if seq != self._safe + 1 and at > now - GAP_SECONDS * SECOND:
                return
            self._safe = seq
            for watch in self._watches:
                mine = watch.scope.is_all or watch.scope.project_id == project_id
                if mine and (not watch.servers or server_id in watch.servers):
                    watch.bell.set()
