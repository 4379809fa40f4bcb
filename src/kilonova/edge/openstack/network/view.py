"""Rows as the Network API shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from kilonova.cloud.network.address import normal_prefix
from kilonova.cloud.network.model import FixedIp, Group, Network, Port, Route, Router, Rule, Subnet
from kilonova.kit.http import Request

NETWORK_TYPE: Final = "local"
"""Neutron's word for a network that no other host or physical network reaches: what every network here is."""


def network(row: Network, request: Request) -> Mapping[str, Any]:
    """API reference, "Networks"; how it is realised only for whom policy lets see it."""
    shown = {
        "id": row.id,
        "name": row.name,
        **owner(row.project_id),
        "admin_state_up": row.admin_up,
        "status": "ACTIVE",
        "shared": row.shared,
        "router:external": row.external,
        "mtu": row.mtu,
        "port_security_enabled": row.port_security,
        "subnets": list(row.subnets),
        "tags": list(row.tags),
        **standard(row),
    }
    if request.permits("get_network:provider:network_type"):
        shown["provider:network_type"] = NETWORK_TYPE
        shown["provider:physical_network"] = None
        shown["provider:segmentation_id"] = None
    return shown


def subnet(row: Subnet, request: Request) -> Mapping[str, Any]:
    """API reference, "Subnets"."""
    return {
        "id": row.id,
        "name": row.name,
        **owner(row.project_id),
        "network_id": row.network_id,
        "ip_version": row.ip_version,
        "cidr": row.cidr,
        "gateway_ip": row.gateway_ip,
        "enable_dhcp": row.enable_dhcp,
        "dns_nameservers": list(row.dns_servers),
        "host_routes": _routes(row.host_routes),
        "allocation_pools": [{"start": p.start, "end": p.end} for p in row.pools],
        "ipv6_ra_mode": row.ra_mode or None,
        "ipv6_address_mode": row.address_mode or None,
        "subnetpool_id": row.pool_id,
        "service_types": list(row.service_types),
        "router:external": row.external,
        "tags": list(row.tags),
        **standard(row),
    }


def port(row: Port, request: Request) -> Mapping[str, Any]:
    """API reference, "Ports"; where a port is bound only for whom policy lets see it."""
    shown = {
        "id": row.id,
        "name": row.name,
        **owner(row.project_id),
        "network_id": row.network_id,
        "mac_address": row.mac,
        "admin_state_up": row.admin_up,
        "status": row.status,
        "device_id": row.device_id,
        "device_owner": row.device_owner,
        "fixed_ips": _fixed(row.fixed_ips),
        "security_groups": list(row.groups),
        "port_security_enabled": row.port_security,
        "allowed_address_pairs": [{"ip_address": p.address, "mac_address": p.mac} for p in row.allowed_pairs],
        "extra_dhcp_opts": [
            {"opt_name": o.name, "opt_value": o.value, "ip_version": o.version} for o in row.dhcp_options
        ],
        "binding:vnic_type": row.vnic_type,
        "ip_allocation": "immediate" if row.fixed_ips else "none",
        "tags": list(row.tags),
        **standard(row),
    }
    if request.permits("get_port:binding:host_id"):
        shown["binding:host_id"] = row.host_id
        shown["binding:vif_type"] = "bridge" if row.host_id else "unbound"
        shown["binding:vif_details"] = {}
        shown["binding:profile"] = row.profile
    return shown


def router(row: Router, request: Request) -> Mapping[str, Any]:
    """API reference, "Routers"."""
    gateway = None
    if row.gateway is not None:
        gateway = {
            "network_id": row.gateway.network_id,
            "enable_snat": row.gateway.snat,
            "external_fixed_ips": _fixed(row.gateway.fixed_ips),
        }
    return {
        "id": row.id,
        "name": row.name,
        **owner(row.project_id),
        "admin_state_up": row.admin_up,
        "status": "ACTIVE",
        "external_gateway_info": gateway,
        "routes": _routes(row.routes),
        "tags": list(row.tags),
        **standard(row),
    }


def interface(router_id: str, leg: Port) -> Mapping[str, Any]:
    """The answer to adding or removing a router's interface."""
    subnets = [f.subnet_id for f in leg.fixed_ips]
    return {
        "id": router_id,
        **owner(leg.project_id),
        "port_id": leg.id,
        "network_id": leg.network_id,
        "subnet_id": subnets[0] if subnets else None,
        "subnet_ids": subnets,
    }


def group(row: Group, request: Request) -> Mapping[str, Any]:
    """API reference, "Security groups"."""
    return {
        "id": row.id,
        "name": row.name,
        **owner(row.project_id),
        "stateful": row.stateful,
        "shared": row.shared,
        "security_group_rules": [rule(r, request) for r in row.rules],
        "tags": list(row.tags),
        **standard(row),
    }


def rule(row: Rule, request: Request) -> Mapping[str, Any]:
    """API reference, "Security group rules"; a rule never changes."""
    made = time_of(row.created_at)
    return {
        "id": row.id,
        **owner(row.project_id),
        "security_group_id": row.group_id,
        "direction": row.direction,
        "ethertype": row.ethertype,
        "protocol": row.protocol,
        "port_range_min": row.port_min,
        "port_range_max": row.port_max,
        "remote_ip_prefix": row.remote_prefix,
        "normalized_cidr": normal_prefix(row.remote_prefix),
        "remote_group_id": row.remote_group,
        "remote_address_group_id": row.remote_addresses,
        "description": row.description,
        "revision_number": 0,
        "created_at": made,
        "updated_at": made,
    }


def owner(project_id: str) -> dict[str, str]:
    """Whose it is, under both names."""
    return {"tenant_id": project_id, "project_id": project_id}


class Standard(Protocol):
    """What rows with standard attributes have."""

    @property
    def description(self) -> str: ...

    @property
    def revision(self) -> int: ...

    @property
    def created_at(self) -> int: ...

    @property
    def updated_at(self) -> int: ...


def standard(row: Standard) -> dict[str, Any]:
    """The standard attributes (API reference, "Standard Attributes")."""
    return {
        "description": row.description,
        "revision_number": row.revision,
        "created_at": time_of(row.created_at),
        "updated_at": time_of(row.updated_at),
    }


def _fixed(addresses: Iterable[FixedIp]) -> list[dict[str, str]]:
    return [{"subnet_id": f.subnet_id, "ip_address": f.address} for f in addresses]


def _routes(routes: Iterable[Route]) -> list[dict[str, str]]:
    return [{"destination": r.destination, "nexthop": r.nexthop} for r in routes]


def time_of(micros: int) -> str:
    """A time as this API writes it."""
    return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
