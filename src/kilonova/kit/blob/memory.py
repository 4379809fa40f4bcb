"""Blobs in memory: for a cloud whose state need not outlive it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Final

from kilonova.core.errors import NoCapacity, NotFound, TooLarge
from kilonova.kit.blob.port import Reader, Stored, Tap, check_key

CHUNK: Final = 1 << 20


class _MemoryReader:
    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, self.size, CHUNK):
            yield self._data[start : start + CHUNK]

    async def close(self) -> None:
        self._data = b""
        self.size = 0


class MemoryBlobs:
    """Holds at most `capacity` bytes."""

    def __init__(self, capacity: int = 1 << 28) -> None:
        self._capacity = capacity
        self._data: dict[str, bytes] = {}

    async def start(self) -> None:
        """Nothing is left of an earlier run."""

    async def put(
        self,
        key: str,
        stream: AsyncIterable[bytes],
        *,
        expect: int | None = None,
        limit: int | None = None,
        tap: Tap | None = None,
    ) -> Stored:
        check_key(key)
        room = self._capacity - sum(len(data) for name, data in self._data.items() if name != key)
        _check(expect or 0, limit, room)
        data = bytearray()
        async for chunk in stream:
            _check(len(data) + len(chunk), limit, room)
            if tap is not None:
                tap(chunk)
            data += chunk
        self._data[key] = bytes(data)
        return _stored(data)

    async def open(self, key: str, start: int = 0, length: int | None = None) -> Reader:
        data = self._find(key)
        return _MemoryReader(data[start:] if length is None else data[start : start + length])

    async def examine(self, key: str, tap: Tap | None = None) -> Stored:
        data = self._find(key)
        if tap is not None and data:
            tap(data)
        return _stored(data)

    def _find(self, key: str) -> bytes:
        if (data := self._data.get(check_key(key))) is None:
            raise NotFound("The object does not exist", detail=key)
        return data

    def path(self, key: str) -> Path | None:
        check_key(key)
        return None

    async def delete(self, key: str) -> bool:
        return self._data.pop(check_key(key), None) is not None

    async def list(self) -> tuple[str, ...]:
        return tuple(sorted(self._data))

    async def close(self) -> None:
        self._data.clear()


def _stored(data: bytes | bytearray) -> Stored:
    return Stored(len(data), hashlib.sha512(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest())


def _check(size: int, limit: int | None, room: int) -> None:
    if limit is not None and size > limit:
        raise TooLarge(f"More than the {limit} bytes that are taken", limit=limit)
    if size > room:
        raise NoCapacity("The storage for objects is full")
