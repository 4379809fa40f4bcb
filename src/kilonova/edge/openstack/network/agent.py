"""Nodes as Neutron's clients look for them, and the zones that they are in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.network.agent_service import Agent
from kilonova.cloud.network.service import NetworkServices
from kilonova.edge.openstack.network.attribute import Attribute
from kilonova.edge.openstack.network.listing import pick, read_listing
from kilonova.edge.openstack.network.view import time_of
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

_RESOURCES: Final = ("network", "router")
_AGENT: Final = (
    Attribute("id", "id"),
    Attribute("host", "host"),
    Attribute("availability_zone", "zone"),
    Attribute("agent_type", "kind"),
    Attribute("binary", "binary"),
    Attribute("alive", "alive", query="flag"),
    Attribute("admin_state_up", "enabled", query="flag"),
)


class AgentRoutes:
    """`/agents` and `/availability_zones`."""

    def __init__(self, services: NetworkServices) -> None:
        self._agents = services.agents

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/agents", self.list, "get_agents"),
            Route("GET", "/agents/{id}", self.show, "get_agent"),
            Route("GET", "/availability_zones", self.zones, "get_availability_zone"),
        ]

    async def list(self, request: Request) -> Answer:
        """Nothing for whom policy lets see no agent, as Neutron has it."""
        listing = read_listing(request, _AGENT)
        found = await self._agents.find(listing.filters) if request.permits("get_agent") else []
        return {"agents": [pick(request, _view(one)) for one in found]}

    async def show(self, request: Request) -> Answer:
        return {"agent": pick(request, _view(await self._agents.get(request.params["id"])))}

    async def zones(self, request: Request) -> Answer:
        """Where a host is, networks and routers are."""
        found = await self._agents.zones()
        return {
            "availability_zones": [
                {"name": name, "resource": resource, "state": "available" if is_up else "unavailable"}
                for name, is_up in sorted(found.items())
                for resource in _RESOURCES
            ]
        }


def _view(one: Agent) -> Mapping[str, Any]:
    """API reference, "Agents"."""
    return {
        "id": one.id,
        "agent_type": one.kind,
        "binary": one.binary,
        "topic": "N/A",
        "host": one.host,
        "availability_zone": one.zone,
        "alive": one.alive,
        "admin_state_up": one.enabled,
        "description": None,
        "configurations": {},
        "created_at": time_of(one.created_at),
        "started_at": time_of(one.created_at),
        "heartbeat_timestamp": time_of(one.updated_at),
    }
