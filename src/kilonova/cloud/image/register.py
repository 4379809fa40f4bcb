"""Images that the cloud itself brings along, from a local file; the same file twice is one image."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from kilonova.cloud.image.model import QUEUED, SAVING, Image, NewImage
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.upload import ImageUpload, Progress
from kilonova.core.context import Context
from kilonova.core.errors import Conflict

CHUNK = 1 << 20
_SPACE = uuid.UUID("6b2f9a50-1f0b-5c7e-9a53-0a2d4d1c7e11")


class ImageRegister:
    """Registers files as images. Only one process does so at a time (the one that starts the cloud)."""

    def __init__(self, service: ImageService, upload: ImageUpload) -> None:
        self._service = service
        self._upload = upload

    async def register(
        self, context: Context, wanted: NewImage, path: Path, progress: Progress | None = None
    ) -> tuple[Image, bool]:
        """The active image of this name and these bytes, and whether it is new. Older images of the name are hidden.

        `context` is the administrator's, scoped to the project that shall own it. Raises what `upload` raises.
        """
        digest, size = await asyncio.to_thread(_digest, path)
        owner, name = context.project_id or "", wanted.name or path.name
        if (found := await self._service.find_same(owner, name, digest)) is not None:
            return found, False
        image = await self._draft(context, replace(wanted, name=name), f"{owner}/{name}/{digest}")
        done = await self._upload.upload(context, image.id, _chunks(path), size, progress)
        await self._service.hide_outdated(done)
        return done, True

    async def _draft(self, context: Context, wanted: NewImage, identity: str) -> Image:
        """A queued record: that of an earlier run which did not get to the end, else a new one."""
        image_id = str(uuid.uuid5(_SPACE, identity))
        try:
            return await self._service.create(context, replace(wanted, id=image_id))
        except Conflict as taken:
            if taken.facts.get("deleted"):
                return await self._service.create(context, wanted)
        image = await self._service.get(context, image_id)
        if image.status == SAVING:
            image = await self._service.give_up_foreign_upload(image)
        return image if image.status == QUEUED else await self._service.create(context, wanted)


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
        return digest, file.tell()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
