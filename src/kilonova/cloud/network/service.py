"""The network service: its commands by resource, and what boots and nodes need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kilonova.cloud.network.address_group_service import AddressGroupService
from kilonova.cloud.network.agent_service import AgentService
from kilonova.cloud.network.allocation import Allocation
from kilonova.cloud.network.attachment import Attachments
from kilonova.cloud.network.availability_service import AvailabilityService
from kilonova.cloud.network.floating_service import FloatingIpService
from kilonova.cloud.network.forwarding_service import ForwardingService
from kilonova.cloud.network.grant_service import GrantService
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.group_service import GroupService
from kilonova.cloud.network.network_service import NetworkService
from kilonova.cloud.network.pool_service import AddressScopeService, SubnetPoolService
from kilonova.cloud.network.port_service import PortService
from kilonova.cloud.network.router_service import RouterService
from kilonova.cloud.network.subnet_service import SubnetService
from kilonova.cloud.network.tag_service import TagService
from kilonova.cloud.quota import store as quota
from kilonova.cloud.quota.model import Use
from kilonova.core.errors import Invalid
from kilonova.kit.db import Tx

RESOURCES: Final = (
    "network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule", "subnetpool",
    "rbac_policy",
)  # fmt: skip
"""What is limited here."""


class LimitService:
    """Limits of projects on networks."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def get(self, project_id: str) -> dict[str, Use]:
        """Limit and use of every resource."""
        return await self._ground.db.read(lambda tx: quota.uses(tx, project_id, RESOURCES))

    async def set(self, project_id: str, limits: Mapping[str, int], *, check: bool = False) -> dict[str, Use]:
        """Set limits (-1: none); they may lie below the present use, unless `check`: that raises Invalid then."""

        def work(tx: Tx) -> dict[str, Use]:
            for name, use in quota.uses(tx, project_id, limits if check else ()).items():
                if 0 <= limits[name] < use.used:
                    raise Invalid(f"Quota limit {limits[name]} of {name} is lower than its use, {use.used}.")
            for resource in RESOURCES:
                if resource in limits:
                    quota.set_limit(tx, project_id, resource, limits[resource])
            return quota.uses(tx, project_id, RESOURCES)

        return await self._ground.db.write(work)

    async def reset(self, project_id: str) -> None:
        """Go back to the defaults."""
        await self._ground.db.write(lambda tx: quota.reset_limits(tx, project_id, RESOURCES))

    async def own(self) -> dict[str, dict[str, int]]:
        """Every limit of the projects that have any of their own here, by project."""

        def work(tx: Tx) -> dict[str, dict[str, int]]:
            found = quota.own_limits(tx, RESOURCES)
            return {project_id: {**_defaults(tx), **limits} for project_id, limits in found.items()}

        return await self._ground.db.read(work)

    async def defaults(self) -> dict[str, int]:
        """The limits of a project that has none of its own."""
        return await self._ground.db.read(_defaults)


def _defaults(tx: Tx) -> dict[str, int]:
    known = quota.defaults(tx)
    return {resource: known[resource] for resource in RESOURCES}


class NetworkServices:
    """Everything of this noun that others call; one object to hand around."""

    def __init__(self, ground: Ground) -> None:
        self.networks = NetworkService(ground)
        self.subnets = SubnetService(ground)
        self.ports = PortService(ground)
        self.routers = RouterService(ground)
        self.groups = GroupService(ground)
        self.floating_ips = FloatingIpService(ground)
        self.forwardings = ForwardingService(ground, self.floating_ips)
        self.subnet_pools = SubnetPoolService(ground)
        self.address_scopes = AddressScopeService(ground)
        self.address_groups = AddressGroupService(ground)
        self.grants = GrantService(ground)
        self.tags = TagService(ground)
        self.agents = AgentService(ground)
        self.availability = AvailabilityService(ground)
        self.limits = LimitService(ground)
        self.allocation = Allocation(ground)
        self.attachments = Attachments(ground, self.allocation)
