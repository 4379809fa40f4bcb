"""How full networks are, for administrators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.network.availability_service import Availability
from kilonova.cloud.network.service import NetworkServices
from kilonova.edge.openstack.network.attribute import Attribute
from kilonova.edge.openstack.network.listing import links, pick, read_listing
from kilonova.edge.openstack.network.view import owner
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

_ATTRIBUTES: Final = (
    Attribute("network_id", "id"),
    Attribute("network_name", "name"),
    Attribute("project_id", "project_id"),
    Attribute("tenant_id", "project_id"),
    Attribute("ip_version", "ip_version", query="number", sortable=False),
)
_COLLECTION: Final = "network_ip_availabilities"


class AvailabilityRoutes:
    """`/network-ip-availabilities`."""

    def __init__(self, services: NetworkServices) -> None:
        self._service = services.availability

    def routes(self) -> list[Route]:
        path, rule = "/network-ip-availabilities", "get_network_ip_availability"
        return [Route("GET", path, self.list, rule), Route("GET", f"{path}/{{id}}", self.show, rule)]

    async def list(self, request: Request) -> Answer:
        listing = read_listing(request, _ATTRIBUTES)
        rows = await self._service.find(request.context, listing)
        shown = [pick(request, _view(row)) for row in rows]
        return {_COLLECTION: shown, **links(request, _COLLECTION, listing, rows)}

    async def show(self, request: Request) -> Answer:
        row = await self._service.get(request.context, request.params["id"])
        return {"network_ip_availability": pick(request, _view(row))}


def _view(row: Availability) -> Mapping[str, Any]:
    """API reference, "Network IP availability and usage stats"."""
    return {
        "network_id": row.id,
        "network_name": row.name,
        **owner(row.project_id),
        "total_ips": sum(s.total for s in row.subnets),
        "used_ips": sum(s.used for s in row.subnets),
        "subnet_ip_availability": [
            {
                "subnet_id": s.id, "subnet_name": s.name, "cidr": s.cidr, "ip_version": s.ip_version,
                "total_ips": s.total, "used_ips": s.used,
            }
            for s in row.subnets
        ],
    }  # fmt: skip
