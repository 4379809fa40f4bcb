"""The stream of events over a real connection: whose, from where, how it ends, how many there may be."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from compute_world import PROJECTS, STREAMS, NameGate, Site, caller

from kilonova.cloud.event import store
from kilonova.cloud.event.feed import QUEUE
from kilonova.core.context import Context
from kilonova.core.errors import Unauthenticated
from kilonova.edge.watch.routes import build_watch
from kilonova.edge.watch.stream import Rhythm, Streams
from kilonova.kit.clock import SECOND, SystemClock
from kilonova.kit.db import open_database
from kilonova.kit.http import App, Request
from kilonova.kit.http.server import Server

PATH = "/kilonova/v1/events"


class Passes(NameGate):
    """A gate whose tokens can end or be taken back, and whose callers can lose their roles."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, int] = {}
        self.gone: set[str] = set()
        self.demoted: set[str] = set()

    async def authenticate(self, request: Request) -> Context:
        name = str(request.header("x-auth-token"))
        context = await super().authenticate(request)
        if name in self.gone or 0 < self.ends.get(name, 0) <= SystemClock().now():
            raise Unauthenticated("no")
        roles = frozenset({"reader"}) if name in self.demoted else context.roles
        return Context(
            context.user_id, context.project_id, roles, context.request_id, expires_at=self.ends.get(name, 0)
        )


class Told:
    """One open stream, read event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()
        self.comments = 0

    async def next(self, seconds: float = 5) -> tuple[str, int, dict[str, Any]] | None:
        """(kind, id, data), None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            async for line in self._lines:
                name, _, value = line.partition(":")
                if line == "" and "data" in fields:
                    return fields["event"], int(fields["id"]), json.loads(fields["data"])
                if name == "" and line:
                    self.comments += 1
                elif line:
                    fields[name] = value.strip()
        return None

    async def kinds(self, count: int) -> list[str]:
        """The next events, in short."""
        found = []
        for _ in range(count):
            event = await self.next()
            assert event is not None
            found.append(event[2].get("phase", event[0]))
        return found


