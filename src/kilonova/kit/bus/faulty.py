"""A bus that loses, doubles and reorders, to rehearse what a network does. Wraps any other bus."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from kilonova.core.errors import Unavailable
from kilonova.kit.bus.port import Answerer, Bus, BusCounts, Listener, Stop


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities (0–1) for each message, and the longest delay in seconds; delays reorder."""

    lose: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    longest: float = 0.05


class FaultyBus:
    """Hints are lost, doubled, delayed; of a call the question or its answer is lost."""

    def __init__(self, inner: Bus, faults: Faults, chance: random.Random) -> None:
        self._inner = inner
        self._faults = faults
        self._chance = chance

    @property
    def counts(self) -> BusCounts:
        return self._inner.counts

    def wake(self, topic: str, data: bytes = b"") -> None:
        for _ in range(self._copies()):
            if self._happens(self._faults.delay):
                asyncio.get_running_loop().call_later(self._pause(), self._inner.wake, topic, data)
            else:
                self._inner.wake(topic, data)

    def listen(self, topic: str, listener: Listener) -> Stop:
        return self._inner.listen(topic, listener)

    async def call(self, address: str, data: bytes, timeout: float) -> bytes:
        if self._happens(self._faults.delay):
            await asyncio.sleep(self._pause())
        if self._happens(self._faults.lose):
            raise Unavailable(f"No answer from {address} (question lost)")
        answer = b""
        for _ in range(max(1, self._copies())):
            answer = await self._inner.call(address, data, timeout)
        if self._happens(self._faults.lose):
            raise Unavailable(f"No answer from {address} (answer lost)")
        return answer

    def answer(self, address: str, answerer: Answerer) -> Stop:
        return self._inner.answer(address, answerer)

    async def close(self) -> None:
        await self._inner.close()

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability

    def _copies(self) -> int:
        return 0 if self._happens(self._faults.lose) else 2 if self._happens(self._faults.double) else 1

    def _pause(self) -> float:
        return self._chance.random() * self._faults.longest
