"""Events: in order, each once, whoever commits first; kept for a while; handed over at least once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from kilonova.cloud.event import feed as feeds
from kilonova.cloud.event import store
from kilonova.cloud.event.feed import QUEUE, Cut, Feed, Subscription
from kilonova.cloud.event.model import CREATED, DELETED, STATE, Event, Wanted
from kilonova.cloud.event.pump import Pump
from kilonova.core.context import ALL, Scope
from kilonova.core.errors import Unavailable
from kilonova.kit.clock import SECOND, SystemClock, VirtualClock
from kilonova.kit.db import Database, Tx, open_database
from kilonova.kit.log import request_id

RAW = "INSERT INTO event (project_id, server_id, at, kind, body) VALUES ('p', $1, $2, 'server.state', '{}')"


@pytest.fixture
async def feed(database: Database) -> AsyncIterator[Feed]:
    feed = Feed(database, SystemClock())
    await feed.start()
    yield feed
    await feed.stop()


async def add(database: Database, *servers: str, project: str = "p", kind: str = STATE) -> None:
    """One transaction with an event for each."""
    pairs = [(project, server) for server in servers]
    await database.write(lambda tx: store.add(tx, kind, pairs, [{"phase": "active"}] * len(pairs)))


async def heard(subscription: Subscription, count: int) -> list[str]:
    """The servers of the next events."""
    found = []
    for _ in range(count):
        event = await subscription.next(5)
        assert event is not None
        found.append(event.server_id)
    return found


async def test_whoever_watches_hears_in_order_what_they_want(database: Database, feed: Feed) -> None:
    everything, own = await feed.subscribe(Wanted(ALL)), await feed.subscribe(Wanted(Scope("p")))
    one = await feed.subscribe(Wanted(Scope("p"), "b", frozenset({STATE, DELETED})))
    await add(database, "a", "b")
    await add(database, "b", project="q")
    await add(database, "b", kind=CREATED)
    await add(database, "b", kind=DELETED)
    assert await heard(everything, 5) == ["a", "b", "b", "b", "b"]
    assert await heard(own, 4) == ["a", "b", "b", "b"]
    assert await heard(one, 2) == ["b", "b"]
    assert await one.next(0.05) is None
    one.close()
    await add(database, "b")
    assert await own.next(5) is not None
    assert await one.next(0.05) is None


async def test_what_is_rolled_back_is_never_told(database: Database, feed: Feed) -> None:
    def broken(tx: Tx) -> None:
        store.add(tx, STATE, [("p", "never")], [{}])
        raise Unavailable("no")

    subscription = await feed.subscribe(Wanted(ALL))
    with pytest.raises(Unavailable):
        await database.write(broken)
    await add(database, "a")
    assert await heard(subscription, 1) == ["a"]


async def test_a_transaction_knows_its_request_and_signals_once(database: Database) -> None:
    heard: list[int] = []
    stop = database.signals.listen(store.SIGNAL, lambda: heard.append(1))
    marker = request_id.set("req-7")
    await add(database, "a", "b")
    await database.write(lambda tx: [store.add(tx, STATE, [("p", "c")], [{}]) for _ in range(3)] and None)
    request_id.reset(marker)
    stop()
    await add(database, "d")
    assert heard == [1, 1]
    found = await database.read(lambda tx: store.page(tx, Wanted(ALL), 0, 1 << 60, 100))
    assert [event.body["request_id"] for event in found] == ["req-7"] * 5 + [""]


async def test_a_slow_reader_is_cut_off_and_comes_back(database: Database, feed: Feed) -> None:
    subscription, quick = await feed.subscribe(Wanted(ALL)), await feed.subscribe(Wanted(Scope("q")))
    await add(database, *(str(i) for i in range(QUEUE + 1)))
    await add(database, "last", project="q")
    assert await heard(quick, 1) == ["last"]
    with pytest.raises(Cut) as cut:
        await subscription.next(5)
    assert cut.value.lost
    first = (await feed.past(Wanted(ALL), 0, 1))[0].seq
    assert await feed.knows(first)
    assert [event.server_id for event in await feed.past(Wanted(ALL), first + QUEUE)] == ["last"]


async def test_a_feed_that_stops_ends_what_was_subscribed(database: Database) -> None:
    feed = Feed(database, SystemClock())
    with pytest.raises(Unavailable):
        await feed.subscribe(Wanted(ALL))
    await feed.start()
    subscription = await feed.subscribe(Wanted(ALL))
    waiting = asyncio.create_task(subscription.next(30))
    await asyncio.sleep(0.01)
    await feed.stop()
    with pytest.raises(Cut) as cut:
        await waiting
    assert not cut.value.lost


@pytest.mark.postgresql
@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
async def test_a_lower_number_that_commits_later_is_waited_for(postgresql_url: str, ending: str) -> None:
    database = await open_database(postgresql_url, SystemClock())
    feed = Feed(database, SystemClock())
    await feed.start()
    other = await asyncpg.connect(postgresql_url)
    subscription = await feed.subscribe(Wanted(ALL))
    try:
        await other.execute("BEGIN")
        await other.execute(RAW, "early", SystemClock().now())
        await add(database, "late")
        assert await subscription.next(0.3) is None
        await other.execute(ending)
        expected = ["early", "late"] if ending == "COMMIT" else ["late"]
        assert await heard(subscription, len(expected)) == expected
        assert await subscription.next(0.05) is None
    finally:
        await other.close()
        await feed.stop()
        await database.close()


@pytest.mark.postgresql
async def test_what_is_missing_is_not_waited_for_without_end(postgresql_url: str) -> None:
    """A transaction that hangs holds the others up for half a minute of the clock, and no longer."""
    clock = VirtualClock()
    database = await open_database(postgresql_url, clock)
    feed = Feed(database, clock)
    await feed.start()
    other = await asyncpg.connect(postgresql_url)
    subscription = await feed.subscribe(Wanted(ALL))
    try:
        await other.execute("BEGIN")
        await other.execute(RAW, "early", clock.now())
        await add(database, "late")
        assert await subscription.next(0.2) is None
        clock.advance(31)
        assert await heard(subscription, 1) == ["late"]
    finally:
        await other.close()
        await feed.stop()
        await database.close()


@pytest.mark.postgresql
async def test_two_processes_hear_each_other(postgresql_url: str) -> None:
    one, two = [await open_database(postgresql_url, SystemClock()) for _ in range(2)]
    feed = Feed(one, SystemClock())
    await feed.start()
    await asyncio.sleep(0.05)
    subscription = await feed.subscribe(Wanted(ALL))
    await asyncio.sleep(0.1)
    await add(two, "theirs")
    event = await subscription.next(feeds.WATCHED_SECONDS + 2)
    assert event is not None
    await feed.stop()
    await one.close()
    await two.close()


async def test_old_events_go_and_their_numbers_do_not_come_back(database_url: str) -> None:
    clock = VirtualClock()
    database = await open_database(database_url, clock)
    feed = Feed(database, clock)
    await add(database, "a", "b", "c")
    clock.advance(3600)
    await add(database, "d")
    await feed.start()
    old = await database.read(store.bounds)
    moment = clock.now() - 60 * SECOND
    assert [await database.write(lambda tx: store.forget(tx, moment, 99, 2)) for _ in range(3)] == [2, 1, 0]
    assert await database.read(store.bounds) == (old[1], old[1])
    assert not await feed.knows(old[0])
    assert await feed.knows(old[1] - 1)
    assert not await feed.knows(old[1] + 1)
    assert await database.write(lambda tx: store.forget(tx, tx.now + 1, 99)) == 1
    await add(database, "e")
    assert (await database.read(store.bounds))[0] == old[1] + 1
    await add(database, *"fghij")
    assert await database.write(lambda tx: store.forget(tx, 0, 2)) == 4
    assert await database.read(store.bounds) == (old[1] + 5, old[1] + 6)
    await feed.stop()
    await database.close()


class Basket:
    """Takes events; at first as often as it is told to, it fails after it took them."""

    def __init__(self, failures: int = 0) -> None:
        self.taken: list[str] = []
        self._failures = failures

    async def take(self, events: Sequence[Event]) -> None:
        self.taken += [event.server_id for event in events]
        if self._failures:
            self._failures -= 1
            raise Unavailable("the other side is away")

    async def until(self, expected: list[str]) -> None:
        async with asyncio.timeout(8):
            while self.taken != expected:
                await asyncio.sleep(0.01)


async def test_a_pump_hands_over_all_over_restarts(database: Database, feed: Feed) -> None:
    first, second, third = Basket(failures=1), Basket(), Basket()
    pump = Pump("test", "one", database, feed, SystemClock(), first.take)
    await add(database, "a")
    await pump.start()
    await first.until(["a", "a"])
    await add(database, "b")
    await first.until(["a", "a", "b"])
    await pump.stop()
    await add(database, "c", "d")
    again = Pump("test", "one", database, feed, SystemClock(), second.take)
    await again.start()
    await second.until(["c", "d"])
    other = Pump("test", "two", database, feed, SystemClock(), third.take)
    await other.start()
    await add(database, "e")
    await second.until(["c", "d", "e"])
    assert third.taken == []
    await again.stop()
    await other.stop()
