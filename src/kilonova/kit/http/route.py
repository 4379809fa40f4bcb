"""Routes as data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from kilonova.core.context import Context
from kilonova.core.errors import Failure, NotBuilt
from kilonova.kit.http.request import Request
from kilonova.kit.http.response import Response
from kilonova.kit.http.schema import Formats, Schema
from kilonova.kit.http.version import Version, Versioning

Answer = Response | Mapping[str, Any] | list[Any] | None
Handler = Callable[[Request], Awaitable[Answer]]

PUBLIC: Final = "public"
"""Policy of a route that needs no token: version discovery, token issue, health."""
AUTHENTICATED: Final = "authenticated"
"""Policy of a route that any valid token may use without a rule (what is not built)."""

JSON_LIMIT: Final = 112 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of an API.

    `path` is relative to the service's prefix and root: `/servers/{id}`, `/servers/{id:[0-9a-f-]{36}}`, or with the
    rest of the path, slashes and all, `/objects/{key:path}`. Static segments win over parameters; a trailing slash is
    ignored. Several routes may share method and path if they differ in `action` or in their range of versions.

    `handler(request)` returns a `Response`, or a dict / list (JSON with status `success`), or None (`success`, no
    body). HEAD is answered wherever GET is. `method="*"` takes every method that no other route of the path takes.

    `body` is what the route takes: "json" (the default of POST, PUT and PATCH: decoded into `request.json`, None when
    empty; checked against `schema` when there is one), "stream" (the handler reads `request.stream()`; no deadline but
    `deadline` between two chunks), "none" (ignored; the default of other methods).

    `action`: of several routes with this method and path, the one whose action is the name of the body's sole member.
    `query`: a schema from `schema.query`; it sees each parameter as a list of strings.
    `policy`: a rule of the service's policy, `PUBLIC`, or `AUTHENTICATED`. It is asked about the caller's own project
    and user, overridden by path parameters of these names (`project_id`, `user_id`) and by what `target(request)` finds
    out. `deadline`: seconds for the whole request, answered by 503 when they pass. `private`: its path holds a
    secret, so logs show the pattern.
    """

    method: str
    path: str
    handler: Handler
    policy: str
    schema: Schema = None
    query: Schema = None
    action: str = ""
    success: int = 200
    body: Literal["json", "stream", "none"] | None = None
    min_version: Version | None = None
    max_version: Version | None = None
    max_body: int = JSON_LIMIT
    deadline: float = 60.0
    media: tuple[str, ...] = ("application/json",)
    target: Callable[[Request], Awaitable[Mapping[str, str | None]]] | None = None
    private: bool = False

    @property
    def takes(self) -> str:
        """What body it takes, the default applied."""
        return self.body or ("json" if self.method in ("POST", "PUT", "PATCH") else "none")

    def serves(self, version: Version) -> bool:
        """Whether this route exists at `version`."""
        return (self.min_version is None or self.min_version <= version) and (
            self.max_version is None or version <= self.max_version
        )


class Gate(Protocol):
    """Who may come in."""

    async def authenticate(self, request: Request) -> Context:
        """The caller. Raises Unauthenticated."""

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        """Whether policy lets the caller do `rule` to `target`. An unknown rule permits nothing."""


Fault = Callable[[Failure, Request], Response]
"""A failure in the words of a dialect."""


@dataclass(frozen=True, slots=True)
class Service:
    """The routes of one service and what they share.

    `prefix` is where it lies on the listener (`/compute`; "" for a listener of its own); every route is there under
    each of `roots` (`("/v2.1", "/v2.1/{project_id}")`). `request_id_headers`: set on every answer; the first is also
    read from the request: a valid id there is remembered as `request.global_request_id`.
    `observe(service, path, status, seconds)` is told of every answer. `check(request)` raises what the dialect refuses
    by the headers, before a body is read.
    """

    name: str
    prefix: str
    routes: Sequence[Route]
    fault: Fault
    gate: Gate | None = None
    roots: Sequence[str] = ("",)
    versioning: Versioning | None = None
    request_id_headers: Sequence[str] = ("x-request-id",)
    formats: Formats = field(default_factory=dict)
    observe: Callable[[str, str, int, float], None] | None = None
    check: Callable[[Request], None] | None = None


def unbuilt(*paths: str) -> list[Route]:
    """Routes for what the dialect has and kilonova does not: 501 for every method, never a false success."""
    return [Route("*", path, refuse_unbuilt, AUTHENTICATED, body="none") for path in paths]


async def refuse_unbuilt(request: Request) -> Answer:
    """The handler of what is not built."""
    raise NotBuilt("This operation is not implemented")
