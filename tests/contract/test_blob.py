"""What every store of blobs promises."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kilonova.core.errors import Invalid, NoCapacity, NotFound, TooLarge
from kilonova.kit.blob import Blobs, DirectoryBlobs, MemoryBlobs

DATA = os.urandom(5_000_003) + bytes(3_000_000) + b"end"


@pytest.fixture(params=["directory", "memory"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    store: Blobs = DirectoryBlobs(tmp_path / "blobs", keep_free=0) if request.param == "directory" else MemoryBlobs()
    await store.start()
    yield store
    await store.close()


async def pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def content(blobs: Blobs, key: str) -> bytes:
    reader = await blobs.open(key)
    try:
        data = b"".join([chunk async for chunk in reader])
        assert reader.size == len(data)
        return data
    finally:
        await reader.close()
        await reader.close()


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "one", "large"])
async def test_what_is_put_is_read_back(blobs: Blobs, data: bytes) -> None:
    stored = await blobs.put("key-1", pieces(data))
    assert (stored.size, stored.sha512) == (len(data), hashlib.sha512(data).hexdigest())
    assert stored.md5 == hashlib.md5(data).hexdigest()
    assert await content(blobs, "key-1") == data
    assert await blobs.list() == ("key-1",)


async def test_the_tap_sees_every_byte_in_order(blobs: Blobs) -> None:
    seen = bytearray()
    await blobs.put("key-1", pieces(DATA, 1_000_001), tap=seen.extend)
    assert seen == DATA


@pytest.mark.parametrize(
    ("start", "length"), [(0, 10), (5, 3_000_000), (len(DATA) - 3, None), (7, 10**12), (10**12, 5)]
)
async def test_a_part_is_read(blobs: Blobs, start: int, length: int | None) -> None:
    await blobs.put("key-1", pieces(DATA))
    reader = await blobs.open("key-1", start, length)
    wanted = DATA[start:] if length is None else DATA[start : start + length]
    assert reader.size == len(wanted)
    assert b"".join([chunk async for chunk in reader]) == wanted
    await reader.close()


async def test_a_blob_is_examined_as_it_was_put(blobs: Blobs) -> None:
    stored, seen = await blobs.put("key-1", pieces(DATA)), bytearray()
    assert await blobs.examine("key-1", seen.extend) == stored
    assert seen == DATA

    def refuse(chunk: bytes) -> None:
        raise Invalid("no")

    with pytest.raises(Invalid):
        await blobs.examine("key-1", refuse)
    with pytest.raises(NotFound):
        await blobs.examine("key-2")


async def test_a_second_put_replaces(blobs: Blobs) -> None:
    await blobs.put("key-1", pieces(b"old"))
    reader = await blobs.open("key-1")
    await blobs.put("key-1", pieces(b"new"))
    assert [chunk async for chunk in reader] == [b"old"]
    await reader.close()
    assert await content(blobs, "key-1") == b"new"


async def test_delete_is_idempotent(blobs: Blobs) -> None:
    await blobs.put("key-1", pieces(b"x"))
    assert await blobs.delete("key-1")
    assert not await blobs.delete("key-1")
    assert await blobs.list() == ()
    with pytest.raises(NotFound):
        await blobs.open("key-1")


async def cut_off() -> AsyncIterator[bytes]:
    yield DATA
    raise ConnectionResetError


async def stuck() -> AsyncIterator[bytes]:
    yield DATA
    await asyncio.Event().wait()


def refuse(_chunk: bytes) -> None:
    raise Invalid("no")


Attempt = Callable[[Blobs], "asyncio.Future[object]"]
FAILURES = {
    "cut off": (ConnectionResetError, lambda b: b.put("key-1", cut_off())),
    "refused": (Invalid, lambda b: b.put("key-1", pieces(DATA), tap=refuse)),
    "oversize": (TooLarge, lambda b: b.put("key-1", pieces(DATA), limit=len(DATA) - 1)),
    "announced oversize": (TooLarge, lambda b: b.put("key-1", pieces(b""), expect=11, limit=10)),
    "announced more than fits": (NoCapacity, lambda b: b.put("key-1", pieces(b""), expect=1 << 60)),
    "cancelled": (TimeoutError, lambda b: asyncio.wait_for(b.put("key-1", stuck()), 0.05)),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_a_failed_put_leaves_nothing_and_keeps_the_old(blobs: Blobs, tmp_path: Path, case: str) -> None:
    error, attempt = FAILURES[case]
    with pytest.raises(error):
        await attempt(blobs)
    assert await blobs.list() == ()
    await blobs.put("key-1", pieces(b"old"))
    with pytest.raises(error):
        await attempt(blobs)
    assert await content(blobs, "key-1") == b"old"
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) <= 1


@pytest.mark.parametrize("key", ["", "x", "../etc", "a/b", ".incoming", "A-upper", "a" * 129])
async def test_keys_are_checked(blobs: Blobs, key: str) -> None:
    with pytest.raises(Invalid):
        await blobs.put(key, pieces(b""))
    with pytest.raises(Invalid):
        await blobs.delete(key)
    with pytest.raises(Invalid):
        await blobs.open(key)


async def test_files_are_private_and_zeros_are_holes(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path, keep_free=0)
    await blobs.start()
    await blobs.put("key-1", pieces(bytes(64 << 20)))
    path = blobs.path("key-1")
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_size == 64 << 20
    assert path.stat().st_blocks * 512 < 1 << 20
    await blobs.close()


async def test_the_watermark_refuses_before_the_disk_is_full(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path, keep_free=1 << 60)
    await blobs.start()
    with pytest.raises(NoCapacity):
        await blobs.put("key-1", pieces(b"x"))
    await blobs.close()


async def test_start_removes_what_dead_writers_left_and_nothing_else(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path, keep_free=0)
    await blobs.start()
    (tmp_path / ".incoming" / "left").write_bytes(b"half")
    go = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"alive"
        await go.wait()

    writing = asyncio.create_task(blobs.put("key-1", slow()))
    while len(list((tmp_path / ".incoming").iterdir())) < 2:
        await asyncio.sleep(0.01)
    another = DirectoryBlobs(tmp_path, keep_free=0)
    await another.start()
    go.set()
    await writing
    assert await content(another, "key-1") == b"alive"
    assert list((tmp_path / ".incoming").iterdir()) == []
    await blobs.close()
    await another.close()
