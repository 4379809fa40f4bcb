"""PostgreSQL by asyncpg, READ COMMITTED; deadlocks, serialisation failures and lost connections are retried."""

from __future__ import annotations

import asyncio
import random
from typing import Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kilonova.core.errors import Unavailable
from kilonova.kit.clock import Clock
from kilonova.kit.db.database import Counts, Work
from kilonova.kit.db.signal import Signals
from kilonova.kit.db.tx import Tx, run_effects
from kilonova.kit.log import request_id

T = TypeVar("T")
ATTEMPTS: Final = 8
_RETRYABLE: Final = frozenset({"40001", "40P01", "55P03"})


class PostgresqlDatabase:
    """A PostgreSQL database that any number of processes share."""

    def __init__(self, url: str, clock: Clock, connections: int = 12) -> None:
        self.counts = Counts()
        self.signals = Signals()
        self._clock = clock
        self._engine: AsyncEngine = create_async_engine(
            url.replace("postgresql://", "postgresql+asyncpg://", 1),
            pool_size=connections,
            max_overflow=0,
            pool_timeout=30,
            pool_pre_ping=False,
            query_cache_size=2000,
        )

    async def write(self, work: Work[T]) -> T:
        return await asyncio.shield(asyncio.ensure_future(self._retry(work, read_only=False)))

    async def read(self, work: Work[T]) -> T:
        return await self._retry(work, read_only=True)

    async def close(self) -> None:
        await self._engine.dispose()

    async def _retry(self, work: Work[T], *, read_only: bool) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return await self._once(work, read_only=read_only)
            except DBAPIError as error:
                if not _is_retryable(error):
                    raise
                self.counts.retries += 1
                # A commit whose answer was lost with the connection may hold; only reads are safe to repeat then.
                if error.connection_invalidated and not read_only:
                    raise Unavailable("The database connection was lost", detail=str(error)) from error
                await asyncio.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311
            except OSError as error:
                raise Unavailable("The database does not answer", detail=str(error)) from error
        raise Unavailable("The database is too busy")

    async def _once(self, work: Work[T], *, read_only: bool) -> T:
        holder: list[Tx] = []
        origin = request_id.get()

        def run(connection: Connection) -> T:
            tx = Tx(connection, self._clock.now(), self.signals, origin)
            holder.append(tx)
            return work(tx)

        async with self._engine.connect() as connection:
            if read_only:
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                result = await connection.run_sync(run)
        tx = holder[0]
        self.counts.statements += tx.statements
        self.counts.commits += 1
        if read_only:
            self.counts.reads += 1
        else:
            self.counts.writes += 1
            run_effects(tx.effects)
        return result


def _is_retryable(error: DBAPIError) -> bool:
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _RETRYABLE
