"""One stream, several consumers side by side on worker threads: hashing and writing take turns with nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from kilonova.kit.blob.port import Tap

T = TypeVar("T")
DEPTH: Final = 4
"""Chunks that may wait for a consumer: more only cost memory, fewer let the faster ones wait for the slowest."""


class RunWork(Protocol):
    """Runs work on a thread; when its caller is cancelled, it ends only after the work has."""

    def __call__(self, work: Callable[[], T], /) -> Coroutine[object, object, T]: ...


async def spread(stream: AsyncIterable[bytes], consumers: Sequence[Tap], run: RunWork) -> None:
    """Give every chunk to every consumer, to each in order. Raises what the stream or a consumer raises first; when
    this returns or raises, no consumer is at work any more."""
    failures: list[BaseException] = []
    queues: list[asyncio.Queue[bytes | None]] = [asyncio.Queue(DEPTH) for _ in consumers]
    lanes = [
        asyncio.create_task(_consume(queue, consumer, run, failures))
        for queue, consumer in zip(queues, consumers, strict=True)
    ]
    try:
        async for chunk in stream:
            for queue in queues:
                await queue.put(chunk)
            if failures:
                raise failures[0]
        for queue in queues:
            await queue.put(None)
        await asyncio.wait(lanes)
        if failures:
            raise failures[0]
    finally:
        for lane in lanes:
            lane.cancel()
        await asyncio.wait(lanes)


async def _consume(
    queue: asyncio.Queue[bytes | None], consumer: Tap, run: RunWork, failures: list[BaseException]
) -> None:
    """After a failure of anybody the rest is only taken off the queue, so that whoever fills it never waits in vain."""
    while (chunk := await queue.get()) is not None:
        if failures:
            continue
        try:
            await run(partial(consumer, chunk))
        except Exception as error:
            failures.append(error)
