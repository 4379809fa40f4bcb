"""Everything under `/compute`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from kilonova.cloud.aggregate.service import AggregateService
from kilonova.cloud.event.feed import Feed
from kilonova.cloud.flavor.service import FlavorService
from kilonova.cloud.host.service import HostService
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.keypair.service import KeypairService
from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.quota.service import QuotaService
from kilonova.cloud.server.action import ServerActions
from kilonova.cloud.server.attendance import Attendance
from kilonova.cloud.server.console import Consoles
from kilonova.cloud.server.group import ServerGroups
from kilonova.cloud.server.imaging import ServerImages
from kilonova.cloud.server.move import ServerMoves
from kilonova.cloud.server.nic import ServerNics
from kilonova.cloud.server.outside import OutsideEvents
from kilonova.cloud.server.service import ServerService
from kilonova.cloud.server.usage_audit import UsageAudit
from kilonova.core.context import Context
from kilonova.core.errors import Invalid
from kilonova.core.ids import NewId, new_uuid
from kilonova.edge.openstack.auth import Gate, build_service
from kilonova.edge.openstack.compute.aggregate import AggregateRoutes
from kilonova.edge.openstack.compute.empty import EmptyRoutes
from kilonova.edge.openstack.compute.extension import ExtensionRoutes
from kilonova.edge.openstack.compute.flavor import FlavorRoutes
from kilonova.edge.openstack.compute.floating_ip import FloatingIpRoutes
from kilonova.edge.openstack.compute.group import GroupRoutes
from kilonova.edge.openstack.compute.host import HostRoutes
from kilonova.edge.openstack.compute.hypervisor import HypervisorRoutes
from kilonova.edge.openstack.compute.keypair import KeypairRoutes
from kilonova.edge.openstack.compute.migration import MigrationRoutes
from kilonova.edge.openstack.compute.network import NetworkRoutes
from kilonova.edge.openstack.compute.os_host import OsHostRoutes
from kilonova.edge.openstack.compute.outside import OutsideRoutes
from kilonova.edge.openstack.compute.quota import ProjectExists, QuotaRoutes
from kilonova.edge.openstack.compute.schema import FORMATS, strict_from
from kilonova.edge.openstack.compute.security_group import SecurityGroupRoutes
from kilonova.edge.openstack.compute.server.action import ActionRoutes, Console, absent_actions
from kilonova.edge.openstack.compute.server.action_log import ActionLogRoutes
from kilonova.edge.openstack.compute.server.address import AddressActionRoutes
from kilonova.edge.openstack.compute.server.attendance import AttendanceRoutes
from kilonova.edge.openstack.compute.server.change import ChangeRoutes
from kilonova.edge.openstack.compute.server.console import ConsoleRoutes
from kilonova.edge.openstack.compute.server.create import Creation, Sources
from kilonova.edge.openstack.compute.server.imaging import ImagingRoutes
from kilonova.edge.openstack.compute.server.interface import InterfaceRoutes
from kilonova.edge.openstack.compute.server.metadata import AddressRoutes, MetadataRoutes
from kilonova.edge.openstack.compute.server.move import MoveRoutes
from kilonova.edge.openstack.compute.server.power import PowerRoutes
from kilonova.edge.openstack.compute.server.routes import ServerRoutes, Viewing
from kilonova.edge.openstack.compute.server.tag import TagRoutes
from kilonova.edge.openstack.compute.server.wait import Waiting
from kilonova.edge.openstack.compute.unbuilt import unbuilt_routes
from kilonova.edge.openstack.compute.usage import UsageRoutes
from kilonova.edge.openstack.compute.usage_audit import UsageAuditRoutes
from kilonova.edge.openstack.compute.version import VERSIONING, discovery_routes
from kilonova.edge.openstack.fault import compute_fault
from kilonova.kit.http import Request, Route, Service

NO_QUERY: Final = strict_from(102, {})
"""What takes no parameters refuses them since 2.102."""
ROOTS: Final = ("/v2.1", "/v2.1/{project_id:[0-9a-f-]+}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeServices:
    """What the Compute API stands on. `project_exists` asks identity; `console` asks the node."""

    servers: ServerService
    feed: Feed
    actions: ServerActions
    imaging: ServerImages
    moves: ServerMoves
    server_groups: ServerGroups
    server_nics: ServerNics
    attendance: Attendance
    consoles: Consoles
    outside: OutsideEvents
    usage_audit: UsageAudit
    flavors: FlavorService
    keypairs: KeypairService
    images: ImageService
    networks: NetworkServices
    quotas: QuotaService
    hosts: HostService
    aggregates: AggregateService
    console: Console
    project_exists: ProjectExists


class ProjectGate:
    """A gate that also refuses a project in the path that is not the token's, as Nova does."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.permits = gate.permits

    async def authenticate(self, request: Request) -> Context:
        """The caller. Raises Unauthenticated, Invalid."""
        context = await self._gate.authenticate(request)
        named = request.params.get("project_id")
        if named is not None and named != context.project_id:
            raise Invalid(
                f"Malformed request URL: URL's project_id '{named[:64]}' doesn't match Context's project_id "
                f"'{context.project_id}'"
            )
        return context


