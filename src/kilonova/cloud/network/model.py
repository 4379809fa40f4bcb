"""What the network noun deals in. Times are µs since the epoch; `revision` rises with every change of a row.

`revision` of a network covers its subnets and their DHCP addresses, that of a router its interfaces, that of a group
its rules: whatever a node's document of it contains. See `document_store` for how a port's document gets its version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import msgspec

from kilonova.kit.db import Tx

Guard = Callable[[Tx], None]
"""Raises core.errors.Lost when its owner has been superseded; run first inside a write transaction."""

OWNER_COMPUTE: Final = "compute:"
OWNER_DHCP: Final = "network:dhcp"
OWNER_INTERFACE: Final = "network:router_interface"
OWNER_GATEWAY: Final = "network:router_gateway"
OWNER_FLOATING: Final = "network:floatingip"
OWNER_SYSTEM: Final = "network:"

ACTIVE: Final = "ACTIVE"
DOWN: Final = "DOWN"
DEFAULT_GROUP: Final = "default"
DEFAULT_MTU: Final = 1500

ChangeKind = Literal["network", "router", "port", "group", "members", "addresses"]


class Change(NamedTuple):
    """A hint, given after a commit: this row's documents are new now (`members`: a group's address set;
    `addresses`: an address group's)."""

    kind: ChangeKind
    id: str


Notify = Callable[[Change], None]


@dataclass(frozen=True, slots=True)
class Listing:
    """A page wanted: `filters` by field (any of the values), `sort` as (field, ascending), at most `limit` rows after
    the row `marker` (before it when `reverse`; the page itself is in sort order either way). `tags`: which a row must
    have, by `all`, `any`, `not-all` or `not-any` of them."""

    filters: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sort: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    marker: str | None = None
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """`shared`: every project may use it. `external`: routers have their gateways there. Both are visible to all."""

    id: str
    project_id: str
    name: str
    description: str
    admin_up: bool
    shared: bool
    external: bool
    mtu: int
    dns_domain: str
    port_security: bool
    tags: tuple[str, ...]
    revision: int
    created_at: int
    updated_at: int
    subnets: tuple[str, ...] = ()


class Pool(NamedTuple):
    """Addresses that may be given out by themselves, first to last."""

    start: str
    end: str


class Route(NamedTuple):
    """What lies behind `nexthop`."""

    destination: str
    nexthop: str


@dataclass(frozen=True, slots=True)
class Subnet:
    """`ra_mode` and `address_mode`: "" or slaac, dhcpv6-stateful, dhcpv6-stateless (IPv6 only). `service_types`: only
    ports of an owner that begins with one of them get an address here unasked; empty: all do. `pool_id`: the subnet
    pool that its prefix came from. `external`: its network's, where it was asked for by itself."""

    id: str
    network_id: str
    project_id: str
    name: str
    description: str
    ip_version: Literal[4, 6]
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    dns_servers: tuple[str, ...]
    host_routes: tuple[Route, ...]
    ra_mode: str
    address_mode: str
    tags: tuple[str, ...]
    revision: int
    created_at: int
    updated_at: int
    pools: tuple[Pool, ...] = ()
    service_types: tuple[str, ...] = ()
    pool_id: str | None = None
    external: bool = False

    @property
    def is_auto_address(self) -> bool:
        """Whether guests derive their address from their MAC (RFC 4862), instead of getting one from a pool."""
        return self.address_mode in ("slaac", "dhcpv6-stateless")


class FixedIp(NamedTuple):
    """An address of a port."""

    subnet_id: str
    address: str


class WantedIp(NamedTuple):
    """An address asked for: a subnet to take one from, an address in whichever subnet holds it, or both."""

    subnet_id: str | None = None
    address: str | None = None


class AllowedPair(NamedTuple):
    """Another source that a port may use: an address or prefix, and a MAC."""

    address: str
    mac: str


class DhcpOption(NamedTuple):
    """A DHCP option of one port. `version` is 4 or 6."""

    name: str
    value: str
    version: int


