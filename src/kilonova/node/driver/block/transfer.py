"""Bytes from where a ticket says into a new file: hashed on the way, in flat memory, with holes left for zeros."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kilonova.node.driver.block.port import Progress
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.offload import offload

CHUNK = 1 << 20
ZEROS = bytes(CHUNK)
FICLONE = 0x40049409
SILENCE = 30.0
"""Seconds without a byte after which a sender counts as gone."""

Room = Callable[[], None]
"""Raises DriverError when the disk is about to be too full; called again and again while bytes arrive."""
Chunks = AsyncGenerator[bytes, None]


class _Sink:
    """A new file written front to back."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x+b", buffering=0)
        self._hash = hashlib.sha512()
        self._cloned = False
        self.size = 0

    def clone(self, source: int) -> bool:
        """Share the blocks of `source` where the file system can (FICLONE); then writing only hashes."""
        try:
            fcntl.ioctl(self._file.fileno(), FICLONE, source)
        except OSError:
            return False
        self._cloned = True
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)
        if self._cloned:
            return
        if chunk == ZEROS:
            self._file.seek(len(chunk), os.SEEK_CUR)
            return
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    def finish(self) -> str:
        """All on stable storage; the sha512 of what was written."""
        self._file.truncate(self.size)
        os.fsync(self._file.fileno())
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()


class Transfer:
    """Copies on the threads of `pool`."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    async def bring(self, url: str, size: int, target: Path, room: Room, progress: Progress) -> str:
        """Make the new file `target` from `url` (`file:`, `http:`, `https:`); answers its sha512.

        A file is cloned where the file system can, else copied, never hard-linked: the hypervisor changes the owner of
        what it opens, and a guest that broke out of it must not reach the image store's only copy.
        Raises DriverError: `image_corrupt` when it is not exactly `size` bytes, `image_unreachable` (retryable) when
        the sender fails, `no_space`. What is half written is left to the caller to remove.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("file", "http", "https"):
            message = "the image is somewhere that this host cannot read"
            raise DriverError("image_unreachable", message, detail=f"scheme {parts.scheme!r}")
        sink = await offload(self._pool, lambda: _Sink(target))
        try:
            if parts.scheme == "file":
                return await self._copy(Path(unquote(parts.path)), size, sink, room, progress)
            return await self._pour(_download(url), size, sink, room, progress)
        finally:
            sink.close()

    async def _copy(self, path: Path, size: int, sink: _Sink, room: Room, progress: Progress) -> str:
        source = await offload(self._pool, lambda: _open(path, size))
        try:
            cloned = await offload(self._pool, lambda: sink.clone(source))
            return await self._pour(self._read(sink.fileno() if cloned else source), size, sink, room, progress)
        finally:
            os.close(source)

    async def _read(self, source: int) -> Chunks:
        offset = 0
        while chunk := await offload(self._pool, partial(os.pread, source, CHUNK, offset)):
            offset += len(chunk)
            yield chunk

    async def _pour(self, chunks: Chunks, size: int, sink: _Sink, room: Room, progress: Progress) -> str:
        def take(chunk: bytes) -> None:
            room()
            sink.write(chunk)

        async with aclosing(chunks):
            async for chunk in chunks:
                if sink.size + len(chunk) > size:
                    raise DriverError("image_corrupt", f"the image is longer than the {size} bytes it should have")
                await offload(self._pool, partial(take, chunk))
                progress(sink.size, size)
        if sink.size != size:
            raise DriverError("image_corrupt", f"the image has {sink.size} bytes instead of {size}")
        return await offload(self._pool, sink.finish)


def _open(path: Path, size: int) -> int:
    """A regular file of the right size, opened for reading."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        message = "the image's bytes are not where they should be"
        raise DriverError("image_unreachable", message, detail=str(error), retryable=True) from error
    found = os.fstat(source)
    if stat.S_ISREG(found.st_mode) and found.st_size == size:
        return source
    os.close(source)
    raise DriverError("image_corrupt", f"the image has {found.st_size} bytes instead of {size}")


async def _download(url: str) -> Chunks:
    """The body of a GET as it arrives. The address may be a signed one and appears in no message."""
    import httpx  # loads slowly, and most hosts of a small cloud never need it

    timeout = httpx.Timeout(SILENCE, connect=10.0)
    try:
        async with (
            httpx.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise _unreachable(f"status {response.status_code}")
            async for chunk in response.aiter_raw(CHUNK):
                yield chunk
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _unreachable(repr(type(error))) from error


def _unreachable(detail: str) -> DriverError:
    return DriverError("image_unreachable", "the image's bytes did not arrive", detail=detail, retryable=True)
