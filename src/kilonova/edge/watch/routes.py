"""`/kilonova/v1`: the API behind `kilonova story`, `kilonova explain` and `kilonova status`, and the events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kilonova.cloud.audit.service import Audit
from kilonova.cloud.flavor.model import Flavor, FlavorFilter, FlavorPage
from kilonova.cloud.flavor.service import FlavorService
from kilonova.cloud.host.service import HostService
from kilonova.cloud.server.census import Census
from kilonova.cloud.server.drain import Drains
from kilonova.cloud.server.model import FlavorCopy
from kilonova.cloud.server.service import ServerService
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Failure, Forbidden, NotFound
from kilonova.core.ids import is_uuid
from kilonova.edge.watch import policy, view
from kilonova.edge.watch.stream import Streams
from kilonova.kit.http import Gate, MethodNotAllowed, Request, Response, Route, Service, status_of
from kilonova.kit.http.request import own

_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 255}
_EXPLAIN: Final = {
    "type": "object",
    "properties": {"flavor": _NAME, "zone": _NAME, "host": _NAME},
    "required": ["flavor"],
    "additionalProperties": False,
}

_DRAIN: Final = {
    "type": "object",
    "properties": {"reason": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}


class WatchRoutes:
    """Handlers. What names hosts or other projects is shown to whom policy lets see it."""

    def __init__(
        self,
        servers: ServerService,
        flavors: FlavorService,
        hosts: HostService,
        census: Census,
        audit: Audit,
        version: str,
        gate: Gate,
        drains: Drains,
    ) -> None:
        self._drains = drains
        self._gate = gate
        self._servers = servers
        self._flavors = flavors
        self._hosts = hosts
        self._census = census
        self._audit = audit
        self._version = version

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/servers/{server_id}/story", self.tell, policy.TELL),
            Route("POST", "/v1/explain", self.explain, policy.EXPLAIN, schema=_EXPLAIN),
            Route("POST", "/v1/hosts/{host}/drain", self.drain, policy.DRAIN, schema=_DRAIN, success=202),
            Route("GET", "/v1/hosts/{host}/drain", self.show_drain, policy.DRAIN),
            Route("DELETE", "/v1/hosts/{host}/drain", self.cancel_drain, policy.DRAIN, success=204),
            Route("GET", "/v1/status", self.show_status, policy.STATUS),
            Route("POST", "/v1/doctor", self.examine, policy.DOCTOR),
        ]

    async def tell(self, request: Request) -> dict[str, Any]:
        """Every operation on a server, living or gone, to its project and to operators."""
        context, server_id = request.context, request.params["server_id"]
        if not is_uuid(server_id):
            raise NotFound(f"Instance {server_id[:64]} could not be found.")
        operator = self._gate.permits(context, policy.TELL_ALL, own(context))
        tales = await self._servers.story(ALL if operator else context.scope, server_id)
        return view.story(server_id, tales, operator=operator)

    async def explain(self, request: Request) -> dict[str, Any]:
        """Where a server of this flavor (id or name) would go now. Raises NotFound; Forbidden to name a host."""
        context, asked = request.context, request.json
        operator = self._gate.permits(context, policy.EXPLAIN_HOST, own(context))
        if asked.get("host") and not operator:
            raise Forbidden("Only administrators can ask about a host.", rule=policy.EXPLAIN_HOST)
        flavor = await self._flavor(context, asked["flavor"])
        project = request.context.project_id or ""
        found = await self._servers.explain(_copy(flavor), asked.get("zone"), asked.get("host"), project)
        names = await self._hosts.states() if operator else {}
        return view.decision(found, names, operator=operator)

    async def drain(self, request: Request) -> dict[str, Any]:
        """Move every server from a host, which is disabled. Again while that goes on only tells how far it is."""
        host = await self._hosts.find(request.params["host"])
        reason = request.json.get("reason", "")
        return view.drain(host, await self._drains.start(request.context, host.id, reason))

    async def show_drain(self, request: Request) -> dict[str, Any]:
        """How far it is."""
        host = await self._hosts.find(request.params["host"])
        return view.drain(host, await self._drains.show(host.id))

    async def cancel_drain(self, request: Request) -> None:
        """Move no more; the host stays disabled."""
        await self._drains.cancel((await self._hosts.find(request.params["host"])).id)

    async def show_status(self, request: Request) -> dict[str, Any]:
        """The cloud in numbers."""
        return view.status(await self._census.take(), self._version)

    async def examine(self, request: Request) -> dict[str, Any]:
        """Everything that should not be there, asked of rows and nodes."""
        return view.findings(await self._audit.run())

    async def _flavor(self, context: Context, asked: str) -> Flavor:
        try:
            return await self._flavors.get(context, asked)
        except NotFound:
            for flavor in await self._flavors.list(context, FlavorFilter(None, name_contains=asked), FlavorPage()):
                if flavor.name == asked:
                    return flavor
            raise


def build_watch(
    servers: ServerService,
    flavors: FlavorService,
    hosts: HostService,
    census: Census,
    audit: Audit,
    gate: Gate,
    version: str,
    drains: Drains,
    streams: Streams,
    *,
    prefix: str = "/kilonova",
    observe: Callable[[str, str, int, float], None] | None = None,
) -> Service:
    """The service, to be served at `prefix`. `version` is kilonova's own."""
    own = WatchRoutes(servers, flavors, hosts, census, audit, version, gate, drains).routes()
    routes = [*own, *streams.routes()]
    return Service("kilonova", prefix, routes, fault, gate, observe=observe)


def fault(failure: Failure, request: Request) -> Response:
    """`{"error": {"code": 404, "kind": "not_found", "message": …}}`."""
    code = status_of(failure)
    headers = [("allow", ", ".join(failure.facts["allow"]))] if isinstance(failure, MethodNotAllowed) else []
    return Response.json({"error": {"code": code, "kind": failure.code, "message": failure.message}}, code, headers)


def _copy(flavor: Flavor) -> FlavorCopy:
    return FlavorCopy(
        id=flavor.id,
        name=flavor.name,
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        root_gb=flavor.root_gb,
        ephemeral_gb=flavor.ephemeral_gb,
        swap_mb=flavor.swap_mb,
        extra_specs=dict(flavor.extra_specs),
    )
