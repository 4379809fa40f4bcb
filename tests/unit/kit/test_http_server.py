"""The real listener: streams with backpressure, limits, a graceful stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from kilonova.core.errors import Failure, Unavailable
from kilonova.kit.http import PUBLIC, App, ClientGone, Request, Response, Route, Service, status_of
from kilonova.kit.http.server import HEAD_LIMIT, Server

CHUNK = b"x" * 65536


class Work:
    """Handlers that can be looked at while they run."""

    def __init__(self) -> None:
        self.received = 0
        self.produced = 0
        self.is_closed = False
        self.cut_off = asyncio.Event()
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()

    async def take(self, request: Request) -> dict[str, int]:
        try:
            async for chunk in request.stream():
                self.received += len(chunk)
                self.begun.set()
                await self.go_on.wait()
        except ClientGone:
            self.cut_off.set()
            raise
        return {"bytes": self.received}

    async def give(self, request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                for _ in range(2000):
                    self.produced += 1
                    yield CHUNK
            finally:
                self.is_closed = True

        return Response(200, chunks(), [("content-length", str(2000 * len(CHUNK)))])

    async def fail_midway(self, request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield CHUNK
            raise Unavailable("the disk went away")

        return Response(200, chunks(), [("content-length", "1000000")])

    async def tell(self, request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield b"hello\n"
                await self.go_on.wait()
            finally:
                self.is_closed = True

        return Response(200, chunks())

    async def wait(self, request: Request) -> dict[str, bool]:
        self.begun.set()
        await self.go_on.wait()
        return {"done": True}


def fault(failure: Failure, request: Request) -> Response:
    return Response.json({"message": failure.message}, status_of(failure))


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def server(work: Work) -> AsyncIterator[Server]:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    routes = [
        Route("PUT", "/take", work.take, PUBLIC, body="stream"),
        Route("GET", "/give", work.give, PUBLIC),
        Route("GET", "/tell", work.tell, PUBLIC),
        Route("GET", "/cut", work.fail_midway, PUBLIC),
        Route("GET", "/wait", work.wait, PUBLIC),
        Route("GET", "/slow", work.wait, PUBLIC, deadline=0.05),
    ]
    one = Server(App([Service("s", "", routes, fault)]), "127.0.0.1", 0)
    serving = asyncio.create_task(one.serve())
    await asyncio.wait_for(one.ready.wait(), 10)
    yield one
    work.go_on.set()
    one.stop()
    await asyncio.wait_for(serving, 20)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as one:
        yield one


async def _settle() -> None:
    """Let the sockets' buffers fill until nothing moves any more."""
    await asyncio.sleep(0.5)


async def test_an_upload_waits_for_its_reader(client: httpx.AsyncClient, work: Work) -> None:
    offered = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal offered
        for _ in range(1000):
            offered += len(CHUNK)
            yield CHUNK

    upload = asyncio.create_task(client.put("/take", content=body()))
    await asyncio.wait_for(work.begun.wait(), 10)
    await _settle()
    assert offered < 500 * len(CHUNK)
    work.go_on.set()
    assert (await upload).json() == {"bytes": 1000 * len(CHUNK)}


async def test_an_upload_cut_off_is_told(server: Server, work: Work) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"PUT /take HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc")
    work.go_on.set()
    await asyncio.wait_for(work.begun.wait(), 10)
    writer.close()
    await asyncio.wait_for(work.cut_off.wait(), 10)
    assert work.received == 3


async def test_a_download_waits_for_its_reader_and_ends_when_it_leaves(client: httpx.AsyncClient, work: Work) -> None:
    async with client.stream("GET", "/give") as answer:
        assert answer.status_code == 200
        await _settle()
        assert work.produced < 1000
    async with asyncio.timeout(10):
        while not work.is_closed:
            await asyncio.sleep(0.01)
    assert work.produced < 2000


async def test_a_stream_that_has_nothing_to_say_ends_when_its_reader_leaves(
    client: httpx.AsyncClient, work: Work
) -> None:
    async with client.stream("GET", "/tell") as answer:
        assert await anext(answer.aiter_lines()) == "hello"
        assert not work.is_closed
    async with asyncio.timeout(5):
        while not work.is_closed:
            await asyncio.sleep(0.01)


async def test_a_body_that_fails_midway_is_not_taken_for_whole(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/cut")


async def test_a_deadline_ends_a_request(client: httpx.AsyncClient) -> None:
    answer = await client.get("/slow")
    assert (answer.status_code, answer.json()["message"]) == (503, "The request took too long and was abandoned.")


async def test_headers_are_bounded(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /wait HTTP/1.1\r\nx: " + b"a" * (HEAD_LIMIT + 1))
    await writer.drain()
    assert b" 431 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


async def test_rubbish_gets_400(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"\x16\x03\x01\x02\x00 rubbish\r\n\r\n")
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


async def test_a_stop_lets_running_requests_end(client: httpx.AsyncClient, server: Server, work: Work) -> None:
    running = asyncio.create_task(client.get("/wait"))
    await asyncio.wait_for(work.begun.wait(), 10)
    server.stop()
    await asyncio.sleep(0.3)
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as other:
            await other.get(f"http://127.0.0.1:{server.port}/wait")
    work.go_on.set()
    assert (await running).json() == {"done": True}


async def test_a_taken_port_is_a_clear_failure(server: Server) -> None:
    with pytest.raises(Unavailable, match=f"Cannot listen on 127.0.0.1:{server.port}"):
        Server(App([]), "127.0.0.1", server.port)
