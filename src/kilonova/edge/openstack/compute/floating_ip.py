"""`/os-floating-ips` and `/os-floating-ip-pools`, to 2.35: the network service's, a pool being an external network."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.network.floating_service import NewFloatingIp
from kilonova.cloud.network.model import FloatingIp, Listing, Network, Port
from kilonova.cloud.network.service import NetworkServices
from kilonova.core.context import Context
from kilonova.core.errors import Conflict, Invalid, NoCapacity, NotFound
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.kit.http import Request, Route
from kilonova.kit.http.schema import JsonSchema

LAST: Final = (2, 35)
_CREATE: Final[JsonSchema] = {
    "type": ["object", "null"],
    "properties": {"pool": {"type": ["string", "null"], "minLength": 1, "maxLength": 255}},
    "additionalProperties": False,
}


class FloatingIpRoutes:
    """Handlers of outside addresses."""

    def __init__(self, networks: NetworkServices) -> None:
        self._floating = networks.floating_ips
        self._networks = networks.networks

    def routes(self) -> list[Route]:
        every, one, rule = "/os-floating-ips", "/os-floating-ips/{floating_ip_id}", f"{PREFIX}os-floating-ips:"
        return [
            Route("GET", every, self.list, f"{rule}list", max_version=LAST),
            Route("POST", every, self.create, f"{rule}create", schema=_CREATE, max_version=LAST),
            Route("GET", one, self.show, f"{rule}show", max_version=LAST),
            Route("DELETE", one, self.delete, f"{rule}delete", success=202, max_version=LAST),
            Route("GET", "/os-floating-ip-pools", self.list_pools, f"{PREFIX}os-floating-ip-pools", max_version=LAST),
        ]

    async def list(self, request: Request) -> dict[str, Any]:
        """The project's."""
        own = Listing(filters={"project_id": (request.context.project_id,)})
        found = await self._floating.find(request.context, own)
        ports, pools = await self._floating.ports(found), await self._pools(request.context)
        return {"floating_ips": [_shown(one, ports, pools) for one in found]}

    async def show(self, request: Request) -> dict[str, Any]:
        return await self._one(request.context, await self._get(request))

    async def create(self, request: Request) -> dict[str, Any]:
        """From the pool of this name, or from the first one."""
        wanted = (request.json or {}).get("pool")
        pools = sorted((await self._pools(request.context)).values(), key=lambda pool: pool.name)
        pool = next((one for one in pools if wanted in (None, one.name, one.id)), None)
        if pool is None:
            raise NotFound("Floating IP pool not found.")
        try:
            made = await self._floating.create(request.context, NewFloatingIp(network_id=pool.id))
        except NoCapacity:
            raise NotFound(f"No more floating IPs in pool {pool.name}.") from None
        return await self._one(request.context, made)

    async def delete(self, request: Request) -> None:
        try:
            await self._floating.delete(request.context, (await self._get(request)).id)
        except Conflict as failure:
            raise Invalid(failure.message) from None

    async def list_pools(self, request: Request) -> dict[str, Any]:
        names = sorted(pool.name for pool in (await self._pools(request.context)).values())
        return {"floating_ip_pools": [{"name": name} for name in names]}

    async def _get(self, request: Request) -> FloatingIp:
        named = request.params["floating_ip_id"]
        try:
            return await self._floating.get(request.context, named)
        except NotFound:
            raise NotFound(f"Floating IP not found for ID {named[:64]}") from None

    async def _one(self, context: Context, found: FloatingIp) -> dict[str, Any]:
        ports, pools = await self._floating.ports([found]), await self._pools(context)
        return {"floating_ip": _shown(found, ports, pools)}

    async def _pools(self, context: Context) -> dict[str, Network]:
        found = await self._networks.find(context, Listing(filters={"external": (True,)}))
        return {network.id: network for network in found}


def _shown(one: FloatingIp, ports: dict[str, Port], pools: dict[str, Network]) -> dict[str, Any]:
    port, pool = ports.get(one.port_id or ""), pools.get(one.network_id)
    return {
        "id": one.id,
        "ip": one.address,
        "pool": pool.name if pool else one.network_id,
        "fixed_ip": one.fixed_address,
        "instance_id": (port.device_id or None) if port else None,
    }
