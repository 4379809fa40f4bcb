"""`/os-hosts`, to 2.42 (API reference "Hosts"): what each project has on a host, and whether it takes servers.

Hosts are never powered on or off from here, nor set into a maintenance mode of their hypervisor: as with Nova on
libvirt, that answers 501.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kilonova.cloud.host.model import Host
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.service import ServerService
from kilonova.core.context import ALL
from kilonova.core.errors import Invalid, NotBuilt
from kilonova.edge.openstack.compute.host import Hosts
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import TEXT, record
from kilonova.kit.http import Request, Route, multi, query
from kilonova.kit.http.schema import JsonSchema

_LAST: Final = (2, 42)
_SWITCH: Final[JsonSchema] = {"type": "string", "pattern": "^(?i:enable|disable)$"}
_UPDATE: Final = record({"status": _SWITCH, "maintenance_mode": _SWITCH})
_LIST: Final = query({"zone": multi(TEXT)})
Amounts = tuple[int, int, int]
"""Processors, MiB of memory, GiB of disk."""


class OsHostRoutes:
    """Handlers of hosts by name."""

    def __init__(self, hosts: Hosts, servers: ServerService) -> None:
        self._hosts = hosts
        self._servers = servers

    def routes(self) -> list[Route]:
        every, one, rule = "/os-hosts", "/os-hosts/{host}", f"{PREFIX}os-hosts:"
        return [
            Route("GET", every, self.list, f"{rule}list", query=_LIST, max_version=_LAST),
            Route("GET", one, self.show, f"{rule}show", max_version=_LAST),
            Route("PUT", one, self.update, f"{rule}update", schema=_UPDATE, max_version=_LAST),
        ]

    async def list(self, request: Request) -> dict[str, Any]:
        zone = request.query_one("zone")
        found = (await self._hosts.states()).values()
        shown = [
            {"host_name": host.name, "service": "compute", "zone": host.zone}
            for host in found
            if zone in (None, host.zone)
        ]
        return {"hosts": shown}

    async def show(self, request: Request) -> dict[str, Any]:
        """What there is, what is claimed, what the servers' flavors come to, and that again by project."""
        host = await self._hosts.find(request.params["host"])
        servers = await self._servers.page(ALL, {"host_id": host.id})
        projects = sorted({one.project_id for one in servers})
        rows = [
            ("(total)", (host.vcpus_total, host.memory_total, host.disk_total)),
            ("(used_now)", (host.vcpus_used, host.memory_used, host.disk_used)),
            ("(used_max)", _sum(servers)),
            *((project, _sum(one for one in servers if one.project_id == project)) for project in projects),
        ]
        return {"host": [{"resource": _resource(host, name, amounts)} for name, amounts in rows]}

    async def update(self, request: Request) -> dict[str, Any]:
        """Whether the scheduler may choose it."""
        host = await self._hosts.find(request.params["host"])
        given = request.json
        if not given:
            raise Invalid("Invalid request body")
        if "maintenance_mode" in given:
            raise NotBuilt("Hypervisors here have no maintenance mode; drain the host instead")
        on = given["status"].lower() == "enable"
        changed = await (self._hosts.enable(host.id) if on else self._hosts.disable(host.id))
        return {"host": changed.name, "status": "enabled" if changed.enabled else "disabled"}


def _sum(servers: Iterable[Server]) -> Amounts:
    flavors = [one.flavor for one in servers]
    return (
        sum(one.vcpus for one in flavors),
        sum(one.memory_mb for one in flavors),
        sum(one.root_gb + one.ephemeral_gb for one in flavors),
    )


def _resource(host: Host, project: str, amounts: Amounts) -> dict[str, Any]:
    vcpus, memory, disk = amounts
    return {"host": host.name, "project": project, "cpu": vcpus, "memory_mb": memory, "disk_gb": disk}
