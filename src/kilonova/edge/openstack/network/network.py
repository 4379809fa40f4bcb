"""Networks and subnets."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.network.model import Network, Pool, Subnet
from kilonova.cloud.network.model import Route as HostRoute
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.network.subnet_service import NewSubnet
from kilonova.core.errors import NotBuilt
from kilonova.edge.openstack.network import view
from kilonova.edge.openstack.network.attribute import (
    ADMIN_UP,
    BOOLEAN,
    DESCRIPTION,
    ID,
    NAME,
    NULL_UUID,
    OWNER,
    REVISION,
    STRING,
    UUID,
    Attribute,
    read_whole,
    whole,
)
from kilonova.edge.openstack.network.resource import Resource, Values, refuse_unless
from kilonova.kit.http import Request

_TEXT: Final = {"type": "string", "maxLength": 64}
_NULL_TEXT: Final = {"type": ["string", "null"], "maxLength": 64}
_POOLS: Final = {
    "type": "array",
    "maxItems": 64,
    "items": {
        "type": "object",
        "properties": {"start": _TEXT, "end": _TEXT},
        "required": ["start", "end"],
        "additionalProperties": False,
    },
}
ROUTES: Final = {
    "type": ["array", "null"],
    "maxItems": 64,
    "items": {
        "type": "object",
        "properties": {"destination": _TEXT, "nexthop": _TEXT},
        "required": ["destination", "nexthop"],
        "additionalProperties": False,
    },
}
_SERVERS: Final = {"type": ["array", "null"], "items": _TEXT, "maxItems": 64, "uniqueItems": True}
_MODE: Final = {"enum": ["slaac", "dhcpv6-stateful", "dhcpv6-stateless", None]}

_NETWORK: Final = (
    ID,
    NAME,
    DESCRIPTION,
    *OWNER,
    ADMIN_UP,
    REVISION,
    Attribute("status", "status", sortable=False),
    Attribute("shared", "shared", BOOLEAN, "cu", "flag"),
    Attribute("router:external", "external", BOOLEAN, "cu", "flag"),
    Attribute("mtu", "mtu", whole(68, 65535), "cu", "number", convert=read_whole(68, 65535)),
    Attribute("port_security_enabled", "port_security", BOOLEAN, "cu", "flag"),
    # The one kind there is; naming it changes nothing.
    Attribute("provider:network_type", "kind", {"enum": [view.NETWORK_TYPE]}, "c", None),
)
_SERVICE_TYPES: Final = {
    "type": "array",
    "items": {**STRING, "minLength": 1},
    "maxItems": 32,
    "uniqueItems": True,
}
DELEGATED: Final = "prefix_delegation"
"""What the API takes for the id of a pool when a prefix shall be delegated."""
_POOL: Final = {"anyOf": [NULL_UUID, {"const": DELEGATED}]}
_LENGTH: Final = whole(1, 128, nullable=True)


def read_routes(given: Any) -> tuple[HostRoute, ...]:
    """Routes in the domain's words."""
    return tuple(HostRoute(r["destination"], r["nexthop"]) for r in given or ())


_SUBNET: Final = (
    ID,
    NAME,
    DESCRIPTION,
    *OWNER,
    REVISION,
    Attribute("network_id", "network_id", UUID, "c"),
    Attribute("shared", "shared", None, "", "flag", sortable=False),
    Attribute("router:external", "external", None, "", "flag", sortable=False),
    Attribute("ip_version", "ip_version", {"enum": [4, 6, "4", "6"]}, "c", "number", convert=int),
    Attribute("cidr", "cidr", _NULL_TEXT, "c"),
    Attribute("prefixlen", "prefixlen", _LENGTH, "c", None, convert=read_whole(1, 128)),
    Attribute("subnetpool_id", "pool_id", _POOL, "c"),
    Attribute("use_default_subnetpool", "use_default_pool", BOOLEAN, "c", None),
    Attribute("service_types", "service_types", _SERVICE_TYPES, "cu", None, convert=tuple),
    Attribute("gateway_ip", "gateway_ip", _NULL_TEXT, "cu"),
    Attribute("enable_dhcp", "enable_dhcp", BOOLEAN, "cu", "flag"),
    Attribute("dns_nameservers", "dns_servers", _SERVERS, "cu", None, convert=lambda v: tuple(v or ())),
    Attribute("host_routes", "host_routes", ROUTES, "cu", None, convert=read_routes),
    Attribute(
        "allocation_pools", "pools", _POOLS, "cu", None, convert=lambda v: [Pool(p["start"], p["end"]) for p in v]
    ),
    Attribute("ipv6_ra_mode", "ra_mode", _MODE, "c", convert=lambda v: v or ""),
    Attribute("ipv6_address_mode", "address_mode", _MODE, "c", convert=lambda v: v or ""),
)


def networks(services: NetworkServices) -> Resource:
    """`/networks`."""

    async def create(request: Request, values: list[Values]) -> list[Network]:
        for one in values:
            one.pop("kind", None)
        return await services.networks.create_all(request.context, [NewNetwork(**one) for one in values])

    async def allow(request: Request, verb: str, values: Values) -> None:
        for field, name in (("shared", "shared"), ("external", "router:external")):
            if field in values and (verb == "update" or values[field]):
                refuse_unless(request, f"{verb}_network:{name}")
        if "kind" in values:
            refuse_unless(request, f"{verb}_network:provider:network_type")

    return Resource("network", _NETWORK, services.networks, create, view.network, bulk=True, tagged=True, allow=allow)


def subnets(services: NetworkServices) -> Resource:
    """`/subnets`."""

    async def create(request: Request, values: list[Values]) -> list[Subnet]:
        for one in values:
            # A subnet belongs to its network's project, whatever the body says; Neutron's clients send their own.
            one.pop("project_id", None)
            if one.get("pool_id") == DELEGATED:
                raise NotBuilt("IPv6 prefix delegation is not implemented")
        return await services.subnets.create_all(request.context, [NewSubnet(**one) for one in values])

    async def allow(request: Request, verb: str, values: Values) -> None:
        if "service_types" in values:
            refuse_unless(request, f"{verb}_subnet:service_types")

    return Resource(
        "subnet", _SUBNET, services.subnets, create, view.subnet, required=("network_id", "ip_version"), bulk=True,
        tagged=True, allow=allow,
    )  # fmt: skip
