"""Waiting for a server, and watching what becomes of a project's servers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from compute_world import PROJECTS, Site, act

from kilonova.cloud.server import event_store
from kilonova.cloud.server.feed import OF_A_PROJECT
from kilonova.core.context import Scope
from kilonova.kit.http.server import Server


@pytest.fixture
async def listener(site: Site) -> AsyncIterator[str]:
    """The site on a real port: an answer that goes on is not one for the in-process transport."""
    server = Server(site.app, "127.0.0.1", 0)
    serving = asyncio.create_task(server.serve())
    await server.ready.wait()
    yield f"http://127.0.0.1:{server.port}"
    await site.feed.stop()
    server.stop()
    await asyncio.wait_for(serving, 5)


@asynccontextmanager
async def watching(url: str, who: str, query: str = "", since: int | None = None) -> AsyncIterator[AsyncIterator[Any]]:
    headers = {"x-auth-token": who} | ({} if since is None else {"last-event-id": str(since)})
    async with (
        httpx.AsyncClient(timeout=10, trust_env=False) as client,
        client.stream("GET", f"{url}/kilonova/v1/events{query}", headers=headers) as answer,
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        lines = answer.aiter_lines()
        assert await anext(lines) == ": kilonova"
        yield events(lines)


async def events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    number = 0
    async for line in lines:
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            yield {**json.loads(line[6:]), "id": number}


async def until(told: AsyncIterator[Any], state: str | None) -> list[dict[str, Any]]:
    found = []
    async with asyncio.timeout(10):
        async for one in told:
            found.append(one)
            if one["state"] == state and one["doing"] is None:
                return found
    raise AssertionError(found)


async def test_a_project_watches_its_servers(site: Site, listener: str) -> None:
    async with watching(listener, "ann") as ann, watching(listener, "admin", "?all_projects=1") as admin:
        his = await site.boot(site.bob)
        server_id = await site.boot()
        told = await until(ann, "active")
        assert {one["server_id"] for one in told} == {server_id}
        assert [(one["state"], one["doing"]) for one in told] == [
            ("building", "scheduling"), ("building", "networking"), ("building", "spawning"), ("active", None),
        ]  # fmt: skip
        assert told[-1]["before"] == {"state": "building", "doing": "spawning"}
        assert (told[0]["name"], told[0]["project_id"]) == ("web", PROJECTS["ann"])
        await site.ann.delete(f"/servers/{server_id}")
        assert (await until(ann, None))[-1]["before"]["doing"] == "deleting"
        both = await until(admin, "active") + await until(admin, "active")
        assert {one["server_id"] for one in both} == {his, server_id}


async def test_a_stream_goes_on_where_it_ended(site: Site, listener: str) -> None:
    server_id, other = await site.boot(), await site.boot()
    async with watching(listener, "ann", since=0) as told:
        first = await until(told, "active")
    async with watching(listener, "ann", f"?server_id={other}", since=first[1]["id"]) as told:
        rest = await until(told, "active")
    assert {one["server_id"] for one in rest} == {other}
    assert min(one["id"] for one in rest) > first[1]["id"]
    async with watching(listener, "ann", since=first[-1]["id"]) as told:
        await act(site.ann, server_id, "pause")
        assert {one["server_id"] for one in await until(told, "paused")} == {server_id, other}


async def test_who_may_watch_what(site: Site, listener: str) -> None:
    watch = site.client("ann", "/kilonova/v1")
    for query, code in (("?all_projects=1", 403), ("?colour=red", 400), ("?server_id=x", 400)):
        assert (await watch.get(f"/events{query}")).status_code == code, query
    assert (await watch.get("/events", headers={"last-event-id": "x"})).status_code == 400
    others = [watching(listener, "ann") for _ in range(OF_A_PROJECT)]
    for one in others:
        await one.__aenter__()
    assert (await watch.get("/events")).status_code == 503
    assert (await site.ann.get(f"/servers/{await site.make()}?wait=5")).status_code == 503
    async with watching(listener, "bob"):
        pass
    for one in others:
        await one.__aexit__(None, None, None)
    await watch.aclose()


async def test_streams_end_when_the_cloud_stops(site: Site, listener: str) -> None:
    async with watching(listener, "ann") as told:
        began = time.monotonic()
        await site.feed.stop()
        with pytest.raises(StopAsyncIteration):
            await anext(told)
        assert time.monotonic() - began < 1


async def test_an_answer_waits_until_a_server_is_so(site: Site) -> None:
    server_id = await site.make(metadata={"fake.delay.power_on": "0.3"})
    shown = (await site.ann.get(f"/servers/{server_id}?wait=20&status=ACTIVE,ERROR")).json()["server"]
    assert shown["status"] == "ACTIVE"
    await act(site.ann, server_id, "reboot", {"type": "HARD"})
    shown = (await site.ann.get(f"/servers/{server_id}?wait=20")).json()["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    began = time.monotonic()
    shown = (await site.ann.get(f"/servers/{server_id}?wait=1&status=SHUTOFF")).json()["server"]
    assert (shown["status"], 0.9 < time.monotonic() - began < 3) == ("ACTIVE", True)
    await site.ann.delete(f"/servers/{server_id}")
    assert (await site.ann.get(f"/servers/{server_id}?wait=20&status=DELETED")).status_code == 404
    assert (await site.bob.get(f"/servers/{await site.boot()}?wait=20&status=ERROR")).status_code == 404
    for bad in ("wait=x", "wait=100", "wait=-1", "wait=1&wait=2"):
        assert (await site.ann.get(f"/servers/{await site.boot()}?{bad}")).status_code == 400, bad


async def test_what_is_old_is_forgotten(site: Site) -> None:
    await site.boot()
    newest = await site.db.read(event_store.last)
    assert newest >= 4
    assert await site.db.write(lambda tx: event_store.forget(tx, tx.now + 1)) == newest
    assert await site.db.read(lambda tx: event_store.page(tx, Scope(PROJECTS["ann"]), (), 0, newest)) == []
    await site.boot()
    assert await site.db.read(event_store.last) > newest, "numbers are never given again"
