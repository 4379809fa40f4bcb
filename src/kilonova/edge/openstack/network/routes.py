"""Everything under `/network`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kilonova.cloud.network.service import NetworkServices
from kilonova.core.errors import Failure
from kilonova.edge.openstack.auth import Gate, build_service
from kilonova.edge.openstack.fault import network_fault
from kilonova.edge.openstack.network import discovery
from kilonova.edge.openstack.network.address_group import AddressGroupRoutes
from kilonova.edge.openstack.network.agent import AgentRoutes
from kilonova.edge.openstack.network.availability import AvailabilityRoutes
from kilonova.edge.openstack.network.floating import ForwardingRoutes, floating_ips
from kilonova.edge.openstack.network.grant import grants
from kilonova.edge.openstack.network.group import groups, rules
from kilonova.edge.openstack.network.network import networks, subnets
from kilonova.edge.openstack.network.pool import SubnetPoolRoutes, address_scopes
from kilonova.edge.openstack.network.port import ports
from kilonova.edge.openstack.network.quota import QuotaRoutes
from kilonova.edge.openstack.network.router import RouterRoutes
from kilonova.edge.openstack.network.tag import TagRoutes
from kilonova.kit.http import Request, Response, Route, Service, unbuilt

_UNBUILT: Final = (
    "auto-allocated-topology", "default-security-group-rules", "flavors", "local_ips", "log", "metering",
    "ndp_proxies", "network_segment_ranges", "qos", "segments", "service_profiles", "trunks", "vpn", "bgpvpn", "fwaas",
    "lbaas", "sfc",
)  # fmt: skip
_ROUTER_ACTIONS: Final = (
    "add_external_gateways", "remove_external_gateways",
    "update_external_gateways", "conntrack_helpers", "l3-agents",
)  # fmt: skip
_NAMES: Final = {"mac": "Mac", "ip": "Ip", "http": "HTTP", "dns": "DNS", "icmp": "Icmp", "rbac": "Rbac", "fip": "FIP"}


def build_network_service(
    services: NetworkServices,
    gate: Gate,
    prefix: str = "/network",
    observe: Callable[[str, str, int, float], None] | None = None,
) -> Service:
    """The Network API, to be served at `prefix`; the gate holds `network.policy.RULES`."""
    v2: list[Route] = [
        *networks(services).routes(),
        *subnets(services).routes(),
        *ports(services).routes(),
        *RouterRoutes(services).routes(),
        *groups(services).routes(),
        *rules(services).routes(),
        *QuotaRoutes(services).routes(),
        *floating_ips(services).routes(),
        *ForwardingRoutes(services).routes(),
        *SubnetPoolRoutes(services).routes(),
        *address_scopes(services).routes(),
        *AddressGroupRoutes(services).routes(),
        *grants(services).routes(),
        *TagRoutes(services).routes(),
        *AvailabilityRoutes(services).routes(),
        *AgentRoutes(services).routes(),
        *unbuilt(*(f"/{name}{tail}" for name in _UNBUILT for tail in ("", "/{rest:path}"))),
        *unbuilt(*(f"/routers/{{id}}/{name}" for name in _ROUTER_ACTIONS)),
        *unbuilt("/ports/{id}/bindings", "/ports/{id}/bindings/{rest:path}", "/agents/{id}/{rest:path}"),
        *unbuilt("/subnetpools/{id}/onboard_network_subnets"),
    ]
    routes = [*discovery.routes(), *(replace(route, path="/v2.0" + route.path) for route in v2)]
    return build_service("network", prefix, routes, gate, fault, observe=observe)


def fault(failure: Failure, request: Request) -> Response:
    """As Neutron words it: the domain's `why` (`network_in_use`) is the exception's name there (`NetworkInUse`)."""
    why = failure.facts.get("why")
    if isinstance(why, str):
        failure.facts.setdefault("type", "".join(_NAMES.get(word, word.capitalize()) for word in why.split("_")))
    return network_fault(failure, request)
