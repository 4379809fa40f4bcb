"""Copies of guests' disks come in from nodes and become images."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

from kilonova.cloud.image.model import Image
from kilonova.cloud.server import guest_store
from kilonova.core.errors import Failure, Unavailable
from kilonova.kit.db import Database, Tx
from kilonova.kit.log import Logger
from kilonova.wire.node import DepositAnswer, DepositChunk

log = Logger(__name__)
SILENCE: Final = 60.0
"""Seconds without a part after which a node counts as gone."""
ENDED: Final = 100
"""How many copies that have ended are remembered."""


class Uploads(Protocol):
    """The part of the image service that takes copies in."""

    async def fill(self, image_id: str, disk_format: str, stream: AsyncIterator[bytes], expect: int) -> Image:
        """Make a queued image active; one that is already stays as it is."""


class _Arrival:
    """One copy on its way in."""

    def __init__(self, uploads: Uploads, first: DepositChunk, older: asyncio.Task[Image] | None) -> None:
        self._parts: asyncio.Queue[bytes] = asyncio.Queue(2)
        self.copy = first.copy
        self.next = 0
        self._size = first.size
        self.task = asyncio.create_task(self._fill(uploads, first, older), name=f"deposit-{first.image_id}")

    async def _fill(self, uploads: Uploads, first: DepositChunk, older: asyncio.Task[Image] | None) -> Image:
        """Once the one before has let go of the image."""
        if older is not None:
            older.cancel()
            await asyncio.gather(older, return_exceptions=True)
        return await uploads.fill(first.image_id, first.disk_format, self._stream(), first.size)

    async def _stream(self) -> AsyncIterator[bytes]:
        arrived = 0
        while arrived < self._size:
            try:
                async with asyncio.timeout(SILENCE):
                    part = await self._parts.get()
            except TimeoutError:
                raise Unavailable("The host sends no more of the disk") from None
            arrived += len(part)
            yield part

    async def take(self, chunk: DepositChunk) -> None:
        """Pass a part on, as fast as it is written; the last one waits for the end. Raises what the upload raises."""
        if chunk.offset < self.next:
            # It was heard before, and its sender has not heard so.
            if chunk.is_last:
                await asyncio.shield(self.task)
            return
        self.next = chunk.offset + len(chunk.data)
        putting = asyncio.ensure_future(self._parts.put(chunk.data))
        await asyncio.wait({putting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        if not putting.done():
            putting.cancel()
        if chunk.is_last or self.task.done():
            await asyncio.shield(self.task)


class Deposits:
    """Takes the parts of many copies at once. A copy is cut off when its node falls silent or begins anew."""

    def __init__(self, db: Database, uploads: Uploads) -> None:
        self._db = db
        self._uploads = uploads
        self._arrivals: dict[str, _Arrival] = {}

    async def take(self, chunk: DepositChunk) -> DepositAnswer:
        """A part, from a host that was told to give just this; the answer says how the node is to go on."""
        if chunk.offset == 0 and not await self._db.read(lambda tx: _is_asked(tx, chunk)):
            return DepositAnswer(error="Nobody asks for a copy of this disk")
        arrival = self._arrivals.get(chunk.image_id)
        if chunk.offset == 0 and (arrival is None or arrival.copy != chunk.copy):
            arrival = self._begin(chunk, arrival)
        if arrival is None or arrival.copy != chunk.copy or arrival.next < chunk.offset:
            return DepositAnswer(error="The copy was cut off", again=True)
        try:
            await arrival.take(chunk)
        except Failure as failure:
            self._forget(chunk.image_id, arrival)
            log.warning("a copy of a disk was not taken", image=chunk.image_id, why=failure.message)
            return DepositAnswer(error=failure.message, again=failure.retryable)
        except asyncio.CancelledError:
            if not arrival.task.cancelled():
                raise
            return DepositAnswer(error="The copy was cut off", again=True)
        return DepositAnswer()

    def _begin(self, first: DepositChunk, older: _Arrival | None) -> _Arrival:
        """A copy anew. Of those that have ended, some are kept for parts that come twice."""
        self._arrivals.pop(first.image_id, None)
        ended = [i for i, arrival in self._arrivals.items() if arrival.task.done()]
        for image_id in ended[:-ENDED]:
            del self._arrivals[image_id]
        arrival = _Arrival(self._uploads, first, older.task if older else None)
        self._arrivals[first.image_id] = arrival
        return arrival

    async def close(self) -> None:
        """Cut off what is coming in."""
        tasks = [arrival.task for arrival in self._arrivals.values()]
        self._arrivals.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, image_id: str, arrival: _Arrival) -> None:
        if self._arrivals.get(image_id) is arrival:
            del self._arrivals[image_id]


def _is_asked(tx: Tx, chunk: DepositChunk) -> bool:
    guest = guest_store.get(tx, chunk.host_id, chunk.server_id)
    return guest is not None and guest.spec.deposit_to == chunk.image_id
