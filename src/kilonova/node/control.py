"""The node's voice towards the control plane. The node always dials."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from kilonova.kit.bus import Bus
from kilonova.wire.node import (
    Ack,
    DepositAnswer,
    DepositChunk,
    Digest,
    DigestAnswer,
    Docs,
    Fetch,
    Heartbeat,
    Hello,
    ImageTicket,
    Report,
    TicketRequest,
    Welcome,
)

A = TypeVar("A", bound=msgspec.Struct)
DEPOSIT_PATIENCE: Final = 120.0


class Control:
    """Typed calls; each raises Unavailable when the control plane does not answer in time."""

    def __init__(self, bus: Bus, patience: float = 10.0) -> None:
        self._bus = bus
        self._patience = patience

    async def hello(self, hello: Hello) -> Welcome:
        """Present this node."""
        return await self._call("control.hello", hello, Welcome)

    async def report(self, report: Report) -> Ack:
        """Hand observations over."""
        return await self._call("control.report", report, Ack)

    async def digest(self, digest: Digest) -> DigestAnswer:
        """Ask what this node should hold."""
        return await self._call("control.digest", digest, DigestAnswer)

    async def fetch(self, fetch: Fetch) -> Docs:
        """Ask for documents."""
        return await self._call("control.fetch", fetch, Docs)

    async def ticket(self, request: TicketRequest) -> ImageTicket:
        """Ask where an image's bytes are; the url is empty when there is no such image (any more)."""
        return await self._call("control.ticket", request, ImageTicket)

    async def deposit(self, chunk: DepositChunk) -> DepositAnswer:
        """Hand over a part of a disk. The last one is answered when all is hashed and on stable storage."""
        return await self._call("control.deposit", chunk, DepositAnswer, DEPOSIT_PATIENCE)

    def heartbeat(self, beat: Heartbeat) -> None:
        """Say that this node lives."""
        self._bus.wake("control.heartbeat", msgspec.msgpack.encode(beat))

    async def _call(self, address: str, message: msgspec.Struct, answer: type[A], patience: float = 0.0) -> A:
        data = await self._bus.call(address, msgspec.msgpack.encode(message), patience or self._patience)
        return msgspec.msgpack.decode(data, type=answer)
