"""`/servers/{id}/os-interface`: the NICs of a server (API reference "Port interfaces"). They do not come and go yet."""

from __future__ import annotations

from typing import Any

from kilonova.cloud.network.allocation import Allocation
from kilonova.cloud.network.model import Port
from kilonova.cloud.server.service import ServerService
from kilonova.core.errors import NotFound
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.kit.http import Request, Route


class InterfaceRoutes:
    """Handlers of NICs."""

    def __init__(self, servers: ServerService, nics: Allocation) -> None:
        self._servers = servers
        self._nics = nics

    def routes(self) -> list[Route]:
        every, rule = "/servers/{server_id}/os-interface", f"{PREFIX}os-attach-interfaces:"
        return [
            Route("GET", every, self.index, f"{rule}list"),
            Route("GET", every + "/{port_id}", self.show, f"{rule}show"),
        ]

    async def index(self, request: Request) -> dict[str, Any]:
        return {"interfaceAttachments": [_shown(port, request) for port in await self._ports(request)]}

    async def show(self, request: Request) -> dict[str, Any]:
        """One NIC by its port. Raises NotFound for a port that is not this server's."""
        asked = request.params["port_id"]
        for port in await self._ports(request):
            if port.id == asked:
                return {"interfaceAttachment": _shown(port, request)}
        raise NotFound(f"Instance {server_id(request)} has no port {asked[:64]}")

    async def _ports(self, request: Request) -> list[Port]:
        server = await self._servers.get(reach(request), server_id(request))
        return await self._nics.ports(server.id)


def _shown(port: Port, request: Request) -> dict[str, Any]:
    shown = {
        "port_state": port.status,
        "fixed_ips": [{"subnet_id": ip.subnet_id, "ip_address": ip.address} for ip in port.fixed_ips],
        "net_id": port.network_id,
        "port_id": port.id,
        "mac_addr": port.mac,
    }
    return {**shown, "tag": port.tag or None} if request.version >= (2, 70) else shown
