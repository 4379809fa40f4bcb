"""What this API is: its versions, its resources, and the extensions that are really there."""

from __future__ import annotations

from typing import Any, Final

from kilonova.core.errors import NotFound
from kilonova.kit.http import AUTHENTICATED, PUBLIC, Request, Route
from kilonova.kit.http.route import Answer

RESOURCES: Final = {
    "network": "networks",
    "subnet": "subnets",
    "port": "ports",
    "router": "routers",
    "security_group": "security-groups",
    "security_group_rule": "security-group-rules",
    "floatingip": "floatingips",
    "subnetpool": "subnetpools",
    "address_scope": "address-scopes",
    "address_group": "address-groups",
    "rbac_policy": "rbac-policies",
    "network_ip_availability": "network-ip-availabilities",
    "agent": "agents",
    "availability_zone": "availability_zones",
    "service_provider": "service-providers",
    "quota": "quotas",
    "extension": "extensions",
}
EXTENSIONS: Final = {
    "address-group": ("Address group", "Prefixes under a name, for rules"),
    "address-scope": ("Address scope", "Where no two subnet pools overlap"),
    "allowed-address-pairs": ("Allowed Address Pairs", "Other sources that a port may use"),
    "availability_zone": ("Availability Zone", "The zones that hosts are in"),
    "binding": ("Port Binding", "Where ports are bound, for administrators"),
    "default-subnetpools": ("Default Subnetpools", "Subnets from the default pool"),
    "empty-string-filtering": ("Empty String Filtering Extension", "Filters by an empty value"),
    "expose-port-forwarding-in-fip": ("Expose Port Forwarding in FIP", "A floating IP shows its forwardings"),
    "external-net": ("Neutron external network", "Networks that lead outside"),
    "ext-gw-mode": ("Neutron L3 Configurable external gateway mode", "Source NAT of gateways on or off"),
    "extra_dhcp_opt": ("Neutron Extra DHCP options", "DHCP options of single ports"),
    "extraroute": ("Neutron Extra Route", "Static routes of routers"),
    "extraroute-atomic": ("Atomically add/remove extra routes", "Single routes added and removed"),
    "filter-validation": ("Filter parameters validation", "Unknown filters are refused"),
    "fip-port-details": ("Floating IP Port Details Extension", "A floating IP shows the port that it leads to"),
    "floating-ip-port-forwarding": ("Floating IP Port Forwarding", "Ports of a floating IP that lead to several ports"),
    "floating-ip-port-forwarding-description": ("Floating IP Port Forwarding description", "Their descriptions"),
    "floating-ip-port-forwarding-port-ranges": ("Floating IP Port Forwarding support ranges", "Ranges of ports"),
    "ip_allocation": ("IP Allocation", "When a port gets its addresses"),
    "ip-substring-filtering": ("IP address substring filtering", "Ports by a part of an address"),
    "net-mtu": ("Network MTU", "The MTU of networks"),
    "net-mtu-writable": ("Network MTU (writable)", "The MTU of networks can be set"),
    "network-ip-availability": ("Network IP Availability", "How full networks are"),
    "pagination": ("Pagination support", "Pages by limit and marker"),
    "port-security": ("Port Security", "Filters and anti-spoofing of a port on or off"),
    "project-id": ("project_id field enabled", "Projects by the name project_id"),
    "provider": ("Provider Network", "How a network is realised, for administrators"),
    "quota-check-limit": ("Quota engine limit check", "A limit below the use is refused on request"),
    "quota_details": ("Quota details management support", "Use beside the limits"),
    "quotas": ("Quota management support", "Limits of projects"),
    "rbac-address-group": ("Add address group type to RBAC", "Address groups granted to others"),
    "rbac-address-scope": ("Add address_scope type to RBAC", "Address scopes granted to others"),
    "rbac-policies": ("RBAC Policies", "Networks granted to others"),
    "rbac-security-groups": ("Add security_group type to network RBAC", "Security groups granted to others"),
    "rbac-subnetpool": ("Add subnetpool type to RBAC", "Subnet pools granted to others"),
    "router": ("Neutron L3 Router", "Routers, their interfaces, gateways and floating IPs"),
    "security-group": ("security-group", "Security groups and their rules"),
    "security-groups-normalized-cidr": ("Normalized CIDR field for security group rules", "Prefixes as they count"),
    "security-groups-remote-address-group": ("Remote address group id field", "Address groups as remotes of rules"),
    "security-groups-shared-filtering": ("Security group filtering on the shared field", "Groups by who shares them"),
    "service-type": ("Neutron Service Type Management", "Who provides services: nobody else"),
    "sorting": ("Sorting support", "Order of lists by sort_key and sort_dir"),
    "standard-attr-description": ("standard-attr-description", "Descriptions of resources"),
    "standard-attr-revisions": ("Resource revision numbers", "A number that rises with every change"),
    "standard-attr-tag": ("Tag support for resources with standard attribute", "Tags, and filters by them"),
    "standard-attr-timestamp": ("Resource timestamps", "When a resource was made and changed"),
    "stateful-security-group": ("Stateful security group", "Groups that let no answers through"),
    "subnetpool-prefix-ops": ("Subnet Pool Prefix Operations", "Single prefixes added to pools and removed"),
    "subnet_allocation": ("Subnet Allocation", "Subnets from subnet pools"),
    "subnet-external-network": ("Subnet belongs to an external network", "They are seen by who sees the network"),
    "subnet-service-types": ("Subnet service types", "Subnets for ports of certain owners"),
}
"""By alias: the name that Neutron gives it, and what is built of it. What is not built is not listed."""


def routes() -> list[Route]:
    """Discovery at the service's root and at `/v2.0`."""
    return [
        Route("GET", "/", list_versions, PUBLIC),
        Route("GET", "/v2.0", list_resources, PUBLIC),
        Route("GET", "/v2.0/extensions", list_extensions, AUTHENTICATED),
        Route("GET", "/v2.0/extensions/{alias}", show_extension, AUTHENTICATED),
        Route("GET", "/v2.0/service-providers", list_providers, "get_service_provider"),
    ]


async def list_versions(request: Request) -> Answer:
    link = {"rel": "self", "href": f"{request.service_url}/v2.0/"}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}


async def list_resources(request: Request) -> Answer:
    root = f"{request.service_url}/v2.0"
    return {
        "resources": [
            {"name": name, "collection": path, "links": [{"rel": "self", "href": f"{root}/{path}"}]}
            for name, path in RESOURCES.items()
        ]
    }


async def list_extensions(request: Request) -> Answer:
    return {"extensions": [_extension(alias) for alias in EXTENSIONS]}


async def show_extension(request: Request) -> Answer:
    alias = request.params["alias"]
    if alias not in EXTENSIONS:
        raise NotFound(f"Extension with alias {alias[:64]} does not exist", why="http_not_found")
    return {"extension": _extension(alias)}


async def list_providers(request: Request) -> Answer:
    """No service is provided by anything but kilonova itself."""
    return {"service_providers": []}


def _extension(alias: str) -> dict[str, Any]:
    name, description = EXTENSIONS[alias]
    updated = "2026-01-01T00:00:00-00:00"
    return {"alias": alias, "name": name, "description": description, "updated": updated, "links": []}
