"""One piece of work, however many ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from kilonova.node.driver.block.port import Progress

Work = Callable[[Progress], Coroutine[Any, Any, None]]


class _Flight:
    def __init__(self, work: Work) -> None:
        self.listeners: list[Progress] = []
        self.task = asyncio.create_task(work(self.report))

    def report(self, done: int, total: int) -> None:
        for listener in self.listeners:
            listener(done, total)


class SingleFlight:
    """Work under a key runs once; all who joined get its end. It is cancelled when the last of them has left."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight] = {}

    async def join(self, key: Hashable, work: Work, progress: Progress) -> None:
        """Wait for the work under `key`, started now if nobody did. Raises what the work raises."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(work)
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        flight.listeners.append(progress)
        try:
            await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(progress)
            if not flight.listeners and not flight.task.done():
                await self._abandon(key, flight)

    async def _abandon(self, key: Hashable, flight: _Flight) -> None:
        self._land(key, flight)
        flight.task.cancel()
        await asyncio.wait([flight.task])
        if not flight.task.cancelled():
            flight.task.exception()

    def _land(self, key: Hashable, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
