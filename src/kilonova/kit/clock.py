"""Time as an argument."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol

SECOND = 1_000_000


class Clock(Protocol):
    """Wall time in µs since the epoch (UTC), and a way to wait."""

    def now(self) -> int:
        """µs since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's time."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class VirtualClock:
    """A clock that moves only when told to: for simulations that must repeat exactly."""

    def __init__(self, start: int = 1_700_000_000 * SECOND) -> None:
        self._now = start
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> int:
        return self._now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + int(seconds * SECOND), next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move forward and wake whoever's time has come."""
        self._now += int(seconds * SECOND)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
