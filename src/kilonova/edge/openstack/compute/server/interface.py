"""`/servers/{id}/os-interface`: the NICs of a server (API reference "Port interfaces")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.network.allocation import Allocation
from kilonova.cloud.network.model import NicRequest, Port
from kilonova.cloud.server.nic import ServerNics
from kilonova.cloud.server.service import ServerService
from kilonova.core.errors import Invalid, NoCapacity, NotFound
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import ADDRESS, UUID, record
from kilonova.edge.openstack.compute.server.attempt import attempt
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.edge.openstack.compute.server.schema import TAG
from kilonova.kit.http import Request, Route, VersionedSchemas
from kilonova.kit.http.schema import JsonSchema


def _body(more: Mapping[str, JsonSchema]) -> JsonSchema:
    address = {"type": "object", "properties": {"ip_address": ADDRESS}, "required": ["ip_address"],
               "additionalProperties": False}  # fmt: skip
    properties = {"net_id": UUID, "port_id": UUID, "fixed_ips": {"type": "array", "items": address, "minItems": 1,
                  "maxItems": 1}, **more}  # fmt: skip
    shape = {"type": "object", "properties": properties, "additionalProperties": False}
    return record({"interfaceAttachment": shape}, "interfaceAttachment")


_ATTACH: Final = VersionedSchemas({(2, 1): _body({}), (2, 49): _body({"tag": TAG})})


class InterfaceRoutes:
    """Handlers of NICs."""

    def __init__(self, servers: ServerService, nics: Allocation, changes: ServerNics) -> None:
        self._servers = servers
        self._nics = nics
        self._changes = changes

    def routes(self) -> list[Route]:
        every, rule = "/servers/{server_id}/os-interface", f"{PREFIX}os-attach-interfaces:"
        return [
            Route("GET", every, self.index, f"{rule}list"),
            Route("GET", every + "/{port_id}", self.show, f"{rule}show"),
            Route("POST", every, self.attach, f"{rule}create", schema=_ATTACH),
            Route("DELETE", every + "/{port_id}", self.detach, f"{rule}delete", success=202),
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

    async def attach(self, request: Request) -> dict[str, Any]:
        """API reference "Create Interface"; answered when the guest has it, at the latest after some seconds."""
        wanted = request.json["interfaceAttachment"]
        network, port, addresses = (wanted.get(name) for name in ("net_id", "port_id", "fixed_ips"))
        if network and port:
            raise Invalid("Must not input both network_id and port_id")
        if addresses and not network:
            raise Invalid("Must input network_id when request IP address")
        fixed_ip = addresses[0]["ip_address"] if addresses else None
        asked = NicRequest(network_id=network, port_id=port, fixed_ip=fixed_ip, tag=wanted.get("tag"))
        identifier = server_id(request)
        work = self._changes.attach(request.context, reach(request), identifier, asked)
        try:
            made = await attempt("attach_interface", identifier, work)
        except NoCapacity as failure:
            raise Invalid(failure.message) from None
        return {"interfaceAttachment": _shown(made, request)}

    async def detach(self, request: Request) -> None:
        """API reference "Detach Interface"."""
        identifier = server_id(request)
        work = self._changes.detach(request.context, reach(request), identifier, request.params["port_id"])
        await attempt("detach_interface", identifier, work)

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
