"""Work that is done again and again, by one owner, each with its own interval."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kilonova.kit.clock import Clock
from kilonova.kit.log import Logger

log = Logger(__name__)


class Periodic:
    """Runs reconcilers; one that fails is logged and runs again at its next time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._work: list[tuple[str, float, Callable[[], Awaitable[object]]]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        """Do `work` every `seconds`."""
        self._work.append((name, seconds, work))

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._run(*w), name=f"periodic-{w[0]}") for w in self._work]

    async def stop(self) -> None:
        """End; what is under way is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await self._clock.sleep(seconds)
            try:
                await work()
            except Exception:
                log.exception("a periodic task failed", task=name)
