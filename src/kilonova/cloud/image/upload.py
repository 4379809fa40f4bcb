"""Bytes come in: queued → saving → active, or queued → uploading for a later import; or back to queued with nothing
left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from kilonova.cloud.image import account, store
from kilonova.cloud.image.content import ContentCheck
from kilonova.cloud.image.model import ACTIVE, QUEUED, SAVING, Image
from kilonova.cloud.image.service import owned
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, Failure, Invalid, Lost, NotFound, QuotaExceeded, TooLarge, Unavailable
from kilonova.core.ids import NewId, new_hex
from kilonova.kit.blob import Blobs, Stored, Tap
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database, Tx
from kilonova.kit.log import Logger

T = TypeVar("T")
TOUCH_SECONDS = 15
CLOUD: Final = Context("kilonova", None, frozenset({"admin"}), "", is_admin=True)
"""Who uploads what nodes bring."""
Progress = Callable[[int, int], None]
"""Called with (bytes so far, bytes announced; 0 when not)."""


@dataclass(frozen=True, slots=True)
class _Grant:
    """An upload that has begun, and how many bytes it may bring."""

    image: Image
    blob: str
    room: int | None
    resource: str


class ImageUpload:
    """Takes uploads of at most `max_bytes` each."""

    def __init__(
        self, db: Database, blobs: Blobs, clock: Clock, *, max_bytes: int = 1 << 40, new_id: NewId = new_hex
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._max_bytes = max_bytes
        self._new_id = new_id
        self._cleaning: set[asyncio.Task[None]] = set()
        self._log = Logger("kilonova.image")

    async def upload(
        self,
        context: Context,
        image_id: str,
        stream: AsyncIterable[bytes],
        expect: int | None = None,
        progress: Progress | None = None,
    ) -> Image:
        """Fill a queued image with bytes and make it active, once they are checked to be what the record claims.

        Whatever goes wrong (also cancellation) returns it to queued. Raises NotFound, Forbidden, Invalid (no formats
        set), Conflict (not queued: has bytes, or another upload runs), TooLarge, QuotaExceeded, NoCapacity,
        `content.Unfit`, Lost (deleted meanwhile); what the stream raises comes out.
        """

        async def fill(grant: _Grant) -> Image:
            check = await asyncio.to_thread(_content_check, grant.image)
            stored = await self._receive(grant, stream, expect, progress, check.feed)
            return await self._finish(grant, stored, await asyncio.to_thread(check.finish))

        done = await self._safely(context, image_id, "upload", fill)
        self._log.info("image active", image=image_id, bytes=done.size or 0, format=done.disk_format)
        return done

    async def fill(self, image_id: str, disk_format: str, stream: AsyncIterable[bytes], expect: int) -> Image:
        """Make the cloud's own copy of a disk an image: as `upload`, of the format that the copy has. One that is
        active stays as it is, its bytes being those of an earlier try. Raises Lost (not waited for any more)."""

        def work(tx: Tx) -> Image:
            image = store.get(tx, ALL, image_id)
            if image.status == SAVING and image.blob is not None:
                # Whoever took that copy is gone: a node begins anew only then.
                store.give_up_upload(tx, image_id, image.blob)
                image = store.get(tx, ALL, image_id)
            if image.status != QUEUED:
                return image
            return store.change(tx, image, replace(image, disk_format=disk_format, container_format="bare"))

        image = await self._db.write(work)
        if image.status == ACTIVE:
            async for _ in stream:
                pass
            return image
        return await self.upload(CLOUD, image_id, stream, expect)

    async def stage(
        self, context: Context, image_id: str, stream: AsyncIterable[bytes], expect: int | None = None
    ) -> None:
        """Take bytes that an import shall look at and make the image's. Raises as `upload`, but for what concerns
        formats."""

        async def fill(grant: _Grant) -> None:
            await self._keep_staged(grant, await self._receive(grant, stream, expect, None, None))

        await self._safely(context, image_id, "stage", fill)

    async def close(self) -> None:
        """Wait for the tidying up after uploads that failed."""
        if self._cleaning:
            await asyncio.wait(self._cleaning)

    async def _safely(self, context: Context, image_id: str, event: str, fill: Callable[[_Grant], Awaitable[T]]) -> T:
        """`fill` what `event` has begun; leave nothing behind if that fails."""
        blob = f"{image_id}.{self._new_id()}"
        try:
            return await fill(await self._begin(context, image_id, blob, event))
        except BaseException:
            await self._see_through(image_id, blob)
            raise

    async def _begin(self, context: Context, image_id: str, blob: str, event: str) -> _Grant:
        def work(tx: Tx) -> _Grant:
            image = owned(tx, context, image_id, "modify")
            if image.status != QUEUED:
                raise Conflict(f"Unable to upload duplicate image data for image {image_id}: it is {image.status}.")
            if event == "upload" and (image.disk_format is None or image.container_format is None):
                raise Invalid("Properties disk_format, container_format must be set prior to saving data.")
            account.begin(tx, image.owner, blob)
            if not store.begin_upload(tx, image_id, blob, event):
                raise Conflict(f"Unable to upload duplicate image data for image {image_id}.")
            resource = account.BYTES if event == "upload" else account.STAGED
            return _Grant(image, blob, account.room(tx, image.owner, resource), resource)

        return await self._db.write(work)

    async def _receive(
        self,
        grant: _Grant,
        stream: AsyncIterable[bytes],
        expect: int | None,
        progress: Progress | None,
        tap: Tap | None,
    ) -> Stored:
        limit = self._max_bytes if grant.room is None else min(self._max_bytes, grant.room)
        beat = asyncio.create_task(self._beat(grant))
        watched = _watch(stream, beat, expect or 0, progress)
        try:
            return await self._blobs.put(grant.blob, watched, expect=expect, limit=limit, tap=tap)
        except TooLarge as error:
            if limit == self._max_bytes:
                raise TooLarge(f"The image is larger than the {limit} bytes that are taken.", limit=limit) from error
            raise QuotaExceeded(
                f"The image exceeds the storage quota: {limit} bytes are left", resource=grant.resource, limit=limit
            ) from error
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    async def _beat(self, grant: _Grant) -> None:
        """A sign of life in the row every few seconds, also while a slow disk takes in what has arrived. Ends by
        raising Lost when the upload is no longer ours."""
        while True:
            await self._clock.sleep(TOUCH_SECONDS)
            try:
                if not await self._db.write(lambda tx: store.touch_upload(tx, grant.image.id, grant.blob)):
                    raise _gone(grant.image.id)
            except Unavailable as error:
                self._log.warning("no sign of life of an upload", image=grant.image.id, detail=error.detail)

    async def _finish(self, grant: _Grant, stored: Stored, virtual: int) -> Image:
        image_id = grant.image.id

        def work(tx: Tx) -> Image:
            # Looked up again: an administrator may have given it to another project meanwhile.
            account.keep(tx, _owner(tx, image_id), image_id, grant.blob, stored.size)
            if not store.fill(tx, image_id, grant.blob, stored, virtual):
                raise _gone(image_id)
            return store.get(tx, ALL, image_id)

        return await self._db.write(work)

    async def _keep_staged(self, grant: _Grant, stored: Stored) -> None:
        image_id = grant.image.id

        def work(tx: Tx) -> None:
            account.stage(tx, _owner(tx, image_id), grant.blob, stored.size)
            if not store.stage(tx, image_id, grant.blob, stored.size):
                raise _gone(image_id)

        await self._db.write(work)

    async def _see_through(self, image_id: str, blob: str) -> None:
        """Tidy up to the end even if the caller is cancelled again; `close` waits for the rest."""
        task = asyncio.create_task(self._abandon(image_id, blob))
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)
        await asyncio.wait([task])

    async def _abandon(self, image_id: str, blob: str) -> None:
        def work(tx: Tx) -> bool:
            store.give_up_upload(tx, image_id, blob)
            return not store.blobs_in_use(tx, [blob])

        try:
            if await self._db.write(work):
                await self._blobs.delete(blob)
        except Failure as error:
            self._log.warning("failed upload left to the sweep", image=image_id, detail=error.detail or error.message)


async def _watch(
    stream: AsyncIterable[bytes], beat: asyncio.Task[None], total: int, progress: Progress | None
) -> AsyncIterator[bytes]:
    """The stream, reported on; it breaks off when the heart has stopped."""
    size = 0
    async for chunk in stream:
        if beat.done():
            beat.result()
        size += len(chunk)
        if progress is not None:
            progress(size, total)
        yield chunk


def _content_check(image: Image) -> ContentCheck:
    return ContentCheck(image.disk_format or "", image.container_format or "")


def _owner(tx: Tx, image_id: str) -> str:
    try:
        return store.get(tx, ALL, image_id).owner
    except NotFound:
        raise _gone(image_id) from None


def _gone(image_id: str) -> Failure:
    return Lost(f"Image {image_id} could not be found after upload. The image may have been deleted during the upload.")
