"""`/os-hypervisors` (API reference "Hypervisors"): hosts as what they have and what is in use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from kilonova.cloud.host.service import HostView
from kilonova.cloud.server.service import ServerService
from kilonova.core.context import ALL
from kilonova.core.errors import Invalid, NotFound
from kilonova.edge.openstack.compute.host import Hosts, number
from kilonova.edge.openstack.compute.link import page_path
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import BOOLEAN, HOST, PAGE, PAGE_ONCE, is_true
from kilonova.edge.openstack.page import next_links, read_page
from kilonova.kit.clock import SECOND
from kilonova.kit.http import Request, Route, VersionedSchemas, query, single

_PATTERN: Final = {"hypervisor_hostname_pattern": single(HOST), "with_servers": single(BOOLEAN)}
_LIST: Final = VersionedSchemas(
    {(2, 1): query({}), (2, 33): query(PAGE), (2, 53): query({**PAGE_ONCE, **_PATTERN}, additional=False)}
)
_SHOW: Final = VersionedSchemas(
    {(2, 1): query({}), (2, 53): query({"with_servers": single(BOOLEAN)}, additional=False)}
)
_RULE: Final = f"{PREFIX}os-hypervisors:"
_NUMBERS: Final = (
    "vcpus", "vcpus_used", "memory_mb", "memory_mb_used", "free_ram_mb", "local_gb", "local_gb_used",
    "free_disk_gb", "disk_available_least", "running_vms", "current_workload",
)  # fmt: skip


class HypervisorRoutes:
    """Handlers of hypervisors: one a host."""

    def __init__(self, hosts: Hosts, servers: ServerService) -> None:
        self._hosts = hosts
        self._servers = servers

    def routes(self) -> list[Route]:
        every, one = "/os-hypervisors", "/os-hypervisors/{hypervisor_id}"
        return [
            Route("GET", every, self.list_brief, f"{_RULE}list", query=_LIST),
            Route("GET", f"{every}/detail", self.list_detail, f"{_RULE}list-detail", query=_LIST),
            Route("GET", f"{every}/statistics", self.count, f"{_RULE}statistics", max_version=(2, 87)),
            Route("GET", one, self.show, f"{_RULE}show", query=_SHOW),
            Route("GET", f"{one}/search", self.search, f"{_RULE}search", max_version=(2, 52)),
            Route("GET", f"{one}/servers", self.search, f"{_RULE}servers", max_version=(2, 52)),
            Route("GET", f"{one}/uptime", self.show_uptime, f"{_RULE}uptime", max_version=(2, 87)),
        ]

    async def list_brief(self, request: Request) -> dict[str, Any]:
        page, links = await self._page(request)
        return {"hypervisors": [await self._brief(one, request) for one in page], **links}

    async def list_detail(self, request: Request) -> dict[str, Any]:
        page, links = await self._page(request)
        return {"hypervisors": [await self._detail(one, request) for one in page], **links}

    async def show(self, request: Request) -> dict[str, Any]:
        return {"hypervisor": await self._detail(await self._one(request), request)}

    async def show_uptime(self, request: Request) -> dict[str, Any]:
        """How long its machine has been up; as with Nova, a host that is down cannot be asked."""
        one = await self._one(request)
        uptime = _uptime(one)
        if uptime is None:
            raise Invalid(f"Compute host {one.host.name} is down, or has not told since when it is up.")
        return {"hypervisor": {**await self._brief(one, request), "uptime": uptime}}

    async def search(self, request: Request) -> dict[str, Any]:
        """Below 2.53: by a part of the name; `/servers` with what runs there."""
        text = request.params["hypervisor_id"]
        found = [one for one in await self._hosts.list() if text in one.host.name]
        if not found:
            raise NotFound(f"No hypervisor matching '{text[:64]}' could be found.")
        listing = request.route is not None and request.route.path.endswith("/servers")
        return {"hypervisors": [await self._brief(one, request, listing=listing) for one in found]}

    async def count(self, request: Request) -> dict[str, Any]:
        used = [_numbers(one) for one in await self._hosts.list() if one.host.enabled]
        sums = {name: sum(one[name] for one in used) for name in _NUMBERS}
        return {"hypervisor_statistics": {"count": len(used), **sums}}

    async def _one(self, request: Request) -> HostView:
        asked = request.params["hypervisor_id"]
        for one in await self._hosts.list():
            if asked == (one.host.id if request.version >= (2, 53) else str(number(one.host.id))):
                return one
        raise NotFound(f"Compute host {asked[:64]} could not be found.")

    async def _page(self, request: Request) -> tuple[Sequence[HostView], dict[str, Any]]:
        every = list(await self._hosts.list())
        if request.version < (2, 33):
            return every, {}
        pattern = request.query_one("hypervisor_hostname_pattern") if request.version >= (2, 53) else None
        if pattern is not None:
            if "limit" in request.query or "marker" in request.query:
                raise Invalid("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not "
                              "supported.")  # fmt: skip
            every = [one for one in every if pattern in one.host.name]
            if not every:
                raise NotFound(f"No hypervisor matching '{pattern}' could be found.")
        page = read_page(request)
        left = _after(every, page.marker, request)
        shown = left[: page.limit]
        last = str(_id(shown[-1], request)) if shown and len(left) > len(shown) else None
        return shown, next_links(request, "hypervisors", page_path(request), last)

    async def _brief(self, one: HostView, request: Request, *, listing: bool = False) -> dict[str, Any]:
        host = one.host
        shown: dict[str, Any] = {
            "id": _id(one, request),
            "hypervisor_hostname": host.name,
            "state": "up" if host.up else "down",
            "status": "enabled" if host.enabled else "disabled",
        }
        if listing or (request.version >= (2, 53) and is_true(request.query_one("with_servers"))):
            servers = await self._servers.page(ALL, {"host_id": host.id})
            if servers:
                shown["servers"] = [{"uuid": server.id, "name": server.name} for server in servers]
        return shown

    async def _detail(self, one: HostView, request: Request) -> dict[str, Any]:
        host, minor = one.host, request.version[1]
        shown = await self._brief(one, request)
        shown["host_ip"] = None
        shown["hypervisor_type"] = host.hypervisor_type
        shown["hypervisor_version"] = host.hypervisor_version
        shown["service"] = {
            "id": host.id if minor >= 53 else number(host.id),
            "host": host.name,
            "disabled_reason": host.disabled_reason or None,
        }
        if minor >= 88:
            return {**shown, "uptime": _uptime(one)}
        return {**shown, **_numbers(one), "cpu_info": host.cpu_info if minor < 28 else _processor(host.cpu_info)}


def _id(one: HostView, request: Request) -> str | int:
    return one.host.id if request.version >= (2, 53) else number(one.host.id)


def _after(every: list[HostView], marker: str | None, request: Request) -> list[HostView]:
    if marker is None:
        return every
    for index, one in enumerate(every):
        if str(_id(one, request)) == marker:
            return every[index + 1 :]
    raise Invalid(f"marker [{marker[:64]}] not found")


def _numbers(one: HostView) -> dict[str, int]:
    host = one.host
    return {
        "vcpus": host.vcpus_total,
        "vcpus_used": host.vcpus_used,
        "memory_mb": host.memory_total,
        "memory_mb_used": host.memory_used,
        "free_ram_mb": host.memory_total - host.memory_used,
        "local_gb": host.disk_total,
        "local_gb_used": host.disk_used,
        "free_disk_gb": host.disk_total - host.disk_used,
        "disk_available_least": host.disk_capacity - host.disk_used,
        "running_vms": one.servers,
        "current_workload": 0,
    }


def _uptime(one: HostView) -> str | None:
    """What uptime(1) prints there, without users and load, of which a host tells nothing; None while it is down."""
    host, now = one.host, datetime.now(UTC)
    if not (host.up and host.booted_at):
        return None
    up = now - datetime.fromtimestamp(host.booted_at / SECOND, UTC)
    hours, minutes = divmod(max(0, up.seconds // 60), 60)
    days = f"{up.days} day{'s' * (up.days != 1)}, " if up.days > 0 else ""
    return f" {now:%H:%M:%S} up {days}{f'{hours}:{minutes:02}' if hours else f'{minutes} min'}"


def _processor(text: str) -> dict[str, Any]:
    """What the host tells of its processor, as an object; what is no JSON object is its model's name."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = {"model": text}
    return found if isinstance(found, dict) else {"model": text}
