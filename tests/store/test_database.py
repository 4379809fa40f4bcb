"""Transactions: what fails harms nobody else, what is retried happens once, what follows a commit cannot undo it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from kilonova.cloud.quota import store as quota
from kilonova.core.errors import Conflict, Unavailable
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx, open_database

LIMIT = quota.quota_limit


def stored(tx: Tx) -> set[str]:
    return {r.project_id for r in tx.execute(select(LIMIT.c.project_id))}


async def test_a_transaction_that_raises_leaves_the_others_alone(database: Database) -> None:
    done: list[str] = []

    def work(n: int) -> Callable[[Tx], Any]:
        def do(tx: Tx) -> int:
            quota.set_limit(tx, f"p{n}", "cores", n)
            tx.after_commit(lambda: done.append(f"p{n}"))
            if n % 3 == 0:
                raise Conflict("refused")
            if n % 7 == 0:
                tx.execute(LIMIT.insert().values(project_id=f"p{n}", resource="cores", limit=1))
            return n

        return do

    results = await asyncio.gather(*(database.write(work(n)) for n in range(1, 60)), return_exceptions=True)
    expected = {n for n in range(1, 60) if n % 3 and n % 7}
    assert [r for r in results if isinstance(r, int)] == sorted(expected)
    assert await database.read(stored) == {f"p{n}" for n in expected} == set(done)


async def test_what_follows_a_commit_cannot_harm_others(database: Database) -> None:
    def work(tx: Tx) -> str:
        quota.set_limit(tx, "p", "cores", 1)
        tx.after_commit(lambda: [][1])
        return "stored"

    async with asyncio.timeout(5):
        assert await asyncio.gather(*(database.write(work) for _ in range(10))) == ["stored"] * 10


async def test_a_cancelled_caller_does_not_undo_what_has_begun(database: Database) -> None:
    writing = asyncio.ensure_future(database.write(lambda tx: quota.set_limit(tx, "p", "cores", 1)))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    async with asyncio.timeout(5):
        while await database.read(stored) != {"p"}:
            await asyncio.sleep(0.01)


async def test_a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest(sqlite_url: str) -> None:
    database = await open_database(sqlite_url, SystemClock())

    def allow(more: int) -> Callable[[Tx], Any]:
        def do(tx: Tx) -> None:
            pages = tx.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            tx.connection.exec_driver_sql(f"PRAGMA max_page_count={pages + more}")

        return do

    def fill(name: str, size: int) -> Callable[[Tx], Any]:
        amounts = {"x" * size: 1}
        row = {"consumer": name, "project_id": "p", "amounts": amounts, "version": 0}
        return lambda tx: tx.execute(quota.quota_charge.insert().values(**row)).rowcount

    await database.write(allow(8))
    jobs = [fill(f"big{n}" if n % 4 == 0 else f"small{n}", 100_000 if n % 4 == 0 else 10) for n in range(16)]
    results = await asyncio.gather(*(database.write(j) for j in jobs), return_exceptions=True)
    assert [isinstance(r, Unavailable) for r in results] == [n % 4 == 0 for n in range(16)]
    assert len(await database.read(lambda tx: quota.consumers(tx, "small"))) == 12
    assert await database.read(lambda tx: quota.consumers(tx, "big")) == []
    await database.write(allow(10_000))
    assert await database.write(fill("big", 100_000)) == 1
    await database.close()


@pytest.mark.postgresql
async def test_a_deadlock_is_retried_until_both_have_happened(postgresql_url: str) -> None:
    database = await open_database(postgresql_url, SystemClock())

    def cross(first: str, second: str) -> Callable[[Tx], Any]:
        def do(tx: Tx) -> None:
            for name in (first, second):
                grow = update(LIMIT).where(LIMIT.c.project_id == name).values({LIMIT.c["limit"]: LIMIT.c["limit"] + 1})
                tx.execute(grow)
                tx.connection.exec_driver_sql("SELECT pg_sleep(0.05)")

        return do

    await database.write(lambda tx: quota.set_limit(tx, "a", "cores", 0))
    await database.write(lambda tx: quota.set_limit(tx, "b", "cores", 0))
    await asyncio.gather(database.write(cross("a", "b")), database.write(cross("b", "a")))
    assert database.counts.retries >= 1
    assert await database.read(lambda tx: [r.limit for r in tx.execute(select(LIMIT.c["limit"]))]) == [2, 2]
    await database.close()
