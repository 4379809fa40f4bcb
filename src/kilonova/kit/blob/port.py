"""The port for object bytes: written once and whole, read as streams, found by a key that we chose ourselves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from kilonova.core.errors import Invalid

KEY: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,127}")
"""What a key looks like. Keys are ours (ids), never a user's text."""

Tap = Callable[[bytes], None]
"""Sees every chunk in order, on a worker thread; what it raises ends the `put`."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored: size in bytes, digests in hexadecimal."""

    size: int
    sha512: str
    md5: str


class Reader(Protocol):
    """A blob, or a part of it, being read. `size` is in bytes, of the part; iterate once; what is deleted meanwhile is
    still read to its end."""

    size: int

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes in chunks of at most a few MiB."""

    async def close(self) -> None:
        """Let go; also after the last chunk, and more than once."""


class Blobs(Protocol):
    """A store of blobs. Cancelling any call is safe: a blob is there whole or not at all."""

    async def start(self) -> None:
        """Make ready; remove what writers that died have left half done."""

    async def put(
        self,
        key: str,
        stream: AsyncIterable[bytes],
        *,
        expect: int | None = None,
        limit: int | None = None,
        tap: Tap | None = None,
    ) -> Stored:
        """Store the stream under `key`, replacing what was there only when all of it is durable.

        Memory stays flat whatever the size. `expect` is the announced size, if any; more than `limit` bytes raise
        TooLarge. Raises NoCapacity when the disk is, or would be, too full, Unavailable when it cannot be written;
        whatever the stream or `tap` raises comes out. After any of these nothing is left and the old blob stands.
        """

    async def open(self, key: str, start: int = 0, length: int | None = None) -> Reader:
        """Start reading, from byte `start` on, at most `length` bytes. Raises NotFound."""

    async def examine(self, key: str, tap: Tap | None = None) -> Stored:
        """Read all of a blob again: its size and digests. `tap` sees the chunks. Raises NotFound, and what `tap`
        raises."""

    def path(self, key: str) -> Path | None:
        """The file that holds the blob, where there is such a thing on this machine; it may not exist."""

    async def delete(self, key: str) -> bool:
        """Remove a blob; whether it was there."""

    async def list(self) -> tuple[str, ...]:
        """Every key, sorted."""

    async def close(self) -> None:
        """Finish and let go of threads."""


def check_key(key: str) -> str:
    """The key itself; raises Invalid when it is none."""
    if not KEY.fullmatch(key):
        raise Invalid("This is not a key of an object", detail=repr(key))
    return key


async def regroup(stream: AsyncIterable[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in chunks of at least `size` (the last may be smaller): small pieces cost a thread switch each."""
    pieces: list[bytes] = []
    have = 0
    async for piece in stream:
        pieces.append(piece)
        have += len(piece)
        if have >= size:
            yield b"".join(pieces)
            pieces, have = [], 0
    if have:
        yield b"".join(pieces)
