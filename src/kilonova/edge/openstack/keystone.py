"""Identity from an external Keystone: what keystonemiddleware is to other services."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

import httpx

from kilonova.core.access import AccessRule
from kilonova.core.context import Context
from kilonova.core.errors import Unauthenticated, Unavailable
from kilonova.edge.openstack.fault import DENIED
from kilonova.kit.clock import SECOND, Clock

CACHE_SECONDS: Final = 10
"""How long an answer of Keystone is believed: what is revoked there may count here for that long."""
UNKNOWN_SECONDS: Final = 3
"""How long a token that Keystone does not know is not asked about again."""
DEADLINE_SECONDS: Final = 10.0
CAPACITY: Final = 10_000
MAX_TOKEN: Final = 16 * 1024
AWAY: Final = "The identity service does not answer; try again."


@dataclass(frozen=True, slots=True)
class Account:
    """The service user that asks Keystone: it needs a role that may validate tokens (`service` or `admin`)."""

    user: str
    password: str
    project: str
    domain: str = "Default"


class KeystoneAuthenticator:
    """Contexts by token, from the Keystone at `url` (with or without `/v3`). Every question ends within
    DEADLINE_SECONDS."""

    def __init__(
        self, url: str, account: Account, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._root = keystone_address(url)
        self._account = account
        self._clock = clock
        self._http = httpx.AsyncClient(timeout=DEADLINE_SECONDS, trust_env=False, transport=transport)
        self._known: dict[bytes, tuple[Context, int]] = {}
        self._unknown: dict[tuple[bytes, bool], int] = {}
        self._own_token = ""
        self._signing_in = asyncio.Lock()

    async def context(self, token: str, request_id: str) -> Context:
        """The caller. Raises Unauthenticated when Keystone does not know the token, Unavailable when it is away."""
        return await self._context(token, request_id, allow_expired=False)

    async def lenient_context(self, token: str, request_id: str) -> Context:
        """As `context`, for a token that may have expired within what Keystone allows for services."""
        return await self._context(token, request_id, allow_expired=True)

    async def project_exists(self, project_id: str) -> bool:
        """Whether Keystone knows this project; where the service user may not ask, the caller is believed (as Nova
        does). Raises Unavailable."""
        answer = await self._ask(f"/projects/{quote(project_id, safe='')}", {})
        return answer.status_code in (200, 403)

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def _context(self, token: str, request_id: str, *, allow_expired: bool) -> Context:
        if not token.isascii() or len(token) > MAX_TOKEN:
            raise Unauthenticated(DENIED)
        now = self._clock.now()
        key = sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is None or known[1] <= now:
            known = await self._load(key, token, now, allow_expired=allow_expired)
        if known[0].expires_at <= now and not allow_expired:
            raise Unauthenticated(DENIED)
        return replace(known[0], request_id=request_id)

    async def _load(self, key: bytes, token: str, now: int, *, allow_expired: bool) -> tuple[Context, int]:
        self._known.pop(key, None)
        if self._unknown.get((key, allow_expired), 0) > now:
            raise Unauthenticated(DENIED)
        query = "?nocatalog&allow_expired=1" if allow_expired else "?nocatalog"
        headers = {"x-subject-token": token, "openstack-identity-access-rules": "1.0"}
        answer = await self._ask(f"/auth/tokens{query}", headers)
        if answer.status_code == 404:
            while len(self._unknown) >= CAPACITY:
                self._unknown.pop(next(iter(self._unknown)))
            self._unknown[key, allow_expired] = now + UNKNOWN_SECONDS * SECOND
            raise Unauthenticated(DENIED)
        if answer.status_code != 200:
            raise Unavailable(AWAY, detail=f"Keystone answered {answer.status_code} to a token's validation")
        try:
            context = to_context(answer.json()["token"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(AWAY, detail=f"Keystone's answer makes no sense: {error!r}") from error
        while len(self._known) >= CAPACITY:
            self._known.pop(next(iter(self._known)))
        known = self._known[key] = (context, now + CACHE_SECONDS * SECOND)
        return known

    async def _ask(self, path: str, headers: Mapping[str, str]) -> httpx.Response:
        """One question as the service user, signing in first where its token is missing or no longer counts."""
        for own in (self._own_token, ""):
            mine = own or await self._sign_in(self._own_token)
            answer = await self._send("GET", path, {**headers, "x-auth-token": mine})
            if answer.status_code != 401:
                return answer
        raise Unavailable(AWAY, detail="Keystone refuses the service user's new token")

    async def _sign_in(self, stale: str) -> str:
        async with self._signing_in:
            if self._own_token and self._own_token != stale:
                return self._own_token
            domain = {"name": self._account.domain}
            who = {"name": self._account.user, "password": self._account.password, "domain": domain}
            identity = {"methods": ["password"], "password": {"user": who}}
            scope = {"project": {"name": self._account.project, "domain": domain}}
            answer = await self._send(
                "POST", "/auth/tokens?nocatalog", {}, json={"auth": {"identity": identity, "scope": scope}}
            )
            if answer.status_code != 201:
                raise Unavailable(AWAY, detail=f"Keystone answered {answer.status_code} to the service user")
            own: str | None = answer.headers.get("x-subject-token")
            if not own:
                raise Unavailable(AWAY, detail="Keystone gave the service user no token")
            self._own_token = own
            return own

    async def _send(self, method: str, path: str, headers: Mapping[str, str], json: Any = None) -> httpx.Response:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                answer = await self._http.request(method, self._root + path, headers=headers, json=json)
        except (httpx.TransportError, TimeoutError) as error:
            raise Unavailable(AWAY, detail=f"Keystone at {self._root}: {error!r}") from error
        if answer.status_code >= 500:
            raise Unavailable(AWAY, detail=f"Keystone answered {answer.status_code}")
        return answer


def keystone_address(url: str) -> str:
    """The root of Keystone's version 3 API at `url`."""
    root = url.rstrip("/")
    return root if root.endswith("/v3") else f"{root}/v3"


def to_context(token: Mapping[str, Any]) -> Context:
    """A token's document (Identity API v3) as the rest of the cloud sees it. Raises KeyError, ValueError, TypeError."""
    user, project = token["user"], token.get("project")
    application = token.get("application_credential")
    trust = token.get("OS-TRUST:trust")
    roles = frozenset(role["name"] for role in token.get("roles", ()))
    rules = None if application is None else application.get("access_rules")
    return Context(
        user_id=user["id"],
        project_id=project["id"] if project else None,
        roles=roles,
        request_id="",
        user_name=user["name"],
        user_domain_id=user["domain"]["id"],
        project_name=project["name"] if project else "",
        project_domain_id=project["domain"]["id"] if project else "",
        domain_id=token["domain"]["id"] if "domain" in token else None,
        system=bool(token.get("system")),
        is_admin="admin" in roles and "domain" not in token,
        expires_at=round(datetime.fromisoformat(token["expires_at"]).timestamp() * SECOND),
        restricted=application is not None and bool(application.get("restricted", True)),
        delegated=application is not None or trust is not None or "ec2credential" in token.get("methods", ()),
        by_application=application is not None,
        trust_id=trust["id"] if trust else "",
        access_rules=None if rules is None else tuple(_rule(rule) for rule in rules),
    )


def _rule(rule: Mapping[str, Any]) -> AccessRule:
    return AccessRule(str(rule.get("id", "")), rule["service"], rule["method"], rule["path"])
