"""Blobs as files in a directory: `<root>/<first two characters>/<key>`, half-written ones in `<root>/.incoming`.

Chunks are written and hashed (sha512, md5) on worker threads side by side while the next ones arrive, and the disk is
told early and often to take what was written, so that little is left to wait for at the end.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import tempfile
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from kilonova.core.errors import NoCapacity, NotFound, TooLarge, Unavailable
from kilonova.kit.blob.port import KEY, Reader, Stored, Tap, check_key, regroup
from kilonova.kit.blob.spread import RunWork, spread

T = TypeVar("T")
CHUNK: Final = 1 << 21
LOOK_AT_DISK_EACH: Final = 1 << 26
READ: Final = 1 << 20
_ZEROS: Final = bytes(4096)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DirectoryBlobs:
    """Blobs under `root`, in files of `mode`; what would leave less than `keep_free` bytes on the disk is refused.

    Any number of processes of one machine may share a root: a file being written is locked by its writer, so that
    `start` removes only what nobody writes any more.
    """

    def __init__(self, root: Path, *, mode: int = 0o600, keep_free: int = 1 << 30, threads: int = 6) -> None:
        self._root = root
        self._incoming = root / ".incoming"
        self._mode = mode
        self._keep_free = keep_free
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="blob")

    async def start(self) -> None:
        await self._run(self._prepare)

    async def put(
        self,
        key: str,
        stream: AsyncIterable[bytes],
        *,
        expect: int | None = None,
        limit: int | None = None,
        tap: Tap | None = None,
    ) -> Stored:
        target = self._path(key)
        _check_limit(expect or 0, limit)
        await self._run(partial(self._check_room, expect or 0))
        draft = await self._draft()
        try:
            await self._fill(draft, stream, limit, tap)
            await self._run(partial(draft.publish, target, self._mode))
            return draft.stored()
        finally:
            # Run even if we are being cancelled: the file must not outlive its writer.
            await self._run(draft.discard)

    async def open(self, key: str, start: int = 0, length: int | None = None) -> Reader:
        path = self._path(key)
        try:
            descriptor = await self._run(partial(os.open, path, os.O_RDONLY | os.O_CLOEXEC))
        except Unavailable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise NotFound("The object does not exist", detail=key) from error
            raise
        return _FileReader(descriptor, self._run, start, length)

    async def examine(self, key: str, tap: Tap | None = None) -> Stored:
        reader = await self.open(key)
        sha512, md5 = hashlib.sha512(), hashlib.md5(usedforsecurity=False)
        try:
            await spread(reader, (sha512.update, md5.update, *((tap,) if tap else ())), self._run)
        finally:
            await reader.close()
        return Stored(reader.size, sha512.hexdigest(), md5.hexdigest())

    def path(self, key: str) -> Path | None:
        return self._path(key)

    async def delete(self, key: str) -> bool:
        return await self._run(partial(_unlink, self._path(key)))

    async def list(self) -> tuple[str, ...]:
        return await self._run(self._keys)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)[:2] / key

    async def _run(self, work: Callable[[], T]) -> T:
        """`work` on a worker thread. A cancelled caller waits for its end: nothing then happens behind its back."""
        job = asyncio.get_running_loop().run_in_executor(self._pool, _speak, work)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            if not job.cancelled():
                job.exception()
            raise

    async def _draft(self) -> _Draft:
        opened: list[_Draft] = []
        try:
            await self._run(lambda: opened.append(_Draft(self._incoming)))
        except asyncio.CancelledError:
            for draft in opened:
                await self._run(draft.discard)
            raise
        return opened[0]

    async def _fill(self, draft: _Draft, stream: AsyncIterable[bytes], limit: int | None, tap: Tap | None) -> None:
        consumers: tuple[Tap, ...] = (
            draft.write, draft.sha512.update, draft.md5.update, *((tap,) if tap else ())
        )  # fmt: skip
        try:
            await spread(self._watched(draft, stream, limit), consumers, self._run)
        finally:
            if draft.syncing is not None:
                await asyncio.wait([draft.syncing])
        if draft.syncing is not None:
            draft.syncing.result()

    async def _watched(self, draft: _Draft, stream: AsyncIterable[bytes], limit: int | None) -> AsyncIterator[bytes]:
        """The stream in large chunks. Every 64 MiB it is seen whether the disk has room, and what was written begins
        to be made durable, unless that is still going on."""
        size = looked = 0
        async for chunk in regroup(stream, CHUNK):
            size += len(chunk)
            _check_limit(size, limit)
            if size - looked >= LOOK_AT_DISK_EACH:
                looked = size
                await self._run(partial(self._check_room, 0))
                if draft.syncing is None or draft.syncing.done():
                    if draft.syncing is not None:
                        draft.syncing.result()
                    draft.syncing = asyncio.create_task(self._run(draft.sync))
            yield chunk

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self._root)
        if disk.f_bavail * disk.f_frsize - size < self._keep_free:
            free, keep = disk.f_bavail * disk.f_frsize // 2**20, self._keep_free // 2**20
            raise NoCapacity(
                f"The storage for objects is full: {free} MiB are free, {keep} MiB shall stay free (low_disk_gb)",
                detail=str(self._root),
            )

    def _prepare(self) -> None:
        self._incoming.mkdir(parents=True, exist_ok=True)
        for directory in (self._root, self._incoming):
            directory.chmod(0o700 if self._mode & 0o077 == 0 else 0o750)
        for path in self._incoming.iterdir():
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                path.unlink(missing_ok=True)

    def _keys(self) -> tuple[str, ...]:
        found = (path.name for shard in self._root.glob("[a-z0-9]*") if shard.is_dir() for path in shard.iterdir())
        return tuple(sorted(name for name in found if KEY.fullmatch(name)))


class _Draft:
    """A file that nobody can see yet. One thread at a time uses each of its parts; only `discard` may come between."""

    def __init__(self, folder: Path) -> None:
        self._open = threading.Lock()
        self._descriptor, name = tempfile.mkstemp(dir=folder)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path = Path(name)
        self._size = 0
        self.syncing: asyncio.Task[None] | None = None
        self.sha512 = hashlib.sha512()
        self.md5 = hashlib.md5(usedforsecurity=False)

    def write(self, chunk: bytes) -> None:
        """Append; a chunk of zeros becomes a hole."""
        if chunk.startswith(_ZEROS) and not chunk.strip(b"\0"):
            self._size += len(chunk)
            return
        view = memoryview(chunk)
        with self._open:
            while view and self._descriptor >= 0:
                done = os.pwrite(self._descriptor, view, self._size)
                self._size += done
                view = view[done:]

    def sync(self) -> None:
        """Make durable what was written so far."""
        os.fdatasync(self._descriptor)

    def publish(self, target: Path, mode: int) -> None:
        """Make it durable, then visible, then that durable too."""
        os.ftruncate(self._descriptor, self._size)
        os.fchmod(self._descriptor, mode)
        os.fsync(self._descriptor)
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700 if mode & 0o077 == 0 else 0o750, exist_ok=True)
            _sync(target.parent.parent)
        self._path.replace(target)
        _sync(target.parent)

    def discard(self) -> None:
        """Close, and remove what was not published."""
        with self._open:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def stored(self) -> Stored:
        return Stored(self._size, self.sha512.hexdigest(), self.md5.hexdigest())


class _FileReader:
    """Reads a piece ahead, so that disk and network do not take turns."""

    def __init__(self, descriptor: int, run: RunWork, start: int, length: int | None) -> None:
        whole = os.fstat(descriptor).st_size
        self._start = min(start, whole)
        self.size = whole - self._start if length is None else min(length, whole - self._start)
        self._descriptor = descriptor
        self._run = run
        self._ahead: asyncio.Task[bytes] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        at, end = self._start, self._start + self.size
        self._ahead = self._read(at, end)
        while chunk := await self._ahead:
            at += len(chunk)
            self._ahead = self._read(at, end)
            yield chunk

    def _read(self, at: int, end: int) -> asyncio.Task[bytes]:
        return asyncio.create_task(self._run(partial(self._piece, at, min(READ, end - at))))

    def _piece(self, at: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, at)

    async def close(self) -> None:
        if self._ahead is not None:
            await asyncio.wait([self._ahead])
            if not self._ahead.cancelled():
                self._ahead.exception()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _speak(work: Callable[[], T]) -> T:
    """`work` with the operating system's refusals in our words."""
    try:
        return work()
    except OSError as error:
        if error.errno in _FULL:
            raise NoCapacity("The storage for objects is full", detail=str(error)) from error
        raise Unavailable("The storage for objects does not work", detail=str(error)) from error


def _check_limit(size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise TooLarge(f"More than the {limit} bytes that are taken", limit=limit)


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
