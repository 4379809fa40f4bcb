"""Consoles in browsers: noVNC's pages, and the websocket that carries a console's bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from kilonova.cloud.server.console import Consoles, Line
from kilonova.core.errors import Failure, NotFound
from kilonova.kit.http import PUBLIC, Request, Response, Route, Service, status_of
from kilonova.kit.http.request import base_url
from kilonova.kit.log import Logger

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATH: Final = "/console/socket"
PIECE: Final = 32 * 1024
IDLE_SECONDS: Final = 3600.0
OF_A_SERVER: Final = 4
IN_ALL: Final = 200
REFUSED: Final = 1008
_HEADERS: Final = (("referrer-policy", "no-referrer"), ("x-content-type-options", "nosniff"))
_MISSING: Final = (
    "This machine has no noVNC: 'kilonova host prepare' fetches it. Until then the console can be reached by any VNC "
    "client that speaks websockets, at the path in this address."
)
log = Logger(__name__)


class ConsoleProxy:
    """An ASGI application for websockets. A connection costs a token; it ends with either side, or when nothing was
    said for an hour. What a browser sends from a page of another origin is refused."""

    def __init__(self, consoles: Consoles, *, public_url: str = "", trust_forwarded: bool = False) -> None:
        self._consoles = consoles
        self._public_url = public_url
        self._trust_forwarded = trust_forwarded
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        line = await self._admit(scope)
        if line is None or self._open[line.server_id] >= OF_A_SERVER or self._open.total() >= IN_ALL:
            await send({"type": "websocket.close", "code": REFUSED})
            return
        self._open[line.server_id] += 1
        try:
            await self._carry(line, scope, receive, send)
        finally:
            self._open[line.server_id] -= 1
            self._open += Counter()

    async def _admit(self, scope: Message) -> Line | None:
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] != PATH or len(tokens) != 1 or not self._is_own(scope):
            return None
        try:
            return await self._consoles.connect(tokens[0])
        except Failure as failure:
            log.info("a console was refused", why=failure.message)
            return None

    def _is_own(self, scope: Message) -> bool:
        """Whether it comes from a page of this listener; programs that are no browsers name no origin."""
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        base = base_url(scope, public_url=self._public_url, trust_forwarded=self._trust_forwarded)
        return all(urlsplit(origin).netloc == urlsplit(base).netloc for origin in origins)

    async def _carry(self, line: Line, scope: Message, receive: Receive, send: Send) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(line.address.removeprefix("unix:"))
        except OSError as error:
            log.warning("a console cannot be reached", server=line.server_id, why=str(error))
            await send({"type": "websocket.close", "code": REFUSED})
            return
        offered: Sequence[str] = scope.get("subprotocols", ())
        ways: list[asyncio.Task[None]] = []
        try:
            await send({"type": "websocket.accept", "subprotocol": "binary" if "binary" in offered else None})
            log.info("a console was opened", server=line.server_id, kind=line.kind)
            ways += [asyncio.create_task(_down(reader, send)), asyncio.create_task(_up(receive, writer))]
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if ways[0] in done:
                with contextlib.suppress(OSError, RuntimeError):
                    await send({"type": "websocket.close", "code": 1000})
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            log.info("a console was closed", server=line.server_id, kind=line.kind)


async def _down(reader: asyncio.StreamReader, send: Send) -> None:
    while data := await asyncio.wait_for(reader.read(PIECE), IDLE_SECONDS):
        await send({"type": "websocket.send", "bytes": data})


async def _up(receive: Receive, writer: asyncio.StreamWriter) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        writer.write(message.get("bytes") or (message.get("text") or "").encode())
        await writer.drain()


class ConsolePages:
    """noVNC's files from the first of `places` that is there."""

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = places

    async def show(self, request: Request) -> Response:
        """One file; never one outside."""
        names = request.params["rest"].split("/")
        if any(name in ("", ".", "..") for name in names):
            raise NotFound("The resource could not be found.")
        found = await asyncio.to_thread(self._read, Path(*names))
        if found is None:
            raise NotFound(_MISSING if not any(place.is_dir() for place in self._places) else "There is no such page.")
        kind = guess_type(names[-1])[0] or "application/octet-stream"
        return Response(200, found, [("content-type", kind), *_HEADERS])

    def _read(self, name: Path) -> bytes | None:
        for place in self._places:
            if place.is_dir():
                path = (place / name).resolve()
                inside = path.is_relative_to(place.resolve())
                return path.read_bytes() if inside and path.is_file() else None
        return None


def build_console(pages: ConsolePages) -> Service:
    """The pages, to be served at `/console`."""
    return Service("console", "/console", [Route("GET", "/{rest:path}", pages.show, PUBLIC)], _fault)


def _fault(failure: Failure, request: Request) -> Response:
    return Response.text(failure.message + "\n", status_of(failure))
