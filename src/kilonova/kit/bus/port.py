"""The bus port. Messages are hints; rows are the truth: losing any message costs at most seconds, never correctness."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

Listener = Callable[[bytes], None]
Answerer = Callable[[bytes], Awaitable[bytes]]
Stop = Callable[[], None]


@dataclass(slots=True)
class BusCounts:
    """Messages since the bus was opened."""

    wakes: int = 0
    calls: int = 0


class Bus(Protocol):
    """Hints (`wake`, `listen`) and questions (`call`, `answer`), as bytes."""

    counts: BusCounts

    def wake(self, topic: str, data: bytes = b"") -> None:
        """Tell whoever listens. May be lost, doubled or late. Never blocks."""

    def listen(self, topic: str, listener: Listener) -> Stop:
        """Call `listener` (quick, synchronous) for each message until the returned function is called."""

    async def call(self, address: str, data: bytes, timeout: float) -> bytes:
        """Ask one party and wait for its answer. Raises Unavailable when nobody answers in time."""

    def answer(self, address: str, answerer: Answerer) -> Stop:
        """Be the party at `address` until the returned function is called."""

    async def close(self) -> None:
        """Let go; later messages are lost."""
