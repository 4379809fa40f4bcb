"""Events as they happen: one reader of the database for all who watch in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from kilonova.cloud.event import store
from kilonova.cloud.event.model import Event, Wanted
from kilonova.cloud.event.order import Order
from kilonova.core.errors import Unavailable
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.db import Database
from kilonova.kit.log import Logger

log = Logger(__name__)
PAGE: Final = 500
QUEUE: Final = 512
WATCHED_SECONDS: Final = 1.0
"""How often the database is looked at without a hint while somebody watches: other processes' commits give none."""
IDLE_SECONDS: Final = 10.0
HELD_SECONDS: Final = 0.02
BACK: Final = 60 * SECOND
"""How far back the reader begins: what was under way when it started is then not missed."""


class Cut(Exception):
    """A subscription has ended: `lost` because its reader was too slow, else because the feed stops."""

    def __init__(self, *, lost: bool) -> None:
        super().__init__()
        self.lost = lost


class Subscription:
    """What one reader is to get, in order. Close it."""

    def __init__(self, wanted: Wanted, leave: Callable[[Subscription], None]) -> None:
        self.wanted = wanted
        self._leave = leave
        self._queue: deque[Event] = deque()
        self._stirred = asyncio.Event()
        self._cut: Cut | None = None

    def offer(self, event: Event) -> None:
        """For the feed: an event that may be wanted."""
        if self._cut is not None or not self.wanted.takes(event):
            return
        if len(self._queue) >= QUEUE:
            self.end(lost=True)
            return
        self._queue.append(event)
        self._stirred.set()

    def end(self, *, lost: bool) -> None:
        """For the feed: no more; what waits is dropped."""
        self._cut = self._cut or Cut(lost=lost)
        self._queue.clear()
        self._stirred.set()

    async def next(self, seconds: float) -> Event | None:
        """The next event, None when there is none within `seconds`. Raises Cut."""
        if not self._queue and self._cut is None:
            self._stirred.clear()
            await until(self._stirred, seconds)
        if self._cut is not None:
            raise self._cut
        return self._queue.popleft() if self._queue else None

    def close(self) -> None:
        """Want nothing more."""
        self._leave(self)


class Feed:
    """Follows the table: hints after commits of this process, and a look now and then for those of others."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._order = Order(0)
        self._reading = asyncio.Lock()
        self._news = asyncio.Event()
        self._joined = asyncio.Event()
        self._subscriptions: set[Subscription] = set()
        self._followers: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._deaf: Callable[[], None] = lambda: None

    @property
    def reached(self) -> int:
        """The number up to which all events have been told."""
        return self._order.reached

    @property
    def watchers(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscriptions)

    async def start(self) -> None:
        """Begin with what happened within the last minute, which nobody hears yet."""
        now = self._clock.now()
        self._order = Order(await self._db.read(lambda tx: store.before(tx, now - BACK)))
        self._deaf = self._db.signals.listen(store.SIGNAL, self._news.set)
        await self._catch_up()
        self._task = asyncio.create_task(self._run(), name="event-feed")

    async def stop(self) -> None:
        """End every subscription, then the reader."""
        self._deaf()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for subscription in tuple(self._subscriptions):
            subscription.end(lost=False)

    async def subscribe(self, wanted: Wanted) -> Subscription:
        """Everything wanted that happens from now on. Raises Unavailable while the feed does not run."""
        await self._catch_up()
        if self._task is None:
            raise Unavailable("Events are not told now")
        made = Subscription(wanted, self._subscriptions.discard)
        self._subscriptions.add(made)
        # The reader may be in a long sleep: from now on it looks more often.
        self._joined.set()
        self._news.set()
        return made

    def follow(self, follower: Callable[[], None]) -> None:
        """Call `follower` (quick) whenever `reached` has moved."""
        self._followers.append(follower)

    async def past(self, wanted: Wanted, after: int, limit: int = PAGE) -> list[Event]:
        """One page of what was told already, after a number."""
        reached = self.reached
        return await self._db.read(lambda tx: store.page(tx, wanted, after, reached, limit))

    async def knows(self, seq: int) -> bool:
        """Whether all after `seq` can still be told: nothing of it is swept away, and there was such a number."""
        oldest, newest = await self._db.read(store.bounds)
        return oldest - 1 <= seq <= max(newest, self.reached)

    async def _run(self) -> None:
        while True:
            await until(self._news, WATCHED_SECONDS if self._subscriptions else IDLE_SECONDS)
            if not self._subscriptions:
                # Nobody is in a hurry: a second's events cost one look.
                self._joined.clear()
                await until(self._joined, WATCHED_SECONDS)
            self._news.clear()
            try:
                await self._catch_up()
            except Exception:
                log.exception("events cannot be read now")
                await self._clock.sleep(WATCHED_SECONDS)
                self._news.set()

    async def _catch_up(self) -> None:
        async with self._reading:
            while await self._read():
                continue

    async def _read(self) -> bool:
        """Tell what is new; whether there may be more."""
        reached = self.reached
        fresh = await self._db.read(lambda tx: store.fresh(tx, reached, PAGE))
        told = self._order.settle(fresh, self._clock.now())
        for event in told:
            for subscription in tuple(self._subscriptions):
                subscription.offer(event)
        if told:
            for follower in self._followers:
                follower()
        if len(told) < len(fresh.events):
            asyncio.get_running_loop().call_later(HELD_SECONDS, self._news.set)
            return False
        return len(told) == PAGE


async def until(event: asyncio.Event, seconds: float) -> bool:
    """Whether it was set within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
