"""`/` (what is here), `/health` (the process answers), `/ready` (it can work), `/metrics` (Prometheus)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kilonova.core.errors import Failure
from kilonova.kit.http import PUBLIC, Request, Response, Route, Service, status_of


class WebEdge:
    """`index` is what `/` says; `ready` answers what is missing, by part, empty when all is well."""

    def __init__(
        self,
        index: Mapping[str, Any],
        ready: Callable[[], Awaitable[Mapping[str, str]]],
        metrics: Callable[[], bytes],
    ) -> None:
        self._index = index
        self._ready = ready
        self._metrics = metrics

    def routes(self) -> list[Route]:
        """All of them; none needs a token, none tells anything about tenants."""
        return [
            Route("GET", "/", self.index, PUBLIC),
            Route("GET", "/health", self.health, PUBLIC),
            Route("GET", "/ready", self.ready, PUBLIC),
            Route("GET", "/metrics", self.metrics, PUBLIC),
        ]

    async def index(self, request: Request) -> Mapping[str, Any]:
        return {**self._index, "endpoints": {n: request.base_url + p for n, p in self._index["endpoints"].items()}}

    async def health(self, request: Request) -> Mapping[str, Any]:
        return {"status": "ok"}

    async def ready(self, request: Request) -> Response:
        missing = await self._ready()
        return Response.json({"ready": not missing, "missing": missing}, 503 if missing else 200)

    async def metrics(self, request: Request) -> Response:
        return Response(200, self._metrics(), [("content-type", "text/plain; version=0.0.4; charset=utf-8")])


def build_web(edge: WebEdge) -> Service:
    """The listener's own service, for every path that no other service has."""
    return Service("web", "", edge.routes(), _fault)


def _fault(failure: Failure, request: Request) -> Response:
    return Response.json({"error": {"code": failure.code, "message": failure.message}}, status_of(failure))
