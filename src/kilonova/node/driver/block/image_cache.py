"""Images on a host by the sha512 of their bytes: each brought here once, checked, and let go when nobody needs it.

`<sha512>` holds the bytes and `<sha512>.json` what was found out about them; the record's time is the last use.
The bytes appear under their name last and by one rename, so a name that exists is whole.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import threading
from concurrent.futures import Executor
from pathlib import Path

import msgspec

from kilonova.kit.clock import SECOND, Clock
from kilonova.node.driver.block.flight import SingleFlight
from kilonova.node.driver.block.folder import Folder
from kilonova.node.driver.block.image_check import STORED_AS, inspect, measure
from kilonova.node.driver.block.port import Progress
from kilonova.node.driver.block.qemu_img import QemuImg
from kilonova.node.driver.block.transfer import Transfer
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.offload import offload
from kilonova.wire.guest import ImageRef
from kilonova.wire.node import ImageTicket

SHA512 = re.compile(r"[0-9a-f]{128}")
PARTIAL = ".partial-"
AT_ONCE = 4


class CachedImage(msgspec.Struct, frozen=True):
    """What is known of cached bytes."""

    disk_format: str
    size: int
    virtual_bytes: int

    @property
    def stored_as(self) -> str:
        """The format that QEMU is to open it as."""
        return STORED_AS[self.disk_format]


class ImageCache:
    """The images under `folder`. `group` is who may read them beside the owner (None: everyone who knows a name)."""

    def __init__(self, folder: Folder, group: int | None, qemu_img: QemuImg, pool: Executor, clock: Clock) -> None:
        self._folder = folder
        self._group = group
        self._qemu_img = qemu_img
        self._pool = pool
        self._clock = clock
        self._transfer = Transfer(pool)
        self._flights = SingleFlight()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._numbers = itertools.count()
        self._naming = threading.Lock()

    def clear(self) -> None:
        """Remove what an earlier run left half done (blocking)."""
        for path in self._folder.path.iterdir():
            whole = path.suffix != ".json" or path.with_suffix("").exists()
            if path.name.startswith(PARTIAL) or not whole:
                path.unlink()

    def path(self, sha512: str) -> Path:
        """Where an image's bytes are or would be. Raises DriverError when that is no sha512."""
        if not SHA512.fullmatch(sha512):
            raise DriverError("image_corrupt", "the image has no valid sha512")
        return self._folder.path / sha512

    def look(self, sha512: str) -> CachedImage | None:
        """What is known of an image if it is here and whole (blocking, microseconds)."""
        path = self.path(sha512)
        try:
            known = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=CachedImage)
            return known if path.stat().st_size == known.size else None
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def touch(self, sha512: str) -> None:
        """Note that the image is needed now (blocking)."""
        now = self._clock.now() * 1000
        os.utime(self.path(sha512).with_suffix(".json"), ns=(now, now))

    def holds(self, image: ImageRef) -> bool:
        """Whether it is here. Raises DriverError when these bytes are here and proved to be of another format."""
        known = self.look(image.sha512)
        if known is not None and known.disk_format != image.disk_format:
            message = f"the image says that it is {image.disk_format}, but its content is {known.disk_format}"
            raise DriverError("image_refused", message)
        return known is not None and known.size == image.size

    async def fetch(self, image: ImageRef, ticket: ImageTicket, progress: Progress) -> None:
        """See the port."""
        path = self.path(image.sha512)
        if (ticket.sha512, ticket.size, ticket.disk_format) != (image.sha512, image.size, image.disk_format):
            raise DriverError("image_corrupt", "the image store offers other bytes than the image has")
        if await offload(self._pool, lambda: self.holds(image)):
            await offload(self._pool, lambda: self.touch(image.sha512))
            progress(image.size, image.size)
            return
        key = (image.sha512, image.size, image.disk_format)
        await self._flights.join(key, lambda report: self._bring(path, ticket, report), progress)

    async def _bring(self, path: Path, ticket: ImageTicket, progress: Progress) -> None:
        temp = path.with_name(f"{PARTIAL}{next(self._numbers)}-{path.name[:16]}")
        async with self._slots:
            try:
                with self._folder.writing():
                    await offload(self._pool, lambda: self._folder.require(ticket.size))
                    sha512 = await self._transfer.bring(ticket.url, ticket.size, temp, self._folder.require, progress)
                    if sha512 != ticket.sha512:
                        raise DriverError("image_corrupt", "the image's checksum is not what it should be")
                    await self._admit(path, temp, ticket)
            finally:
                await offload(self._pool, lambda: temp.unlink(missing_ok=True))

    async def _admit(self, path: Path, temp: Path, ticket: ImageTicket) -> None:
        await offload(self._pool, lambda: inspect(temp, ticket.disk_format))
        await offload(self._pool, lambda: self._open_to_readers(temp))
        virtual_bytes = await measure(temp, ticket.disk_format, ticket.size, self._qemu_img)
        known = CachedImage(disk_format=ticket.disk_format, size=ticket.size, virtual_bytes=virtual_bytes)
        await offload(self._pool, lambda: self._keep(path, temp, known))

    def _open_to_readers(self, path: Path) -> None:
        """Guests' processes read it, and so does the checker; nobody writes it any more."""
        if self._group is None:
            path.chmod(0o444)
        else:
            os.chown(path, -1, self._group)
            path.chmod(0o440)

    def _keep(self, path: Path, temp: Path, known: CachedImage) -> None:
        with self._naming:
            self._folder.write(path.with_suffix(".json"), msgspec.json.encode(known))
            self.touch(path.name)
            self._folder.rename(temp, path)

    def evict(self, needed: frozenset[str], older_than: float) -> tuple[str, ...]:
        """Remove images not in `needed` and not used for `older_than` seconds (blocking); answers which."""
        limit = (self._clock.now() - int(older_than * SECOND)) * 1000
        gone = []
        with self._naming:
            for record in sorted(self._folder.path.glob("*.json")):
                sha512 = record.stem
                if sha512 not in needed and record.stat().st_mtime_ns <= limit:
                    record.with_suffix("").unlink(missing_ok=True)
                    record.unlink()
                    gone.append(sha512)
        return tuple(gone)