class Listener:
    """A site with a real listener."""

    def __init__(self, site: Site, gate: Passes, server: Server) -> None:
        self.site = site
        self.gate = gate
        self.server = server
        self.url = f"http://127.0.0.1:{server.port}{PATH}"

    @asynccontextmanager
    async def stream(self, name: str, query: str = "", last: int | None = None) -> AsyncIterator[Told]:
        headers = {"x-auth-token": name} | ({} if last is None else {"last-event-id": str(last)})
        async with (
            httpx.AsyncClient(timeout=10) as client,
            client.stream("GET", self.url + query, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                await answer.aread()
            yield Told(answer)

    async def refused(self, name: str, query: str = "", **headers: str) -> int:
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.get(self.url + query, headers={"x-auth-token": name, **headers})
            assert answer.json()["error"]["code"] == answer.status_code
            return answer.status_code


@pytest.fixture
async def listener(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Listener]:
    db = await open_database(sqlite_url, SystemClock())
    site = Site(db, tmp_path)
    gate: Any = Passes()
    site.streams = Streams(site.feed, gate, site.clock, STREAMS)
    nothing: Any = None
    app = App([build_watch(site.servers, site.flavors, nothing, nothing, nothing, gate, "0", nothing, site.streams)])
    server = Server(app, "127.0.0.1", 0)
    serving = asyncio.create_task(server.serve())
    await site.start()
    await server.ready.wait()
    yield Listener(site, gate, server)
    server.stop()
    await site.stop()
    await serving
    await db.close()


async def test_a_project_sees_the_life_of_its_own_servers(listener: Listener) -> None:
    site = listener.site
    async with listener.stream("ann") as own, listener.stream("bob") as others:
        assert own.answer.headers["content-type"] == "text/event-stream"
        server_id = await site.boot()
        assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
        events = [await own.next() for _ in range(6)]
        assert [event[2]["phase"] for event in events if event] == [
            "building.scheduling", "building.networking", "building.spawning", "active", "active.deleting", "deleted",
        ]  # fmt: skip
        assert [event[0] for event in events if event] == [
            "server.created", *["server.state"] * 4, "server.deleted",
        ]  # fmt: skip
        numbers = [event[1] for event in events if event]
        assert numbers == sorted(set(numbers))
        for event in events:
            assert event is not None
            assert event[2]["server_id"] == server_id
            assert event[2]["project_id"] == PROJECTS["ann"]
            assert "host" not in event[2]
            assert event[2]["request_id"].startswith("req-")
        await site.boot(site.bob)
        first = await others.next()
        assert first is not None
        assert first[2]["project_id"] == PROJECTS["bob"]


async def test_what_else_of_a_server_changes_is_told_once(listener: Listener) -> None:
    site = listener.site
    server_id = await site.boot()
    async with listener.stream("ann", f"?server_id={server_id}&kind=server.changed") as told:
        for _ in range(2):
            answer = await site.ann.put(f"/servers/{server_id}", json={"server": {"name": "new"}})
            assert answer.status_code == 200
        assert (await site.ann.put(f"/servers/{server_id}/tags/red")).status_code == 201
        changes = [await told.next(), await told.next()]
        assert [event[2]["changed"] for event in changes if event] == [["name"], ["tags"]]


async def test_what_changes_nothing_is_not_told(listener: Listener) -> None:
    site = listener.site
    server_id = await site.boot()
    async with listener.stream("ann") as told:
        same = {"server": {"name": "web"}}
        assert (await site.ann.put(f"/servers/{server_id}", json=same)).status_code == 200
        state = {"os-resetState": {"state": "active"}}
        assert (await site.admin.post(f"/servers/{server_id}/action", json=state)).status_code == 202
        assert (await site.ann.put(f"/servers/{server_id}/tags/red")).status_code == 201
        first = await told.next()
        assert first is not None
        assert first[2]["changed"] == ["tags"]


async def test_an_operator_sees_all_projects_and_hosts(listener: Listener) -> None:
    site = listener.site
    async with listener.stream("admin", "?all_projects=1&kind=server.state") as told:
        await site.boot()
        await site.boot(site.bob)
        events = [await told.next() for _ in range(6)]
        assert {event[2]["project_id"] for event in events if event} == {PROJECTS["ann"], PROJECTS["bob"]}
        assert {event[2]["host"] for event in events if event and event[2]["phase"] == "active"} == {"host1"}


async def test_a_stream_goes_on_after_the_last_event_seen(listener: Listener) -> None:
    site = listener.site
    async with listener.stream("ann") as told:
        server_id = await site.boot()
        first = await told.next()
        assert first is not None
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    assert await site.settle(server_id) == ""
    async with listener.stream("ann", last=first[1]) as told:
        assert await told.kinds(5) == [
            "building.networking",
            "building.spawning",
            "active",
            "active.deleting",
            "deleted",
        ]
        await site.boot()
        assert await told.kinds(1) == ["building.scheduling"]


async def test_what_cannot_be_told_any_more_is_said(listener: Listener) -> None:
    site = listener.site
    await site.boot()
    assert await site.db.write(lambda tx: store.forget(tx, tx.now, 99, 2)) == 2
    async with listener.stream("ann", last=0) as told:
        assert await told.kinds(3) == ["lost", "building.spawning", "active"]
        last = site.feed.reached
    async with listener.stream("ann", last=10**9) as told:
        event = await told.next()
        assert event is not None
        assert (event[0], event[1]) == ("lost", last)
        await site.boot()
        assert await told.kinds(1) == ["building.scheduling"]


async def test_a_slow_reader_is_cut_off_and_can_come_back(listener: Listener) -> None:
    """The connection is open but nobody reads; what the sockets hold is bounded, and so is what the cloud holds."""
    site = listener.site
    big = {"phase": "active", "text": "x" * 20_000}
    async with listener.stream("ann") as told:
        for _ in range(4):
            pairs = [(PROJECTS["ann"], "s")] * (QUEUE // 2)
            await site.db.write(lambda tx, pairs=pairs: store.add(tx, "server.state", pairs, [big] * len(pairs)))
            await asyncio.sleep(0.2)
        seen = [event async for event in _all(told)]
    assert seen[-1][0] == "lost"
    assert len(seen) < QUEUE * 2
    last = seen[-2][1]
    assert seen[-1][1] == last
    async with listener.stream("ann", last=last) as told:
        event = await told.next()
        assert event is not None
        assert event[1] == last + 1


async def _all(told: Told) -> AsyncIterator[tuple[str, int, dict[str, Any]]]:
    while (event := await told.next()) is not None:
        yield event


async def test_a_stream_lives_as_long_as_its_token(listener: Listener) -> None:
    began = time.monotonic()
    listener.gate.ends["ann"] = SystemClock().now() + int(1.5 * SECOND)
    async with listener.stream("ann") as told, listener.stream("bob") as other:
        assert await told.next() is None
        assert 1.4 < time.monotonic() - began < 5
        listener.gate.gone.add("bob")
        assert await other.next() is None
        assert other.comments >= 2
    assert await listener.refused("bob") == 401


async def test_who_is_no_operator_any_more_sees_no_more(listener: Listener) -> None:
    async with listener.stream("admin", "?all_projects=1") as told:
        listener.gate.demoted.add("admin")
        assert await told.next() is None
    assert await listener.refused("admin", "?all_projects=1") == 403


async def test_a_stop_ends_streams_at_once(listener: Listener) -> None:
    async with listener.stream("ann") as told, listener.stream("ann") as second:
        began = time.monotonic()
        listener.server.stop()
        await listener.site.feed.stop()
        assert await told.next() is None
        assert await second.next() is None
        assert time.monotonic() - began < 1


async def test_streams_are_counted_and_given_back(listener: Listener) -> None:
    streams = listener.site.streams
    async with listener.stream("ann"), listener.stream("eve"), listener.stream("ann"):
        assert await listener.refused("ann") == 429
        async with listener.stream("bob"):
            assert await listener.refused("admin") == 429
            assert streams.open == 4
    async with asyncio.timeout(2):
        while streams.open:
            await asyncio.sleep(0.01)
    async with httpx.AsyncClient() as client:
        for _ in range(5):
            assert (await client.head(listener.url, headers={"x-auth-token": "ann"})).status_code == 200
    assert streams.open == 0


BAD = ["?all_projects=2", "?server_id=x", "?kind=server.cheese", "?wait=1", "?server_id=" + "a" * 32 + "&server_id=b"]


@pytest.mark.parametrize("query", BAD)
async def test_bad_questions_are_refused(listener: Listener, query: str) -> None:
    assert await listener.refused("ann", query) == 400
    assert listener.site.streams.open == 0


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19, "٣"])
async def test_a_bad_last_event_is_refused(listener: Listener, last: str) -> None:
    async with httpx.AsyncClient(timeout=10) as client:
        headers = [(b"x-auth-token", b"ann"), (b"last-event-id", last.encode())]
        assert (await client.get(listener.url, headers=headers)).status_code == 400
    assert listener.site.streams.open == 0


async def test_all_projects_are_for_operators(listener: Listener) -> None:
    assert await listener.refused("ann", "?all_projects=1") == 403
    assert await listener.refused("nobody") == 401


def test_the_limits_are_within_what_a_listener_takes() -> None:
    assert Rhythm().most < 2000
    assert caller("ann").expires_at == 0
