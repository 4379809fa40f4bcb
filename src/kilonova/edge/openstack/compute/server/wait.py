"""`GET /servers/{id}?wait=SECONDS&status=ACTIVE,ERROR`: an answer when there is something to say.

Nova has no such thing: a client that does not ask for it sees nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from kilonova.cloud.event.feed import Cut, Feed, Subscription
from kilonova.cloud.event.model import DELETED, STATE, Wanted
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.phase import is_settled
from kilonova.cloud.server.service import ServerService
from kilonova.core.context import Scope
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.compute.server.state import STATES, STATUSES
from kilonova.kit.http import Request, Seats

LONGEST: Final = 60
EACH: Final = 100
MOST: Final = 500
_KINDS: Final = frozenset({STATE, DELETED})

Test = Callable[[Server], bool]


class Waiting:
    """Waits for servers without a look at the database but after each change of that server."""

    def __init__(self, servers: ServerService, feed: Feed, seats: Seats | None = None) -> None:
        self._servers = servers
        self._feed = feed
        self._seats = seats or Seats(EACH, MOST)

    async def look(self, request: Request, scope: Scope, server_id: str) -> Server:
        """The server: at once where the query does not ask to wait; else when it has one of the statuses, or without
        any when nothing is being done to it; and as it is when the time is over or the cloud stops.

        Raises Invalid, NotFound (also when it goes while it is waited for), TooManyRequests.
        """
        seconds = _seconds(request)
        if not seconds:
            return await self._servers.get(scope, server_id)
        test = _test(request)
        give_back = self._seats.take(request.context.project_id or "")
        try:
            subscription = await self._feed.subscribe(Wanted(scope, server_id, _KINDS))
            try:
                return await self._until(subscription, scope, server_id, test, seconds)
            finally:
                subscription.close()
        finally:
            give_back()

    async def _until(
        self, subscription: Subscription, scope: Scope, server_id: str, test: Test, seconds: float
    ) -> Server:
        ends = asyncio.get_running_loop().time() + seconds
        while True:
            server = await self._servers.get(scope, server_id)
            left = ends - asyncio.get_running_loop().time()
            if left <= 0 or test(server):
                return server
            try:
                await subscription.next(left)
            except Cut:
                return await self._servers.get(scope, server_id)


def _seconds(request: Request) -> int:
    told = request.query_one("wait")
    if told is None:
        return 0
    if not (told.isascii() and told.isdecimal() and len(told) < 4 and int(told) <= LONGEST):
        raise Invalid(f"Invalid value '{told[:64]}' for wait: it is a number of seconds, at most {LONGEST}")
    return int(told)


def _test(request: Request) -> Test:
    told = [word.strip().upper() for value in request.query.get("status", ()) for word in value.split(",")]
    for word in told:
        if word not in STATUSES:
            raise Invalid(f"Invalid status value: {word[:64]}")
    return (lambda server: STATES[server.phase].status in told) if told else lambda server: is_settled(server.phase)
