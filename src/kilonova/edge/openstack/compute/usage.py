"""`/os-simple-tenant-usage` (API reference "Usage reports"): how long which servers were there, exact to the second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from kilonova.cloud.server.model import Server
from kilonova.cloud.server.service import ServerService
from kilonova.core.context import ALL, Scope
from kilonova.core.errors import Invalid, NotFound
from kilonova.core.ids import is_uuid
from kilonova.edge.openstack.compute.link import exact, page_path, stamp
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import PAGE_ONCE, TEXT, strict_from
from kilonova.edge.openstack.compute.server.state import STATES
from kilonova.edge.openstack.page import next_links, read_page
from kilonova.kit.http import Request, Route, multi

HOUR: Final = 3600 * 1_000_000
WEEKS: Final = 4 * 7 * 24 * HOUR
CHUNK: Final = 1000
_FORMATS: Final = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f")
_QUERY: Final = strict_from(
    75, {1: {"start": multi(TEXT), "end": multi(TEXT), "detailed": multi(TEXT)}, 40: {**PAGE_ONCE}}
)


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end`, µs; what lies after `now` has not been used."""

    start: int
    end: int
    now: int

    def span(self, server: Server) -> tuple[int, int]:
        """When, within the window, the server was there."""
        began = max(self.start, server.launched_at)
        return began, max(began, min(self.end, server.terminated_at or self.now))


@dataclass(slots=True)
class Total:
    """What one project used; in hours, and MiB, vCPUs and GiB times hours."""

    hours: float = 0.0
    memory: float = 0.0
    vcpus: float = 0.0
    disk: float = 0.0
    servers: list[dict[str, Any]] = field(default_factory=list)


class UsageRoutes:
    """Handlers of usage."""

    def __init__(self, servers: ServerService) -> None:
        self._servers = servers

    def routes(self) -> list[Route]:
        every, rule = "/os-simple-tenant-usage", f"{PREFIX}os-simple-tenant-usage:"
        return [
            Route("GET", every, self.index, f"{rule}list", query=_QUERY),
            Route("GET", every + "/{tenant_id}", self.show, f"{rule}show", query=_QUERY, target=_whose),
        ]

    async def index(self, request: Request) -> dict[str, Any]:
        """All projects; each server with `detailed=1`."""
        window, detailed = _read_window(request), request.query_one("detailed") == "1"
        found, last = await self._find(request, ALL, window)
        usages = [_view(project, total, window, detailed) for project, total in _sum(found, window).items()]
        return {"tenant_usages": usages, **next_links(request, "tenant_usages", page_path(request), last)}

    async def show(self, request: Request) -> dict[str, Any]:
        project, window = request.params["tenant_id"], _read_window(request)
        found, last = await self._find(request, Scope(project), window)
        totals = _sum(found, window)
        shown = _view(project, totals[project], window, True) if totals else {}
        return {"tenant_usage": shown, **next_links(request, "tenant_usage", page_path(request), last)}

    async def _find(self, request: Request, scope: Scope, window: Window) -> tuple[list[Server], str | None]:
        """The servers that were there; from 2.40 one page, with its last one's id when there may be more."""
        if request.version < (2, 40):
            found: list[Server] = []
            while True:
                part = await self._page(scope, window, found[-1].id if found else None, CHUNK)
                found += part
                if len(part) < CHUNK:
                    return found, None
        page = read_page(request)
        if page.marker is not None and not is_uuid(page.marker):
            raise Invalid(f"marker [{page.marker[:64]}] not found")
        found = await self._page(scope, window, page.marker, page.limit + 1)
        shown = found[: page.limit]
        return shown, shown[-1].id if len(found) > len(shown) and shown else None

    async def _page(self, scope: Scope, window: Window, marker: str | None, limit: int) -> list[Server]:
        try:
            return await self._servers.used(scope, window.start, window.end, marker, limit)
        except NotFound as failure:
            raise Invalid(failure.message) from None


async def _whose(request: Request) -> Mapping[str, str | None]:
    return {"project_id": request.params["tenant_id"]}


def _read_window(request: Request) -> Window:
    now = int(datetime.now(UTC).timestamp() * 1_000_000)
    start, end = (_moment(request.query_one(name)) for name in ("start", "end"))
    window = Window(now - WEEKS if start is None else start, now if end is None else end, now)
    if window.start > window.end:
        raise Invalid("Invalid start time. The start time cannot occur after the end time.")
    return window


def _moment(text: str | None) -> int | None:
    if not text:
        return None
    for form in _FORMATS:
        try:
            found = datetime.strptime(text, form).replace(tzinfo=UTC)
            return int(found.timestamp()) * 1_000_000 + found.microsecond
        except (ValueError, OverflowError):
            continue
    raise Invalid(f"Datetime is in invalid format: {text[:64]}")


def _sum(servers: Sequence[Server], window: Window) -> dict[str, Total]:
    totals: dict[str, Total] = {}
    for server in servers:
        began, ended = window.span(server)
        hours, flavor, total = (ended - began) / HOUR, server.flavor, totals.setdefault(server.project_id, Total())
        disk = flavor.root_gb + flavor.ephemeral_gb
        total.hours += hours
        total.memory += hours * flavor.memory_mb
        total.vcpus += hours * flavor.vcpus
        total.disk += hours * disk
        total.servers.append(_view_server(server, window, hours))
    return totals


def _view_server(server: Server, window: Window, hours: float) -> dict[str, Any]:
    flavor, end = server.flavor, server.terminated_at or window.now
    return {
        "instance_id": server.id, "name": server.name, "tenant_id": server.project_id, "hours": hours,
        "flavor": flavor.name, "vcpus": flavor.vcpus, "memory_mb": flavor.memory_mb,
        "local_gb": flavor.root_gb + flavor.ephemeral_gb, "started_at": exact(server.launched_at),
        "ended_at": exact(server.terminated_at), "uptime": max(0, end - server.launched_at) // 1_000_000,
        "state": "terminated" if server.terminated_at else STATES[server.phase].vm,
    }  # fmt: skip


def _view(project: str, total: Total, window: Window, detailed: bool) -> dict[str, Any]:
    each = {"server_usages": total.servers} if detailed else {}
    return {
        "tenant_id": project, "total_hours": total.hours, "total_memory_mb_usage": total.memory,
        "total_vcpus_usage": total.vcpus, "total_local_gb_usage": total.disk,
        "start": stamp(window.start), "stop": stamp(window.end), **each,
    }  # fmt: skip
