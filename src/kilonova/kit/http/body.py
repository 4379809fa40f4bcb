"""Request bodies: read within limits, decoded strictly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec

from kilonova.core.errors import Invalid, TooLarge
from kilonova.kit.http.error import ClientGone

Receive = Callable[[], Awaitable[Any]]

MAX_DEPTH: Final = 32
MAX_ITEMS: Final = 20_000
_decode = msgspec.json.Decoder().decode


async def stream(receive: Receive, limit: int | None) -> AsyncIterator[bytes]:
    """The body chunk by chunk as it arrives; a slow reader slows the sender down.

    Raises TooLarge beyond `limit` bytes, ClientGone when the client leaves before the end.
    """
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The connection closed before the whole body had arrived")
        chunk: bytes = message.get("body", b"")
        total += len(chunk)
        if limit is not None and total > limit:
            raise TooLarge("Request is too large.", limit=limit)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def read(receive: Receive, limit: int) -> bytes:
    """The whole body, at most `limit` bytes. Raises as `stream`."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise TooLarge("Request is too large.", limit=limit)
        return body
    pushed = [message]

    async def replay() -> Any:
        return pushed.pop() if pushed else await receive()

    return b"".join([chunk async for chunk in stream(replay, limit)])


def parse_json(raw: bytes) -> Any:
    """The document in `raw`. Raises Invalid for what is not JSON in UTF-8, nests too deep, has too many values, or
    holds a NUL (which no database stores as text)."""
    try:
        value = _decode(raw)
    except UnicodeDecodeError:
        raise Invalid("Malformed request body: it is not valid UTF-8") from None
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Invalid(f"Malformed request body: it is not valid JSON ({error})") from None
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH or raw.count(b",") > MAX_ITEMS or b"\\u0000" in raw:
        _walk(value)
    return value


def _walk(value: Any) -> None:
    level = [value]
    depth = items = 0
    while level:
        depth += 1
        items += len(level)
        if depth > MAX_DEPTH or items > MAX_ITEMS:
            raise Invalid("Malformed request body: it nests too deep or has too many values")
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
                inner.extend(one.keys())
            elif isinstance(one, list):
                inner.extend(one)
            elif isinstance(one, str) and "\x00" in one:
                raise Invalid("Malformed request body: text holds a NUL character")
        level = inner
