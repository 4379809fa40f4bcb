"""A database: `await db.write(work)` and `await db.read(work)`, where `work(tx)` is synchronous.

Nobody can await anything inside a transaction, so no lock is ever held across I/O with the world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from kilonova.kit.clock import Clock
from kilonova.kit.db.signal import Signals
from kilonova.kit.db.tx import Tx

T = TypeVar("T")
Work = Callable[[Tx], T]


@dataclass(slots=True)
class Counts:
    """What a database has done since it was opened."""

    reads: int = 0
    writes: int = 0
    statements: int = 0
    retries: int = 0
    commits: int = 0


class Database(Protocol):
    """Transactions on one database. `signals` tells what this process committed."""

    counts: Counts
    signals: Signals

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction and return its result once that is durable. Anything that `work` raises rolls
        back and comes out here. Deadlocks and serialisation failures are retried inside. Cancelling the caller does not
        undo a transaction that has begun."""

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one consistent view; it cannot write."""

    async def close(self) -> None:
        """Finish what has begun and let go."""


async def open_database(url: str, clock: Clock) -> Database:
    """Open `sqlite:///path` or `postgresql://…`. The schema is not looked at (see `kit.db.migrate`)."""
    if url.startswith("sqlite:"):
        from kilonova.kit.db.sqlite import SqliteDatabase

        return SqliteDatabase(url.removeprefix("sqlite:///"), clock)
    from kilonova.kit.db.postgresql import PostgresqlDatabase

    return PostgresqlDatabase(url, clock)
