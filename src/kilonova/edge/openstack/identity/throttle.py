"""Slowing down who guesses passwords: what keeps coming for one user from one address is not even looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from kilonova.core.errors import Unauthenticated
from kilonova.kit.http import Request, Route, TooManyRequests
from kilonova.kit.http.route import Answer

CAPACITY: Final = 10_000
"""Pairs of user and address that are remembered at most; the oldest is forgotten first."""


class Throttle:
    """After `most` refusals within `seconds`, logins of this user from this address get 429 until they are over. The
    lock-out of users is something else: it holds for every address, and in every process."""

    def __init__(
        self, most: int = 20, seconds: float = 60.0, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._monotonic = monotonic
        self._refused: dict[bytes, tuple[int, float]] = {}

    def guard(self, route: Route) -> Route:
        """The same route, throttled."""

        async def handle(request: Request) -> Answer:
            key = _key(request)
            count, until = self._refused.get(key, (0, 0.0))
            if until <= self._monotonic():
                count, until = 0, self._monotonic() + self._seconds
            elif count >= self._most:
                raise TooManyRequests("Too many failed logins; try again later.")
            try:
                return await route.handler(request)
            except Unauthenticated:
                self._remember(key, count + 1, until)
                raise

        return replace(route, handler=handle)

    def _remember(self, key: bytes, count: int, until: float) -> None:
        self._refused.pop(key, None)
        while len(self._refused) >= CAPACITY:
            self._refused.pop(next(iter(self._refused)))
        self._refused[key] = (count, until)


def _key(request: Request) -> bytes:
    client = request.scope.get("client") or ("",)
    named = request.params.get("user_id") or _user(request.json)
    return sha256(repr((client[0], named)).encode("utf-8", "replace")).digest()


def _user(document: Any) -> object:
    """Whom a login is about: the references in its methods, without what is secret."""
    identity = document.get("auth", {}).get("identity", {}) if isinstance(document, Mapping) else {}
    found: list[object] = []
    for method in sorted(identity):
        user = identity[method].get("user") if isinstance(identity[method], Mapping) else None
        if isinstance(user, Mapping):
            domain = user.get("domain")
            home = (domain.get("id"), domain.get("name")) if isinstance(domain, Mapping) else None
            found.append((user.get("id"), user.get("name"), home))
    return found
