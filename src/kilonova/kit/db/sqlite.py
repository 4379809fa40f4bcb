"""SQLite: one writer thread with group commit, a few reader threads. WAL, synchronous=FULL: committed is durable."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from kilonova.core.errors import Unavailable
from kilonova.kit.clock import Clock
from kilonova.kit.db.database import Counts, Work
from kilonova.kit.db.signal import Signals
from kilonova.kit.db.tx import Tx, run_effects
from kilonova.kit.log import request_id

T = TypeVar("T")
READERS: Final = 2
BATCH: Final = 64


class _Job:
    """One piece of work on its way through the writer thread."""

    __slots__ = ("effects", "error", "future", "request_id", "result", "work")

    def __init__(self, work: Work[Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.request_id = request_id.get()
        self.result: Any = None
        self.error: BaseException | None = None
        self.effects: tuple[Callable[[], None], ...] = ()


class SqliteDatabase:
    """A database file with exactly one writing process."""

    def __init__(self, path: str, clock: Clock) -> None:
        self.counts = Counts()
        self.signals = Signals()
        self._clock = clock
        self._engine = _engine(path)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._raw: sqlite3.Connection
        self._writer = threading.Thread(target=self._write_loop, name="sqlite-writer", daemon=True)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        self._local = threading.local()
        self._writer.start()

    async def write(self, work: Work[T]) -> T:
        if self._closed:
            raise Unavailable("The database is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # Whoever asked may be gone (superseded, cancelled) when it fails: then nobody wants to know.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._jobs.put(_Job(work, future))
        return await asyncio.shield(future)

    async def read(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        self._engine.dispose()

    def _read(self, work: Work[T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._engine.connect()
            _raw(connection).execute("PRAGMA query_only=1")
        raw = _raw(connection)
        raw.execute("BEGIN")
        tx = Tx(connection, self._clock.now(), self.signals)
        try:
            return work(tx)
        finally:
            raw.execute("ROLLBACK")
            self.counts.reads += 1
            self.counts.statements += tx.statements

    def _write_loop(self) -> None:
        connection = self._engine.connect()
        self._raw = _raw(connection)
        while (first := self._jobs.get()) is not None:
            batch = [first]
            stop = False
            while len(batch) < BATCH and not self._jobs.empty():
                job = self._jobs.get()
                if job is None:
                    stop = True
                    break
                batch.append(job)
            self._run_batch(connection, batch)
            _deliver(batch)
            if stop:
                break
        connection.close()

    def _run_batch(self, connection: Connection, batch: list[_Job]) -> None:
        """All of the batch in one durable commit; each job on its own when they cannot share it."""
        if len(batch) > 1 and self._try_together(connection, batch):
            return
        for job in batch:
            self._run_alone(connection, job)

    def _try_together(self, connection: Connection, batch: list[_Job]) -> bool:
        try:
            self._raw.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._raw.execute("SAVEPOINT job")
                self._attempt(connection, job)
                if job.error is not None:
                    self._raw.execute("ROLLBACK TO job")
                self._raw.execute("RELEASE job")
            self._raw.execute("COMMIT")
        except (OperationalError, sqlite3.OperationalError):
            # Disk full and the like end the whole transaction: nothing of it holds, so each job is tried on its own.
            self._abandon()
            self.counts.retries += 1
            return False
        self.counts.commits += 1
        return True

    def _run_alone(self, connection: Connection, job: _Job) -> None:
        try:
            self._raw.execute("BEGIN IMMEDIATE")
            self._attempt(connection, job)
            self._raw.execute("COMMIT" if job.error is None else "ROLLBACK")
            self.counts.commits += 1
        except (OperationalError, sqlite3.OperationalError) as error:
            self._abandon()
            job.error = job.error or error
        if isinstance(job.error, OperationalError | sqlite3.OperationalError):
            job.error = Unavailable("The database cannot store this now", detail=str(job.error))

    def _attempt(self, connection: Connection, job: _Job) -> None:
        tx = Tx(connection, self._clock.now(), self.signals, job.request_id)
        job.result, job.error, job.effects = None, None, ()
        try:
            job.result = job.work(tx)
            job.effects = tx.effects
        except OperationalError as error:
            if not self._raw.in_transaction:
                raise
            job.error = error
        except BaseException as error:
            job.error = error
        self.counts.writes += 1
        self.counts.statements += tx.statements

    def _abandon(self) -> None:
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")


def _raw(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection: BEGIN and COMMIT need none of SQLAlchemy's machinery."""
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)


def _deliver(batch: list[_Job]) -> None:
    """Hand results to the event loops that asked; a loop that is gone asked for nothing any more."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in batch:
        loops.setdefault(job.future.get_loop(), []).append(job)
    for loop, jobs in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, jobs)


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.error is None:
            run_effects(job.effects)
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


def _engine(path: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": 30},
        query_cache_size=2000,
    )

    @event.listens_for(engine, "connect")
    def prepare(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "cache_size=-16000",
        ):
            raw.execute(f"PRAGMA {pragma}")

    return engine
