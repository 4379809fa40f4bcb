"""What a handler answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

encode = msgspec.json.Encoder().encode

Headers = Sequence[tuple[str, str]]


class Response:
    """Status, headers and a body: bytes, or an asynchronous iterator of chunks (sent as the client takes them).

    An iterator is always closed, also when the client leaves. Give `content-length` in the headers where it is known.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, body: bytes | AsyncIterator[bytes] = b"", headers: Headers = ()) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Headers = ()) -> Response:
        """A JSON document (anything that msgspec encodes)."""
        return cls(status, encode(value), (("content-type", "application/json"), *headers))

    @classmethod
    def text(cls, value: str, status: int = 200, headers: Headers = ()) -> Response:
        """Plain text in UTF-8."""
        return cls(status, value.encode(), (("content-type", "text/plain; charset=utf-8"), *headers))
