"""The bus inside one process: the reference for what a bus does."""

from __future__ import annotations

import asyncio

from kilonova.core.errors import Unavailable
from kilonova.kit.bus.port import Answerer, BusCounts, Listener, Stop


class LocalBus:
    """Delivers on the running event loop, in order, each message once."""

    def __init__(self) -> None:
        self.counts = BusCounts()
        self._listeners: dict[str, list[Listener]] = {}
        self._answerers: dict[str, Answerer] = {}

    def wake(self, topic: str, data: bytes = b"") -> None:
        listeners = self._listeners.get(topic)
        if not listeners:
            return
        self.counts.wakes += 1
        loop = asyncio.get_running_loop()
        for listener in tuple(listeners):
            loop.call_soon(listener, data)

    def listen(self, topic: str, listener: Listener) -> Stop:
        self._listeners.setdefault(topic, []).append(listener)

        def stop() -> None:
            if listener in self._listeners.get(topic, []):
                self._listeners[topic].remove(listener)

        return stop

    async def call(self, address: str, data: bytes, timeout: float) -> bytes:
        answerer = self._answerers.get(address)
        if answerer is None:
            raise Unavailable(f"Nobody answers at {address}")
        self.counts.calls += 1
        try:
            async with asyncio.timeout(timeout):
                return await answerer(data)
        except TimeoutError as error:
            raise Unavailable(f"No answer from {address} within {timeout:g} s") from error

    def answer(self, address: str, answerer: Answerer) -> Stop:
        self._answerers[address] = answerer

        def stop() -> None:
            if self._answerers.get(address) is answerer:
                del self._answerers[address]

        return stop

    async def close(self) -> None:
        self._listeners.clear()
        self._answerers.clear()
