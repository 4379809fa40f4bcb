"""HTTP/1.1 for guests: small requests, small answers, and no patience. See metadata."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import httptools

LOG = logging.getLogger(__name__)

URL_LIMIT = 2048
HEADER_LIMIT = 8192
BODY_LIMIT = 8192
REQUESTS = 100
UNREAD_LIMIT = 256 * 1024
"""Bytes of answers that a guest may leave untaken before it asks on."""
PER_SOURCE = 8
PER_NETWORK = 512


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `path` is decoded; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gate:
    """The open connections of a network, how many each address has, and the seconds that each may keep us waiting."""

    patience: float
    sources: Counter[str] = field(default_factory=Counter)
    connections: set[asyncio.Transport] = field(default_factory=set)

    def enter(self, source: str, transport: asyncio.Transport) -> bool:
        """Whether one more from `source` may come in."""
        if self.sources[source] >= PER_SOURCE or len(self.connections) >= PER_NETWORK:
            return False
        self.sources[source] += 1
        self.connections.add(transport)
        return True

    def leave(self, source: str, transport: asyncio.Transport) -> None:
        """The connection is gone."""
        self.connections.discard(transport)
        self.sources[source] -= 1
        if not self.sources[source]:
            del self.sources[source]


class _Refused(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class MetadataProtocol(asyncio.Protocol):
    """One connection. `answer` gets the source address and the request, and does not block."""

    def __init__(self, gate: Gate, answer: Callable[[str, Request], Response]) -> None:
        self._gate = gate
        self._answer = answer
        self._source = ""
        self._entered = False
        self._served = 0
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpRequestParser(self)
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a guest has come."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._source = peer[0].partition("%")[0] if peer else ""
        self._entered = self._gate.enter(self._source, self._transport)
        if not self._entered:
            self._transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is gone."""
        self._stop_waiting()
        if self._entered:
            self._entered = False
            self._gate.leave(self._source, self._transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes have come."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            reason = error.__context__
            if not isinstance(reason, _Refused):
                LOG.exception("a metadata request failed", exc_info=reason)
            self._refuse(reason.status if isinstance(reason, _Refused) else HTTPStatus.INTERNAL_SERVER_ERROR)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)

    def eof_received(self) -> bool:
        """asyncio: it says no more."""
        return False

    def pause_writing(self) -> None:
        """asyncio: it does not take what it asked for. Nothing more is read from it, and time runs."""
        self._transport.pause_reading()
        self._wait()

    def resume_writing(self) -> None:
        """asyncio: it took it."""
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._wait()

    def on_message_begin(self) -> None:
        """httptools: a request begins."""
        self._url = bytearray()
        self._headers: dict[str, str] = {}
        self._header_size = 0
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        """httptools: a piece of the target."""
        self._url += url
        if len(self._url) > URL_LIMIT:
            raise _Refused(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """httptools: a header."""
        self._header_size += len(name) + len(value or b"")
        if self._header_size > HEADER_LIMIT:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._headers[name.decode("latin-1").lower()] = (value or b"").decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of a body."""
        self._body += body
        if len(self._body) > BODY_LIMIT:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_complete(self) -> None:
        """httptools: a request is whole."""
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > UNREAD_LIMIT:
            self._transport.abort()
            return
        response = self._answer(self._source, self._request())
        self._served += 1
        keep = self._parser.should_keep_alive() and self._served < REQUESTS
        self._send(response, keep=keep, with_body=self._parser.get_method() != b"HEAD")

    def _request(self) -> Request:
        try:
            path = httptools.parse_url(bytes(self._url)).path or b"/"
        except httptools.HttpParserInvalidURLError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST) from error
        method, body = self._parser.get_method().decode("ascii"), bytes(self._body)
        return Request(method, unquote(path, errors="replace"), self._headers, body)

    def _send(self, response: Response, *, keep: bool, with_body: bool) -> None:
        lines = [
            f"HTTP/1.1 {response.status.value} {response.status.phrase}",
            f"content-type: {response.content_type}",
            f"content-length: {len(response.body)}",
            f"connection: {'keep-alive' if keep else 'close'}",
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self._wait()
        self._transport.write(head + response.body if with_body else head)
        if not keep:
            self._transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        if not self._transport.is_closing():
            self._send(Response(status), keep=False, with_body=True)

    def _wait(self) -> None:
        """It has that long from now."""
        self._stop_waiting()
        self._deadline = asyncio.get_running_loop().call_later(self._gate.patience, self._transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
