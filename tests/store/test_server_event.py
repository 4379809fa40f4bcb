"""Events of servers in the database: none is missed by who waits, in whatever order transactions end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kilonova.cloud.server import event_store
from kilonova.cloud.server.feed import Feed
from kilonova.core.context import ALL, Scope
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Tx, open_database


async def test_each_reads_its_own_and_goes_on_where_it_was(database_url: str) -> None:
    db = await open_database(database_url, SystemClock())
    for number in range(6):
        await db.write(lambda tx, n=number: event_store.add(tx, f"p{n % 2}", f"s{n % 3}", "x", "", "active"))
    last = await db.read(event_store.last)
    every = await db.read(lambda tx: event_store.page(tx, ALL, (), 0, last))
    assert [e.server_id for e in every] == ["s0", "s1", "s2"] * 2
    mine = await db.read(lambda tx: event_store.page(tx, Scope("p0"), ("s0", "s2"), every[0].seq, last))
    assert [(e.project_id, e.server_id) for e in mine] == [("p0", "s2")]
    await db.close()


@pytest.mark.postgresql
async def test_a_number_that_is_committed_later_is_waited_for(postgresql_url: str) -> None:
    db = await open_database(postgresql_url, SystemClock())
    feed, go = Feed(db, SystemClock(), poll=0.02), threading.Event()
    async with feed.watch(ALL, (), "p") as watch:

        def slow(tx: Tx) -> None:
            event_store.add(tx, "p", "first", "x", "", "active")
            go.wait(5)

        late = asyncio.create_task(db.write(slow))
        await asyncio.sleep(0.3)
        await db.write(lambda tx: event_store.add(tx, "p", "second", "x", "", "active"))
        assert not await feed.wait(watch, 0.5)
        assert await feed.read(watch, 0) == []
        go.set()
        await late
        assert await feed.wait(watch, 5)
        seen: list[str] = []
        async with asyncio.timeout(5):
            while len(seen) < 2:
                seen = [e.server_id for e in await feed.read(watch, 0)]
                await asyncio.sleep(0.02)
        assert seen == ["first", "second"]
    await feed.stop()
    await db.close()
