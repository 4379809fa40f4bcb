"""Who may come in: the gate of every OpenStack service, and the service that stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from kilonova.core.context import Context
from kilonova.core.errors import Unauthenticated
from kilonova.core.ids import is_uuid
from kilonova.edge.openstack.fault import DENIED
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit.http import Request, Route, Service, Versioning
from kilonova.kit.http.route import Fault

FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {"uuid": is_uuid}
"""JSON Schema formats as OpenStack means them: a UUID with or without dashes."""

SERVICE_ROLE: Final = "service"
REQUEST_ID: Final = "x-openstack-request-id"


class Known(Protocol):
    """Who holds a token: this cloud's own identity, or another one."""

    async def context(self, token: str, request_id: str) -> Context:
        """The caller. Raises Unauthenticated, Unavailable."""

    async def lenient_context(self, token: str, request_id: str) -> Context:
        """As `context`, for a token that may have expired not long ago."""


class Gate:
    """X-Auth-Token → the caller, and policy."""

    def __init__(self, authenticator: Known, enforcer: Enforcer) -> None:
        self._authenticator = authenticator
        self._enforcer = enforcer

    async def authenticate(self, request: Request) -> Context:
        """The caller. Raises Unauthenticated without a token that counts."""
        token = request.header("x-auth-token")
        if not token:
            raise Unauthenticated(DENIED)
        service_token = request.header("x-service-token")
        if service_token is not None:
            return await self._for_service(token, service_token, request.request_id)
        context = await self._authenticator.context(token, request.request_id)
        if context.access_rules is not None:
            _check_access(context, request)
        return context

    async def _for_service(self, token: str, service_token: str, request_id: str) -> Context:
        """A user's token that a service hands on with its own: the user's may have expired meanwhile, and access rules
        were about what the user asked the service. One that is bound to rules itself is no service. Raises
        Unauthenticated."""
        service = await self._authenticator.context(service_token, request_id)
        if SERVICE_ROLE not in service.roles or service.access_rules is not None:
            raise Unauthenticated(DENIED)
        return await self._authenticator.lenient_context(token, request_id)

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        """Whether policy lets the caller do `rule` to `target`."""
        return self._enforcer.permits(context, rule, target)


def _check_access(context: Context, request: Request) -> None:
    """The request must be one that the caller's access rules name, by its path with or without the service's place on
    this listener. Raises Unauthenticated, as keystonemiddleware does."""
    service = request.service
    if service is None:
        raise Unauthenticated(DENIED)
    paths = (request.path, request.path.removeprefix(service.prefix))
    if service.name == "identity" and request.method == "GET" and paths[1] == "/v3/auth/tokens":
        return
    rules = context.access_rules or ()
    if not any(rule.permits(service.name, request.method, path) for rule in rules for path in paths):
        raise Unauthenticated(DENIED)


def build_service(
    name: str,
    prefix: str,
    routes: Sequence[Route],
    gate: Gate,
    fault: Fault,
    *,
    roots: Sequence[str] = ("",),
    versioning: Versioning | None = None,
    observe: Callable[[str, str, int, float], None] | None = None,
    check: Callable[[Request], None] | None = None,
) -> Service:
    """A service with what all OpenStack services share: request id headers and formats.

    For Compute: `roots=("/v2.1", "/v2.1/{project_id}")` and
    `versioning=Versioning("compute", (2, 1), …, "OpenStack-API-Version", "X-OpenStack-Nova-API-Version")`.
    """
    own = ("x-compute-request-id",) if name == "compute" else ()
    return Service(
        name=name,
        prefix=prefix,
        routes=routes,
        fault=fault,
        gate=gate,
        roots=roots,
        versioning=versioning,
        request_id_headers=(REQUEST_ID, *own),
        formats=FORMATS,
        observe=observe,
        check=check,
    )