@dataclass(frozen=True, slots=True)
class Port:
    """`nic_index` is its place among the NICs of the server `device_id`; `made` says that it goes with that server.
    `next_host_id` is the host that expects it while its server moves."""

    id: str
    network_id: str
    project_id: str
    name: str
    description: str
    admin_up: bool
    mac: str
    device_id: str
    device_owner: str
    host_id: str
    hostname: str
    status: str
    port_security: bool
    nic_index: int | None
    made: bool
    tag: str
    tags: tuple[str, ...]
    revision: int
    created_at: int
    updated_at: int
    fixed_ips: tuple[FixedIp, ...] = ()
    groups: tuple[str, ...] = ()
    allowed_pairs: tuple[AllowedPair, ...] = ()
    dhcp_options: tuple[DhcpOption, ...] = ()
    vnic_type: str = "normal"
    profile: Mapping[str, Any] = field(default_factory=dict)
    next_host_id: str = ""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A router's leg in an external network."""

    network_id: str
    snat: bool
    fixed_ips: tuple[FixedIp, ...] = ()


@dataclass(frozen=True, slots=True)
class Router:
    """Joins networks; `gateway` leads outside."""

    id: str
    project_id: str
    name: str
    description: str
    admin_up: bool
    routes: tuple[Route, ...]
    tags: tuple[str, ...]
    revision: int
    created_at: int
    updated_at: int
    gateway: Gateway | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What a group's members may receive or send. `protocol` is a name or number as it was given; None is any.
    `stateful` is its group's, where it was read with it."""

    id: str
    group_id: str
    project_id: str
    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"]
    protocol: str | None
    port_min: int | None
    port_max: int | None
    remote_prefix: str | None
    remote_group: str | None
    description: str
    created_at: int
    remote_addresses: str | None = None
    stateful: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """A security group; everything that no rule allows is dropped. `shared`: as the one who asks sees it."""

    id: str
    project_id: str
    name: str
    description: str
    is_default: bool
    tags: tuple[str, ...]
    revision: int
    created_at: int
    updated_at: int
    rules: tuple[Rule, ...] = ()
    stateful: bool = True
    shared: bool = False


@dataclass(frozen=True, slots=True)
class AddressGroup:
    """Prefixes under one name, for rules of security groups."""

    id: str
    project_id: str
    name: str
    description: str
    addresses: tuple[str, ...]
    revision: int
    created_at: int
    updated_at: int
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Ports of a floating IP that lead to a port's address; as many external as internal ones, or one internal."""

    id: str
    floating_ip_id: str
    protocol: str
    external_min: int
    external_max: int
    port_id: str
    address: str
    internal_min: int
    internal_max: int
    description: str


@dataclass(frozen=True, slots=True)
class FloatingIp:
    """An outside address that leads, through `router_id`, to the address `fixed_address` of the port `port_id`, or by
    its forwardings to several. `floating_port_id` holds the outside address."""

    id: str
    project_id: str
    description: str
    network_id: str
    address: str
    floating_port_id: str
    port_id: str | None
    fixed_address: str | None
    router_id: str | None
    tags: tuple[str, ...]
    revision: int
    created_at: int
    updated_at: int
    forwardings: tuple[Forwarding, ...] = ()

    @property
    def status(self) -> str:
        """ACTIVE once it leads somewhere."""
        return ACTIVE if self.router_id else DOWN


@dataclass(frozen=True, slots=True)
class Grant:
    """What a project (`*`: every one) may do with another's object: `access_as_shared` or `access_as_external`."""

    id: str
    project_id: str
    object_type: str
    object_id: str
    action: str
    target: str
    created_at: int


@dataclass(frozen=True, slots=True)
class NicRequest:
    """One NIC asked for at server create: by network or by port; neither means the network that is found by itself."""

    network_id: str | None = None
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None


class CheckedNic(msgspec.Struct, frozen=True, kw_only=True):
    """A NIC that was found to be possible. With `port_id` it is a port that the user made."""

    network_id: str
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str = ""


class CheckedNics(msgspec.Struct, frozen=True, kw_only=True):
    """The NICs of one server, and the groups (ids, or `default`) of the ports that will be made for it."""

    nics: tuple[CheckedNic, ...] = ()
    groups: tuple[str, ...] = ()


class NicAddress(NamedTuple):
    """An address of a NIC; `version` is 4 or 6."""

    subnet_id: str
    address: str
    version: int


@dataclass(frozen=True, slots=True)
class Nic:
    """A port as its server sees it. `created`: it was made for the server and goes with it. `floating`: which address
    is reached by which outside one, where that was asked for."""

    port_id: str
    network_id: str
    network_label: str
    mac: str
    addresses: tuple[NicAddress, ...]
    created: bool
    tag: str
    floating: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NicsTold:
    """What there is to say of a server's NICs: themselves, in their order, and the names of their security groups."""

    nics: tuple[Nic, ...]
    groups: tuple[str, ...]
