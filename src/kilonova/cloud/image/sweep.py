"""Leftovers both ways: blobs that belong to no image, and uploads whose uploader died."""

from __future__ import annotations

from kilonova.cloud.image import store
from kilonova.cloud.image.model import Leftovers
from kilonova.kit.blob import Blobs
from kilonova.kit.clock import SECOND
from kilonova.kit.db import Database, Tx
from kilonova.kit.log import Logger


class ImageSweep:
    """Idempotent; any number may run at once. `blobs` is the images' own: what else lies in it is removed.

    `patience`: seconds without a sign of life after which an upload counts as dead (uploaders give one every 15).
    """

    def __init__(self, db: Database, blobs: Blobs, patience: int = 90) -> None:
        self._db = db
        self._blobs = blobs
        self._patience = patience * SECOND
        self._log = Logger("kilonova.image")

    async def sweep(self) -> Leftovers:
        """Mend what is found and say what it was."""
        uploads: list[str] = []
        if await self._db.read(self._stalled):
            uploads = await self._db.write(self._give_up)
        # Blobs first, rows after: a row names its blob before the blob is there, so what has no row now is garbage.
        present = await self._blobs.list()
        used = await self._db.read(lambda tx: store.blobs_in_use(tx, present))
        orphans = [blob for blob in present if blob not in used]
        for blob in orphans:
            await self._blobs.delete(blob)
        if uploads or orphans:
            self._log.info("swept", uploads=len(uploads), blobs=len(orphans))
        return Leftovers(tuple(uploads), tuple(orphans))

    def _stalled(self, tx: Tx) -> list[tuple[str, str]]:
        return store.stalled(tx, tx.now - self._patience)

    def _give_up(self, tx: Tx) -> list[str]:
        return [image_id for image_id, blob in self._stalled(tx) if store.give_up_upload(tx, image_id, blob)]
