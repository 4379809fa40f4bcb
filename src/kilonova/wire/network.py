"""Networks as a node needs them: versioned documents, fetched when a node lacks the version that it is told of."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

Direction = Literal["ingress", "egress"]
LONGEST_OPTION: Final = 255
_OPTION_NAME: Final = re.compile(r"[a-z0-9-]{1,64}")


class FixedIp(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a port, with its subnet."""

    subnet_id: str
    address: str


class RuleDoc(msgspec.Struct, frozen=True, kw_only=True):
    """One security group rule (allow only). `protocol` is tcp, udp, icmp, icmpv6 or a number as text; None is any.

    For tcp and udp `port_min`/`port_max` are ports, for ICMP type and code. At most one of `remote_prefix`,
    `remote_group` and `remote_addresses` is set; each of the last two names an AddressSetDoc, of a security group's
    members or of an address group (whose addresses may be prefixes). What is not `stateful` lets no answers through.
    """

    direction: Direction
    ethertype: Literal["IPv4", "IPv6"]
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_prefix: str | None = None
    remote_group: str | None = None
    remote_addresses: str | None = None
    stateful: bool = True


class AddressPair(msgspec.Struct, frozen=True, kw_only=True):
    """Another source that a port may use beside its own."""

    address: str
    mac: str


class DhcpOption(msgspec.Struct, frozen=True, kw_only=True):
    """A DHCP option that one port gets, by its name (`tftp-server`) or number, as dnsmasq knows it."""

    name: str
    value: str
    ip_version: Literal[4, 6] = 4


def is_option_name(text: str) -> bool:
    """Whether a DHCP option may be called so: lower-case letters, digits and hyphens."""
    return _OPTION_NAME.fullmatch(text) is not None


def is_option_value(text: str) -> bool:
    """Whether a DHCP option may have this value: one printable line of at most 255 characters, not empty."""
    return text.isprintable() and 0 < len(text) <= LONGEST_OPTION


class PortDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A port bound to this host. With `port_security` false neither filtering nor anti-spoofing applies. `tag` is what
    its guest reads about the NIC."""

    port_id: str
    network_id: str
    version: int
    mac: str
    fixed_ips: tuple[FixedIp, ...] = ()
    server_id: str = ""
    hostname: str = ""
    admin_up: bool = True
    port_security: bool = True
    rules: tuple[RuleDoc, ...] = ()
    allowed_pairs: tuple[AddressPair, ...] = ()
    dhcp_options: tuple[DhcpOption, ...] = ()
    tag: str = ""


class HostRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route that DHCP hands to guests."""

    destination: str
    nexthop: str


class SubnetDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet. `dhcp_address` is where this network's DHCP server and resolver sit (None without DHCP)."""

    subnet_id: str
    ip_version: Literal[4, 6]
    cidr: str
    gateway: str | None = None
    enable_dhcp: bool = True
    dhcp_address: str | None = None
    dns_servers: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()
    ipv6_mode: Literal["", "slaac", "dhcpv6-stateful", "dhcpv6-stateless"] = ""


class NetworkDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A network. `external` ones are where routers have their gateways and the world outside begins. One that is not
    `admin_up` carries nothing, DHCP and metadata neither."""

    network_id: str
    version: int
    name: str
    mtu: int = 1500
    external: bool = False
    dns_domain: str = ""
    admin_up: bool = True
    subnets: tuple[SubnetDoc, ...] = ()


class RouterInterface(msgspec.Struct, frozen=True, kw_only=True):
    """A router's leg in an internal network: its addresses with prefix length (`10.0.0.1/24`)."""

    port_id: str
    network_id: str
    mac: str
    addresses: tuple[str, ...]


class FloatingIpDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A one-to-one translation between an external and a fixed address."""

    floating: str
    fixed: str


class PortForwardingDoc(msgspec.Struct, frozen=True, kw_only=True):
    """Ports of an external address that lead to as many ports of a fixed one, or all to one. `protocol`: tcp or udp."""

    protocol: str
    floating: str
    floating_port_min: int
    floating_port_max: int
    fixed: str
    fixed_port_min: int
    fixed_port_max: int


class RouterDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A router. `external` is its leg in the external network; `next_hops` that network's gateways."""

    router_id: str
    version: int
    name: str
    admin_up: bool = True
    interfaces: tuple[RouterInterface, ...] = ()
    external: RouterInterface | None = None
    next_hops: tuple[str, ...] = ()
    snat: bool = True
    floating_ips: tuple[FloatingIpDoc, ...] = ()
    routes: tuple[HostRoute, ...] = ()
    port_forwardings: tuple[PortForwardingDoc, ...] = ()


class AddressSetDoc(msgspec.Struct, frozen=True, kw_only=True):
    """What rules mean by a remote group: the addresses that a security group's members have now, or the prefixes of an
    address group; `group_id` is that group's id."""

    group_id: str
    version: int
    addresses: tuple[str, ...] = ()
