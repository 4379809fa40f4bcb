"""Importing an image: fetch what is not here yet, look at what is, make it the image's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar, Final

from kilonova.cloud.image import account, store, task_store
from kilonova.cloud.image.content import ContentCheck
from kilonova.cloud.image.importing import FLOW, WEB
from kilonova.cloud.image.remote import Refused, Source
from kilonova.core.context import ALL
from kilonova.core.errors import Conflict, Failure, Unavailable
from kilonova.kit.blob import Blobs, Tap
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Next, Run, Step

TRIES: Final = 3


class ImageImport:
    """Frame: `task`, `blob` (where the bytes are or come to), `method`, `uri`.

    The record names the blob before there is one, so that whatever is left of an import belongs to a record, or is
    removed by the sweep of images.
    """

    name: ClassVar[str] = FLOW
    deadline: ClassVar[float] = 300.0

    def __init__(self, db: Database, blobs: Blobs, source: Source, max_bytes: int = 1 << 40) -> None:
        self._db = db
        self._blobs = blobs
        self._source = source
        self._max_bytes = max_bytes
        self.steps = (Step("fetch", self._fetch, self._discard), Step("activate", self._activate))

    async def _fetch(self, run: Run) -> Next:
        """Bring the bytes here, unless they were staged."""
        if run.frame["method"] == WEB:
            await self._db.write(lambda tx: self._begin(tx, run))
            image = await self._db.read(lambda tx: store.get(tx, ALL, run.subject_id))
            room = await self._db.read(lambda tx: account.room(tx, image.owner, account.BYTES))
            limit = self._max_bytes if room is None else min(room, self._max_bytes)
            try:
                await self._blobs.put(run.frame["blob"], self._told(run), limit=limit)
            except Unavailable as failure:
                if run.attempt < TRIES:
                    raise
                raise Refused(failure.message, detail=failure.detail) from failure
        return Next(lambda tx: task_store.move(tx, run.frame["task"], "processing"))

    async def _activate(self, run: Run) -> Done:
        """Read them once: their digests, and that they are what the record claims."""
        image = await self._db.read(lambda tx: store.get(tx, ALL, run.subject_id))
        check = await asyncio.to_thread(ContentCheck, image.disk_format or "", image.container_format or "")
        stored = await self._blobs.examine(run.frame["blob"], _touching(run, check))
        virtual = await asyncio.to_thread(check.finish)

        def commit(tx: Tx) -> None:
            current = store.get(tx, ALL, run.subject_id)
            if (current.disk_format, current.container_format) != (image.disk_format, image.container_format):
                raise Conflict("The formats of the image were changed during its import.")
            account.keep(tx, current.owner, current.id, run.frame["blob"], stored.size)
            if not store.fill(tx, current.id, run.frame["blob"], stored, virtual):
                raise Conflict(f"Image {current.id} is {current.status}, not importing.")
            task_store.move(tx, run.frame["task"], "success")

        return Done(commit)

    async def _discard(self, run: Run) -> None:
        await self._blobs.delete(run.frame["blob"])

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        store.give_up_upload(tx, run.subject_id, run.frame["blob"])
        task_store.move(tx, run.frame["task"], "failure", failure.message)

    def _begin(self, tx: Tx, run: Run) -> None:
        run.guard(tx)
        task_store.move(tx, run.frame["task"], "processing")

    async def _told(self, run: Run) -> AsyncIterator[bytes]:
        """What the source gives; each piece is progress."""
        async for chunk in self._source.read(run.frame["uri"]):
            run.touch()
            yield chunk


def _touching(run: Run, check: ContentCheck) -> Tap:
    def tap(chunk: bytes) -> None:
        run.touch()
        check.feed(chunk)

    return tap
