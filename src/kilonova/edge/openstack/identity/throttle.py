"""Slowing down who guesses passwords: what keeps coming for one user from one address is not even looked at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from kilonova.cloud.identity.proof import Proof
from kilonova.core.errors import Failure, Unauthenticated
from kilonova.edge.openstack.identity.token import read_proofs
from kilonova.kit.http import Request, Route, TooManyRequests
from kilonova.kit.http.route import Answer

CAPACITY: Final = 10_000
"""Pairs of user and address that are remembered at most; what was longest not asked for is forgotten first."""
WAIT_SECONDS: Final = 10.0
"""How long a login waits for others of its kind that are being looked at."""
OF_ADDRESS: Final = 10
"""How many times as many refusals an address has, for whomever."""
TOO_MANY: Final = "Too many failed logins; try again later."


@dataclass(slots=True)
class Bucket:
    """What of one kind was refused until it is over, and how many are being looked at."""

    most: int
    until: float
    refused: int = 0
    pending: int = 0


class Throttle:
    """After `most` refusals within `seconds`, logins of this user (or with this application credential) from this
    address get 429 until they are over; the address itself after OF_ADDRESS times as many. No more than may be refused
    are looked at at once; others wait. The lock-out of users is something else: it holds for every address, and in
    every process. A token is no guess, and what is malformed proves nothing: neither counts."""

    def __init__(
        self, most: int = 20, seconds: float = 60.0, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._monotonic = monotonic
        self._buckets: dict[bytes, Bucket] = {}
        self._done = asyncio.Condition()

    def guard(self, route: Route) -> Route:
        """The same route, throttled."""

        async def handle(request: Request) -> Answer:
            named = _named(request)
            if not named:
                return await route.handler(request)
            client = (request.scope.get("client") or ("",))[0]
            keys = {_digest(client): self._most * OF_ADDRESS, **{_digest(client, one): self._most for one in named}}
            buckets = await self._enter(keys)
            try:
                return await route.handler(request)
            except Unauthenticated:
                for bucket in buckets:
                    bucket.refused += 1
                raise
            finally:
                await self._leave(keys, buckets)

        return replace(route, handler=handle)

    async def _enter(self, keys: dict[bytes, int]) -> Sequence[Bucket]:
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._done:
                while True:
                    buckets = [self._bucket(key, most) for key, most in keys.items()]
                    if any(one.refused >= one.most for one in buckets):
                        raise TooManyRequests(TOO_MANY)
                    if all(one.refused + one.pending < one.most for one in buckets):
                        break
                    await self._done.wait()
        except TimeoutError:
            raise TooManyRequests(TOO_MANY) from None
        for bucket in buckets:
            bucket.pending += 1
        return buckets

    async def _leave(self, keys: dict[bytes, int], buckets: Sequence[Bucket]) -> None:
        for key, bucket in zip(keys, buckets, strict=True):
            bucket.pending -= 1
            if not bucket.refused and not bucket.pending and self._buckets.get(key) is bucket:
                del self._buckets[key]
        async with self._done:
            self._done.notify_all()

    def _bucket(self, key: bytes, most: int) -> Bucket:
        now = self._monotonic()
        found = self._buckets.pop(key, None)
        if found is None or found.until <= now:
            found = Bucket(most, now + self._seconds)
        while len(self._buckets) >= CAPACITY:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[key] = found
        return found


def _digest(*parts: object) -> bytes:
    return sha256(repr(parts).encode("utf-8", "replace")).digest()


def _named(request: Request) -> Sequence[object]:
    """Whom or what a login is about, as it will be looked up; nothing of one that proves nothing."""
    if "user_id" in request.params:
        return [("user", request.params["user_id"])]
    try:
        proofs = read_proofs(request.json["auth"])
    except Failure:
        return []
    return list(dict.fromkeys(_whom(one) for one in proofs if one.method != "token"))


def _whom(proof: Proof) -> tuple[object, ...]:
    if proof.credential_id:
        return "application credential", proof.credential_id
    who = proof.who.id or (proof.who.name, proof.who.domain_id, proof.who.domain_name)
    return ("application credential", proof.credential_name, who) if proof.credential_name else ("user", who)
