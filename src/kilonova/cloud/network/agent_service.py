"""Who realises networks: the node of every host, by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Host
from kilonova.cloud.network.ground import Ground
from kilonova.core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Agent:
    """One host's node, which does there what Neutron's L3, DHCP, metadata and Open vSwitch agents do. `updated_at`:
    when the host's record last changed; what lives beats in memory only."""

    id: str
    host: str
    zone: str
    alive: bool
    enabled: bool
    created_at: int
    updated_at: int
    kind: str = "kilonova node"
    binary: str = "kilonova"


class AgentService:
    """Queries on nodes. What is asked for here is for administrators."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def find(self, filters: Mapping[str, tuple[Any, ...]]) -> list[Agent]:
        """Every host's, by name, that has one of the values of each filter (fields of `Agent`)."""
        found = [_agent(host) for host in await self._ground.db.read(hosts.list_all)]
        return [a for a in found if all(getattr(a, name) in values for name, values in filters.items())]

    async def get(self, agent_id: str) -> Agent:
        """One host's. Raises NotFound."""
        found = await self.find({"id": (agent_id,)})
        if not found:
            raise NotFound(f"Agent {agent_id[:64]} could not be found.", why="agent_not_found")
        return found[0]

    async def zones(self) -> dict[str, bool]:
        """The zones that hosts are in, and whether a host there is up and enabled."""
        zones: dict[str, bool] = {}
        for one in await self.find({}):
            zones[one.zone] = zones.get(one.zone, False) or (one.alive and one.enabled)
        return zones


def _agent(host: Host) -> Agent:
    return Agent(host.id, host.name, host.zone, host.up, host.enabled, host.created_at, host.updated_at)
