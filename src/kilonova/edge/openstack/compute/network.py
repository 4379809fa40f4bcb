"""`/os-networks` and `/os-tenant-networks`, to 2.35: the networks that a project may use, to look at."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.network.model import Listing, Network, Subnet
from kilonova.cloud.network.service import NetworkServices
from kilonova.core.errors import NotFound
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.kit.http import Request, Route

LAST: Final = (2, 35)
_UNKNOWN: Final = (
    "bridge", "bridge_interface", "broadcast", "cidr", "cidr_v6", "created_at", "deleted", "deleted_at", "dhcp_server",
    "dhcp_start", "dns1", "dns2", "enable_dhcp", "gateway", "gateway_v6", "host", "injected", "mtu", "multi_host",
    "netmask", "netmask_v6", "priority", "project_id", "rxtx_base", "share_address", "updated_at", "vlan",
    "vpn_private_address", "vpn_public_address", "vpn_public_port",
)  # fmt: skip
"""What only Nova's own networks had; null for those of a network service."""


class NetworkRoutes:
    """Handlers of networks by either name."""

    def __init__(self, networks: NetworkServices) -> None:
        self._networks = networks

    def routes(self) -> list[Route]:
        every, mine = "/os-networks", "/os-tenant-networks"
        one = "/{network_id}"
        return [
            Route("GET", every, self.list_full, f"{PREFIX}os-networks:list", max_version=LAST),
            Route("GET", every + one, self.show, f"{PREFIX}os-networks:show", max_version=LAST),
            Route("GET", mine, self.list_mine, f"{PREFIX}os-tenant-networks:list", max_version=LAST),
            Route("GET", mine + one, self.show_mine, f"{PREFIX}os-tenant-networks:show", max_version=LAST),
        ]

    async def list_full(self, request: Request) -> dict[str, Any]:
        return {"networks": [_full(one) for one in await self._find(request)]}

    async def show(self, request: Request) -> dict[str, Any]:
        return {"network": _full(await self._get(request))}

    async def list_mine(self, request: Request) -> dict[str, Any]:
        """With the prefix of the first subnet of each."""
        found = await self._find(request)
        subnets = await self._subnets(request, found)
        return {"networks": [_brief(one, subnets) for one in found]}

    async def show_mine(self, request: Request) -> dict[str, Any]:
        found = await self._get(request)
        return {"network": _brief(found, await self._subnets(request, [found]))}

    async def _find(self, request: Request) -> list[Network]:
        return await self._networks.networks.find(request.context, Listing(sort=(("name", True),)))

    async def _get(self, request: Request) -> Network:
        try:
            return await self._networks.networks.get(request.context, request.params["network_id"])
        except NotFound:
            raise NotFound("Network not found") from None

    async def _subnets(self, request: Request, networks: list[Network]) -> dict[str, Subnet]:
        wanted = tuple(one.subnets[0] for one in networks if one.subnets)
        if not wanted:
            return {}
        found = await self._networks.subnets.find(request.context, Listing(filters={"id": wanted}))
        return {subnet.network_id: subnet for subnet in found}


def _full(network: Network) -> dict[str, Any]:
    return {**dict.fromkeys(_UNKNOWN), "id": network.id, "label": network.name}


def _brief(network: Network, subnets: dict[str, Subnet]) -> dict[str, Any]:
    subnet = subnets.get(network.id)
    return {"id": network.id, "label": network.name, "cidr": subnet.cidr if subnet else "None"}
