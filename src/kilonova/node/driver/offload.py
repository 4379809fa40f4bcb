"""Blocking work on a thread, safe to cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def offload(pool: Executor, work: Callable[[], T]) -> T:
    """Run `work` on a thread of `pool`. A cancelled caller waits until the thread is through: what it then cleans up
    (a file, a descriptor) is in nobody's hands any more. Work is therefore to be short."""
    job = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        if not job.cancelled():
            job.exception()
        raise
