"""Server-sent events (WHATWG HTML, "Server-sent events"): what becomes of servers, for as long as a client listens."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from kilonova.cloud.server.event_store import ServerEvent
from kilonova.cloud.server.feed import Feed
from kilonova.core.context import Scope

HEADERS: Final = (("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no"))
QUIET_SECONDS: Final = 15.0
HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose servers, which of them (all, if none are named), and who counts for the limits."""

    scope: Scope
    servers: Sequence[str]
    whose: str


async def follow(feed: Feed, wanted: Wanted, since: int | None, expires_at: int) -> AsyncGenerator[bytes, None]:
    """Events after `since` (None: from now on), until the token's end (µs; 0: none). A comment now and then shows that
    the connection lives."""
    end = time.time() + HOUR
    if expires_at:
        end = min(end, expires_at / 1e6)
    async with feed.watch(wanted.scope, wanted.servers, wanted.whose) as watch:
        after = await feed.newest() if since is None else since
        yield b": kilonova\n\n"
        while time.time() < end and not watch.ended:
            events = await feed.read(watch, after)
            for one in events:
                after = one.seq
                yield _encode(one)
            if not events and not await feed.wait(watch, QUIET_SECONDS) and not watch.ended:
                yield b": still here\n\n"


def _encode(one: ServerEvent) -> bytes:
    at = datetime.fromtimestamp(one.at / 1e6, UTC).isoformat(timespec="microseconds")
    body = {
        "server_id": one.server_id, "project_id": one.project_id, "name": one.name, "at": at,
        **_state(one.phase), "before": _state(one.before),
    }  # fmt: skip
    return b"id: %d\nevent: server\ndata: %s\n\n" % (one.seq, msgspec.json.encode(body))


def _state(phase: str) -> dict[str, Any]:
    """A phase in kilonova's words: what a server is (nothing, when it is not there), and what is being done to it."""
    state, _, doing = phase.partition(".")
    return {"state": state or None, "doing": doing or None}
