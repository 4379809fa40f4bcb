"""The images of the small cloud. Their bytes lie in a directory that outlives every worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from kilonova.cloud.image import account
from kilonova.cloud.image.importing import DIRECT, WEB, ImageImports
from kilonova.cloud.image.model import Filter, NewImage, Page
from kilonova.cloud.image.remote import Allowed
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.sweep import ImageSweep
from kilonova.cloud.image.upload import ImageUpload
from kilonova.core.context import Context
from kilonova.core.errors import NotFound
from kilonova.kit.blob import DirectoryBlobs
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database
from kilonova.kit.ops.start import Operations

DATA = b"bytes of no system " * 200_000
URI = "https://images.example.org/disk.raw"


@dataclass(frozen=True)
class Seen:
    """An image as scenarios look at it."""

    phase: str
    sha512: str | None
    fault: None = None


class Images:
    """Records, uploads and imports; `source` is the web."""

    def __init__(self, db: Database, ops: Operations, clock: Clock, place: Path, admin: Context) -> None:
        self.blobs = DirectoryBlobs(place / "images", keep_free=0)
        self.source = self
        self._db, self._admin = db, admin
        self.service = ImageService(db, self.blobs, ops)
        self.uploads = ImageUpload(db, self.blobs, clock)
        self._imports = ImageImports(db, ops, Allowed())

    async def read(self, uri: str) -> AsyncIterator[bytes]:
        for at in range(0, len(DATA), 1 << 20):
            yield DATA[at : at + (1 << 20)]

    async def create(self, *, staged: bool = False) -> str:
        """A queued image, or one whose bytes are staged."""
        image = await self.service.create(self._admin, NewImage("i", disk_format="raw", container_format="bare"))
        if staged:
            await self.uploads.stage(self._admin, image.id, self.read(URI))
        return image.id

    async def begin(self, image_id: str) -> str:
        """Start to import it, from where its bytes are."""
        staged = (await self.service.get(self._admin, image_id)).staged is not None
        method, uri = (DIRECT, None) if staged else (WEB, URI)
        await self._imports.start(self._admin, image_id, method, uri, {})
        return image_id

    async def look(self, image_id: str) -> Seen | None:
        """The image; None when it is gone."""
        try:
            image = await self.service.get(self._admin, image_id)
        except NotFound:
            return None
        if image.status == "active":
            assert image.size == len(DATA)
            assert image.blob in await self.blobs.list()
        return Seen(f"image {image.status}", image.sha512)

    async def delete(self, image_id: str) -> None:
        """Delete it, however gone it is already."""
        try:
            await self.service.delete(self._admin, image_id)
        except NotFound:
            return

    async def empty(self) -> bool:
        """Whether nothing of any image is left once it was swept: no bytes, no charge, no task that has not ended."""
        for image in await self.service.list(self._admin, Filter(), Page(limit=100)):
            if image.status != "active":
                return False
            await self.service.delete(self._admin, image.id)
        await ImageSweep(self._db, self.blobs).sweep()
        uses = await self._db.read(lambda tx: account.uses(tx, self._admin.project_id or ""))
        running = await self._imports.list(self._admin, "processing", None, ("created_at", True), 1, None)
        return not (await self.blobs.list() or running or any(use.used for use in uses.values()))