def build_compute(
    services: ComputeServices,
    gate: Gate,
    cloud_id: str,
    *,
    prefix: str = "/compute",
    new_id: NewId = new_uuid,
    observe: Callable[[str, str, int, float], None] | None = None,
) -> Service:
    """The Compute API, to be served at `prefix`. The gate's enforcer holds `compute.policy.RULES`."""
    versioned = _versioned(services, cloud_id, new_id)
    versioned += absent_actions(versioned)
    strict = [replace(r, query=NO_QUERY) if r.query is None and r.method != "*" else r for r in versioned]
    routes = [*discovery_routes(), *(replace(r, path=root + r.path) for root in ROOTS for r in strict)]
    service = build_service("compute", prefix, routes, gate, compute_fault, versioning=VERSIONING, observe=observe)
    return replace(service, gate=ProjectGate(gate), formats=FORMATS)


def _versioned(s: ComputeServices, cloud_id: str, new_id: NewId) -> list[Route]:
    """The routes below the root of a version."""
    viewing = Viewing(s.hosts, cloud_id)
    nics, groups = s.networks.allocation, s.networks.groups
    creation = Creation(Sources(s.flavors, s.images, s.keypairs, nics, s.quotas, s.hosts, s.server_groups, groups))
    return [
        *ServerRoutes(s.servers, creation, viewing, Waiting(s.servers, s.feed)).routes(),
        *ActionRoutes(s.servers, s.console).routes(),
        *AttendanceRoutes(s.servers, s.attendance).routes(),
        *ConsoleRoutes(s.consoles).routes(),
        *PowerRoutes(s.actions).routes(),
        *ChangeRoutes(s.servers, s.actions, creation, viewing).routes(),
        *ImagingRoutes(s.imaging, creation).routes(),
        *MoveRoutes(s.moves, s.hosts).routes(),
        *UsageRoutes(s.servers).routes(),
        *UsageAuditRoutes(s.usage_audit).routes(),
        *GroupRoutes(s.server_groups).routes(),
        *TagRoutes(s.servers, s.actions).routes(),
        *MigrationRoutes(s.moves).routes(),
        *MetadataRoutes(s.servers).routes(),
        *AddressRoutes(s.servers).routes(),
        *AddressActionRoutes(s.servers, s.networks).routes(),
        *InterfaceRoutes(s.servers, nics, s.server_nics).routes(),
        *ActionLogRoutes(s.servers).routes(),
        *FlavorRoutes(s.flavors, new_id).routes(),
        *KeypairRoutes(s.keypairs).routes(),
        *QuotaRoutes(s.quotas, s.project_exists).routes(),
        *HostRoutes(s.hosts).routes(),
        *OsHostRoutes(s.hosts, s.servers).routes(),
        *SecurityGroupRoutes(s.networks).routes(),
        *FloatingIpRoutes(s.networks).routes(),
        *NetworkRoutes(s.networks).routes(),
        *AggregateRoutes(s.aggregates, s.hosts).routes(),
        *HypervisorRoutes(s.hosts, s.servers).routes(),
        *OutsideRoutes(s.outside).routes(),
        *ExtensionRoutes().routes(),
        *EmptyRoutes(s.servers).routes(),
        *unbuilt_routes(),
    ]
