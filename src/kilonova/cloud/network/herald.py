"""Tells hosts at once that what they hold of networks has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from kilonova.cloud.network import document_store
from kilonova.cloud.network.model import Change
from kilonova.core.errors import Unavailable
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database, Tx
from kilonova.kit.log import Logger

MOST: Final = 500
log = Logger(__name__)


class Herald:
    """Gathers hints (`notify` is a `Ground`'s) for `pause` seconds, then tells each host concerned once.

    `tell` gets the ids of those hosts and must not block. Hints beyond `MOST` at a time, and those that a crash loses,
    reach the hosts by their next digest.
    """

    def __init__(self, db: Database, clock: Clock, tell: Callable[[list[str]], None], pause: float = 0.3) -> None:
        self._db = db
        self._clock = clock
        self._tell = tell
        self._pause = pause
        self._changes: set[Change] = set()
        self._heard = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def notify(self, change: Change) -> None:
        """Something changed, durably."""
        if len(self._changes) < MOST:
            self._changes.add(change)
            self._heard.set()

    async def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.create_task(self._run(), name="network-herald")

    async def stop(self) -> None:
        """Tell no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await self._heard.wait()
            await self._clock.sleep(self._pause)
            self._heard.clear()
            changes, self._changes = self._changes, set()
            try:
                hosts = await self._db.read(partial(_hosts_of, changes))
            except Unavailable as failure:
                log.warning("hosts were not told of a change", changes=len(changes), detail=failure.detail)
                continue
            if hosts:
                self._tell(hosts)


def _hosts_of(changes: Collection[Change], tx: Tx) -> list[str]:
    return document_store.hosts_of(tx, changes)
