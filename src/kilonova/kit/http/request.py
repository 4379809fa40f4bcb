"""A request as its handler sees it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from kilonova.core.context import Context
from kilonova.core.errors import Expired, Invalid, Unauthenticated
from kilonova.kit.http import body

if TYPE_CHECKING:
    from kilonova.kit.http.route import Route, Service
    from kilonova.kit.http.version import Version

_HOST: Final = re.compile(r"^[A-Za-z0-9._-]{1,255}(:\d{1,5})?$|^\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?$")
MAX_PARAMETERS: Final = 1000


class Request:
    """One request. `params`: the path's parameters, decoded; `json`: the checked body; `version`: the API version
    served ((0, 0) where the service has none); `state`: a place for what the gate wants to hand on to handlers."""

    __slots__ = (
        "_context",
        "_headers",
        "_query",
        "_receive",
        "base_url",
        "global_request_id",
        "json",
        "method",
        "params",
        "path",
        "request_id",
        "route",
        "scope",
        "service",
        "state",
        "version",
    )

    def __init__(self, scope: MutableMapping[str, Any], receive: body.Receive, request_id: str, base_url: str) -> None:
        self.scope = scope
        self._receive = receive
        self.request_id = request_id
        self.base_url = base_url
        self.global_request_id = ""
        self.method: str = scope["method"]
        self.path = ""
        self.params: dict[str, str] = {}
        self.json: Any = None
        self.version: Version = (0, 0)
        self.state: dict[str, Any] = {}
        self.route: Route | None = None
        self.service: Service | None = None
        self._context: Context | None = None
        self._headers: dict[bytes, bytes] | None = None
        self._query: dict[str, list[str]] | None = None

    @property
    def context(self) -> Context:
        """The caller. Raises Unauthenticated on a public route that nobody authenticated."""
        if self._context is None:
            raise Unauthenticated("The request you have made requires authentication.")
        return self._context

    @property
    def caller(self) -> Context | None:
        """The caller, or None while nobody is authenticated."""
        return self._context

    def admit(self, context: Context) -> None:
        """Remember who asks."""
        self._context = context

    def permits(self, rule: str, **target: str | None) -> bool:
        """Whether policy lets the caller do another rule than the route's own (to show hidden fields, say).

        The target is the caller's own project and user unless said otherwise.
        """
        service, context = self.service, self.context
        if service is None or service.gate is None:
            return False
        return service.gate.permits(context, rule, {**own(context), **target})

    def header(self, name: str) -> str | None:
        """A header by its lower-case name; the last one if there are several."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        value = self._headers.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    @property
    def query(self) -> dict[str, list[str]]:
        """Every query parameter with its values in order. Raises Invalid for what is not UTF-8 or holds a NUL."""
        if self._query is None:
            self._query = parse_query(self.scope["query_string"])
        return self._query

    def query_one(self, name: str) -> str | None:
        """The first value of a query parameter, or None."""
        values = self.query.get(name)
        return values[0] if values else None

    @property
    def service_url(self) -> str:
        """`http://host:port/prefix` of this service as the client reaches it: the root of links."""
        return self.base_url + (self.service.prefix if self.service else "")

    @property
    def content_length(self) -> int | None:
        """The announced length of the body in bytes, or None."""
        value = self.header("content-length")
        return int(value) if value is not None and value.isdecimal() else None

    async def read(self, limit: int) -> bytes:
        """The raw body. Raises TooLarge beyond `limit` bytes, ClientGone when it is cut off."""
        return await body.read(self._receive, limit)

    def stream(self, limit: int | None = None) -> AsyncIterator[bytes]:
        """The raw body chunk by chunk, with backpressure. Raises TooLarge beyond `limit` bytes, ClientGone when it is
        cut off, Expired when nothing comes for the route's deadline."""
        return body.stream(self._patient, limit)

    async def _patient(self) -> Any:
        seconds = self.route.deadline if self.route else 60.0
        try:
            async with asyncio.timeout(seconds):
                return await self._receive()
        except TimeoutError:
            raise Expired(f"No data arrived for {seconds:g} seconds") from None


def own(context: Context) -> dict[str, str | None]:
    """The policy target that is the caller itself."""
    return {"project_id": context.project_id, "user_id": context.user_id}


def parse_query(raw: bytes) -> dict[str, list[str]]:
    """A query string as lists of values. Raises Invalid."""
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise Invalid("The query string is malformed: not UTF-8, or too many parameters") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if "\x00" in name or "\x00" in value:
            raise Invalid("The query string is malformed: it holds a NUL character")
        found.setdefault(name, []).append(value)
    return found


def base_url(scope: Mapping[str, Any], *, public_url: str, trust_forwarded: bool) -> str:
    """`scheme://host[:port]` by which the client reaches this listener: `public_url` where one is set, else from the
    Host header, and from X-Forwarded-Proto / -Host only where a proxy that sets them is trusted."""
    if public_url:
        return public_url.rstrip("/")
    host, scheme = "", scope.get("scheme", "http")
    for name, value in scope["headers"]:
        if name == b"host" and not host:
            host = value.decode("latin-1")
        elif trust_forwarded and name == b"x-forwarded-host":
            host = value.decode("latin-1").split(",")[0].strip()
        elif trust_forwarded and name == b"x-forwarded-proto":
            offered = value.decode("latin-1").split(",")[0].strip()
            scheme = offered if offered in ("http", "https") else scheme
    if not _HOST.match(host):
        address, port = scope.get("server") or ("localhost", None)
        host = f"[{address}]" if ":" in address else address
        host = f"{host}:{port}" if port else host
    return f"{scheme}://{host}"
