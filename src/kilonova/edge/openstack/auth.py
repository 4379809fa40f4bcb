"""Who may come in: the gate of every OpenStack service, and the service that stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kilonova.cloud.identity.authenticator import Authenticator
from kilonova.core.context import Context
from kilonova.core.errors import Unauthenticated
from kilonova.core.ids import is_uuid
from kilonova.edge.openstack.fault import DENIED
from kilonova.edge.openstack.policy import Enforcer
from kilonova.kit.http import Request, Route, Service, Versioning
from kilonova.kit.http.route import Fault

FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {"uuid": is_uuid}
"""JSON Schema formats as OpenStack means them: a UUID with or without dashes."""

REQUEST_ID: Final = "x-openstack-request-id"


class Gate:
    """X-Auth-Token → the caller, and policy."""

    def __init__(self, authenticator: Authenticator, enforcer: Enforcer) -> None:
        self._authenticator = authenticator
        self._enforcer = enforcer

    async def authenticate(self, request: Request) -> Context:
        """The caller. Raises Unauthenticated without a token that counts."""
        token = request.header("x-auth-token")
        if not token:
            raise Unauthenticated(DENIED)
        return await self._authenticator.context(token, request.request_id)

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        """Whether policy lets the caller do `rule` to `target`."""
        return self._enforcer.permits(context, rule, target)


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
    )
