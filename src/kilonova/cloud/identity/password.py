"""Passwords by argon2id, in a small pool of threads of their own so that logins can neither stall the event loop nor
take more than their share of processors and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from kilonova.core.errors import Invalid, Unavailable

MAX_LENGTH: Final = 4096
"""Longest password in characters; argon2 itself hashes any length, the bound keeps work per request bounded."""
MAX_WAITING: Final = 200

T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords. About 20 ms of CPU and 12 MiB each (OWASP Password Storage Cheat Sheet: argon2id
    with 12 MiB, 3 passes, 1 lane). `threads` bounds how many at once."""

    def __init__(self, *, threads: int = 2, memory_kib: int = 12 * 1024, passes: int = 3) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1, type=Type.ID)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._waiting = 0
        self._decoy = self._hasher.hash("")

    async def hash(self, password: str) -> str:
        """The encoded hash to store. Raises Invalid when it is empty or too long, Unavailable when too many wait."""
        if not 0 < len(password) <= MAX_LENGTH:
            raise Invalid(f"A password has between 1 and {MAX_LENGTH} characters")
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one stored; with nothing stored it takes the same time and is False."""
        if len(password) > MAX_LENGTH:
            return False
        return await self._run(lambda: self._verify(stored, password))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: str | None, password: str) -> bool:
        try:
            return self._hasher.verify(stored or self._decoy, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many logins at once; try again.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1
