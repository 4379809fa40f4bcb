"""`GET /kilonova/v1/events`: what happens to one's servers, as it happens (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

from kilonova.cloud.event.feed import PAGE, Cut, Feed, Subscription
from kilonova.cloud.event.model import KINDS, Event, Wanted
from kilonova.core.context import ALL
from kilonova.core.errors import Forbidden, Invalid, Unauthenticated, Unavailable
from kilonova.edge.watch import policy, view
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.http import Gate, Request, Response, Route, Seats, multi, query, single
from kilonova.kit.http.request import own
from kilonova.kit.http.response import encode

LAST: Final = "last-event-id"
KEEP_ALIVE: Final = 15.0
EACH: Final = 20
MOST: Final = 200
_MOST_DIGITS: Final = 18
_HEADERS: Final = (
    ("content-type", "text/event-stream"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),  # a proxy must not gather what is to be seen at once
)
_QUERY: Final = query(
    {
        "server_id": single({"type": "string", "pattern": "^[0-9a-fA-F-]{32,36}$"}),
        "kind": multi({"type": "string", "enum": list(KINDS)}),
        "all_projects": single({"type": "string", "enum": ["0", "1", "false", "true"]}),
    },
    additional=False,
)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between signs of life, each with a look at the token; streams at once of a project and of all."""

    keep_alive: float = KEEP_ALIVE
    each: int = EACH
    most: int = MOST


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream: what the client saw last (None: nothing), where the feed was, whether operators' facts are shown."""

    subscription: Subscription
    after: int | None
    start: int
    operator: bool


class Streams:
    """The route, and the streams that are open."""

    def __init__(self, feed: Feed, gate: Gate, clock: Clock, rhythm: Rhythm | None = None) -> None:
        self._feed = feed
        self._gate = gate
        self._clock = clock
        self._rhythm = rhythm or Rhythm()
        self._seats = Seats(self._rhythm.each, self._rhythm.most)

    def routes(self) -> list[Route]:
        return [Route("GET", "/v1/events", self.watch, policy.WATCH, query=_QUERY)]

    @property
    def open(self) -> int:
        """How many streams there are now."""
        return self._seats.taken

    async def watch(self, request: Request) -> Response:
        """Events of the caller's project, or with `all_projects=1` of all: from now on, or after Last-Event-ID.

        Raises Forbidden, Invalid, TooManyRequests; Unavailable while the cloud starts or stops.
        """
        operator = self._is_operator(request)
        everything = request.query_one("all_projects") in ("1", "true")
        if everything and not operator:
            raise Forbidden("Only administrators see events of all projects.", rule=policy.WATCH_ALL)
        after = _last(request)
        scope = ALL if everything else request.context.scope
        server_id = request.query_one("server_id")
        kinds = frozenset(request.query.get("kind", ()))
        wanted = Wanted(scope, server_id.lower() if server_id else None, kinds)
        give_back = self._seats.take(request.context.project_id or "")
        try:
            subscription = await self._feed.subscribe(wanted)
        except BaseException:
            give_back()
            raise
        opened = _Opened(subscription, after, self._feed.reached, operator)
        return Response(200, _Told(self._tell(request, opened), (subscription.close, give_back)), _HEADERS)

    async def _tell(self, request: Request, opened: _Opened) -> AsyncGenerator[bytes, None]:
        """Pieces of the stream; ends when the feed stops, the reader is too slow, or the token no longer counts."""
        yield b": events of kilonova\nretry: 2000\n\n"
        last, subscription = opened.start, opened.subscription
        if opened.after is not None:
            known = await self._feed.knows(opened.after)
            last = opened.after if known else min(opened.after, last)
            if not known:
                yield _lost(last)
            async for event in self._past(subscription.wanted, last):
                last = event.seq
                yield _frame(event, operator=opened.operator)
        try:
            checked = self._clock.now()
            while True:
                found = await subscription.next(self._patience(request, checked))
                if found is None or self._clock.now() - checked >= self._rhythm.keep_alive * SECOND:
                    checked = self._clock.now()
                    if not await self._still_may(request, opened):
                        return
                    yield b":\n\n"
                if found is not None and found.seq > last:
                    last = found.seq
                    yield _frame(found, operator=opened.operator)
        except Cut as cut:
            if cut.lost:
                yield _lost(last)

    async def _past(self, wanted: Wanted, after: int) -> AsyncGenerator[Event, None]:
        while page := await self._feed.past(wanted, after):
            for event in page:
                yield event
            after = page[-1].seq
            if len(page) < PAGE:
                return

    def _patience(self, request: Request, checked: int) -> float:
        """Seconds until the token must be looked at: at the next sign of life, and in the moment it ends."""
        due = checked + int(self._rhythm.keep_alive * SECOND)
        ends = request.context.expires_at
        return max(0.0, ((min(due, ends) if ends else due) - self._clock.now()) / SECOND)

    async def _still_may(self, request: Request, opened: _Opened) -> bool:
        """Whether the token still counts, and for as much as when the stream began."""
        try:
            request.admit(await self._gate.authenticate(request))
        except (Unauthenticated, Unavailable):
            return False
        return self._is_operator(request) or not opened.operator

    def _is_operator(self, request: Request) -> bool:
        return self._gate.permits(request.context, policy.WATCH_ALL, own(request.context))


class _Told:
    """The pieces, and what is to be let go also when nobody ever asked for the first."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], ends: tuple[Callable[[], None], ...]) -> None:
        self._pieces = pieces
        self._ends = ends

    def __aiter__(self) -> _Told:
        return self

    async def __anext__(self) -> bytes:
        return await self._pieces.__anext__()

    async def aclose(self) -> None:
        for end in self._ends:
            end()
        await self._pieces.aclose()


def _last(request: Request) -> int | None:
    told = request.header(LAST)
    if told is None or told == "":
        return None
    if not (told.isascii() and told.isdecimal() and len(told) <= _MOST_DIGITS):
        raise Invalid("Last-Event-ID must be the id of an event")
    return int(told)


def _frame(event: Event, *, operator: bool) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (
        event.seq, event.kind.encode(), encode(view.change(event, operator=operator)),
    )  # fmt: skip


def _lost(last: int) -> bytes:
    """Some events cannot be told any more, or not to this reader: after it, look at the servers once."""
    return b'id: %d\nevent: lost\ndata: {"after": %d}\n\n' % (last, last)
