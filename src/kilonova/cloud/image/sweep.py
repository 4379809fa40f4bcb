"""Leftovers both ways: blobs that belong to no image, and uploads whose uploader died."""

from __future__ import annotations

from kilonova.cloud.image import store
from kilonova.cloud.image.model import Leftovers
from kilonova.kit.blob import Blobs
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.db import Database, Tx
from kilonova.kit.log import Logger


class ImageSweep:
    """Idempotent; any number may run at once. `patience`: seconds without bytes after which an upload counts as dead
    (uploaders give a sign every 15)."""

    def __init__(self, db: Database, blobs: Blobs, clock: Clock, patience: int = 90) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._patience = patience * SECOND
        self._log = Logger("kilonova.image")

    async def sweep(self) -> Leftovers:
        """Mend what is found and say what it was."""
        before = self._clock.now() - self._patience

        def give_up(tx: Tx) -> list[str]:
            return [found for found, blob in store.stalled(tx, before) if store.give_up_upload(tx, found, blob)]

        uploads: list[str] = []
        if await self._db.read(lambda tx: store.stalled(tx, before)):
            uploads = await self._db.write(give_up)
        # Blobs first, rows after: a row names its blob before the blob is there, so what has no row now is garbage.
        present = await self._blobs.list()
        used = await self._db.read(lambda tx: store.blobs_in_use(tx, present))
        orphans = [blob for blob in present if blob not in used]
        for blob in orphans:
            await self._blobs.delete(blob)
        if uploads or orphans:
            self._log.info("swept", uploads=len(uploads), blobs=len(orphans))
        return Leftovers(tuple(uploads), tuple(orphans))
