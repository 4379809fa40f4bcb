"""Power events on their way from a hypervisor to whoever listens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from kilonova.node.driver.virt.port import PowerEvent


class Watch:
    """The events of one guest since the watch was opened."""

    def __init__(self) -> None:
        self._causes: set[str] = set()
        self._wake = asyncio.Event()

    def note(self, cause: str) -> None:
        self._causes.add(cause)
        self._wake.set()

    async def wait(self, causes: frozenset[str], seconds: float) -> bool:
        """Whether one of `causes` has happened; waits for it at most `seconds`."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                while not causes & self._causes:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return False
        return True


class EventHub:
    """One bounded stream of events for the driver's user, and watches for the driver's own waiting.

    All methods belong to the event loop's thread. When nobody reads, the oldest events are dropped.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._events: deque[PowerEvent] = deque(maxlen=limit)
        self._wake = asyncio.Event()
        self._closed = False
        self._watches: dict[str, list[Watch]] = {}

    def publish(self, event: PowerEvent) -> None:
        self._events.append(event)
        self._wake.set()
        for watch in self._watches.get(event.server_id, ()):
            watch.note(event.cause)

    def close(self) -> None:
        """End the stream once what is in it has been read."""
        self._closed = True
        self._wake.set()

    async def stream(self) -> AsyncIterator[PowerEvent]:
        """The events, until the hub is closed. For one reader."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()

    @contextmanager
    def watch(self, server_id: str) -> Iterator[Watch]:
        watch = Watch()
        self._watches.setdefault(server_id, []).append(watch)
        try:
            yield watch
        finally:
            self._watches[server_id].remove(watch)
            if not self._watches[server_id]:
                del self._watches[server_id]
