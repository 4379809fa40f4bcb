"""uvicorn (httptools; run it on uvloop) with limits, inside a program that owns signals and the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kilonova.core.errors import Unavailable

HEAD_LIMIT: Final = 64 * 1024
HEAD_SECONDS: Final = 30.0
SOCKET_MESSAGE: Final = 1024 * 1024
"""The largest message that a websocket takes, bytes."""
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener takes on. Beyond `concurrency` connections or requests the answer is 503."""

    concurrency: int = 2000
    backlog: int = 2048
    keep_alive_seconds: int = 75
    stop_seconds: int = 10


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose request line and headers are bounded in size and in time (RFC 6585 §5, against slow senders)."""

    _head_done = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._await_head()
        super().data_received(data)
        if not self._head_done and self._head_bytes > HEAD_LIMIT and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._forget_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_done = False
        self._head_bytes = 0
        super().on_message_complete()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Uvicorn(uvicorn.Server):
    """Says when it listens, and leaves signals to the program."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if not self.should_exit:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One listener. The socket is bound by the constructor, so that a taken port is a clear error before anything
    starts; port 0 takes a free one, `port` says which."""

    def __init__(self, app: Any, host: str, port: int, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._socket = _bind(host, port, self._limits.backlog)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self.ready = asyncio.Event()
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="websockets-sansio",
            ws_max_size=SOCKET_MESSAGE,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            reset_contextvars=True,
            backlog=self._limits.backlog,
            limit_concurrency=self._limits.concurrency,
            timeout_keep_alive=self._limits.keep_alive_seconds,
            timeout_graceful_shutdown=self._limits.stop_seconds,
        )
        self._server = _Uvicorn(config, self.ready.set)

    async def serve(self) -> None:
        """Serve until `stop`; then no new connections, running requests get `stop_seconds` to end, and it returns.
        `ready` is set as soon as connections are taken. Cancelling stops at once."""
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Begin to stop."""
        self._server.should_exit = True


def _bind(host: str, port: int, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise Unavailable(f"Cannot listen on {host}:{port}: {error.strerror}; choose another with --port") from error
    listener.setblocking(False)
    return listener
