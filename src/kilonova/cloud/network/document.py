"""Rows → the documents that nodes build networks from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Literal, cast

from kilonova.cloud.network.address import normal_prefix
from kilonova.cloud.network.model import (
    OWNER_GATEWAY,
    FixedIp,
    FloatingIp,
    Forwarding,
    Network,
    Port,
    Route,
    Router,
    Rule,
    Subnet,
)
from kilonova.cloud.network.protocol import on_wire
from kilonova.wire import network as wire

Ipv6Mode = Literal["", "slaac", "dhcpv6-stateful", "dhcpv6-stateless"]


def network_doc(row: Network, subnets: Sequence[Subnet], dhcp: Iterable[FixedIp]) -> wire.NetworkDoc:
    """`dhcp`: the addresses of the network's DHCP port."""
    served = {f.subnet_id: f.address for f in dhcp}
    return wire.NetworkDoc(
        network_id=row.id,
        version=row.revision,
        name=row.name,
        mtu=row.mtu,
        external=row.external,
        dns_domain=row.dns_domain,
        admin_up=row.admin_up,
        subnets=tuple(_subnet_doc(s, served.get(s.id)) for s in subnets),
    )


def router_doc(
    row: Router, legs: Sequence[Port], subnets: Mapping[str, Subnet], floating: Sequence[FloatingIp] = ()
) -> wire.RouterDoc:
    """`legs`: the router's ports, its gateway's among them; `subnets`: those that they have addresses in; `floating`:
    the floating IPs that lead through it."""
    inside = [p for p in legs if p.device_owner != OWNER_GATEWAY]
    outside = next((p for p in legs if p.device_owner == OWNER_GATEWAY), None)
    hops = [subnets[f.subnet_id].gateway_ip for f in outside.fixed_ips] if outside else []
    return wire.RouterDoc(
        router_id=row.id,
        version=row.revision,
        name=row.name,
        admin_up=row.admin_up,
        interfaces=tuple(_interface(p, subnets) for p in inside),
        external=_interface(outside, subnets) if outside else None,
        next_hops=tuple(h for h in hops if h is not None),
        snat=row.gateway.snat if row.gateway else True,
        floating_ips=tuple(
            wire.FloatingIpDoc(floating=f.address, fixed=f.fixed_address) for f in floating if f.fixed_address
        ),
        routes=_routes(row.routes),
        port_forwardings=tuple(_forwarding(f, one) for f in floating for one in f.forwardings),
    )


def port_doc(row: Port, version: int, rules: Iterable[Rule]) -> wire.PortDoc:
    """`rules`: those of all groups that the port is in."""
    return wire.PortDoc(
        port_id=row.id,
        network_id=row.network_id,
        version=version,
        mac=row.mac,
        fixed_ips=tuple(wire.FixedIp(subnet_id=f.subnet_id, address=f.address) for f in row.fixed_ips),
        server_id=row.device_id,
        hostname=row.hostname,
        admin_up=row.admin_up,
        port_security=row.port_security,
        rules=tuple(rule_doc(r) for r in rules) if row.port_security else (),
        allowed_pairs=tuple(wire.AddressPair(address=p.address, mac=p.mac) for p in row.allowed_pairs),
        dhcp_options=tuple(
            wire.DhcpOption(name=o.name, value=o.value, ip_version=6 if o.version == 6 else 4) for o in row.dhcp_options
        ),
        tag=row.tag,
    )


def rule_doc(row: Rule) -> wire.RuleDoc:
    """A rule as filters need it."""
    return wire.RuleDoc(
        direction=row.direction,
        ethertype=row.ethertype,
        protocol=on_wire(row.protocol, row.ethertype),
        port_min=row.port_min,
        port_max=row.port_max,
        remote_prefix=normal_prefix(row.remote_prefix),
        remote_group=row.remote_group,
        remote_addresses=row.remote_addresses,
        stateful=row.stateful,
    )


def _forwarding(floating: FloatingIp, row: Forwarding) -> wire.PortForwardingDoc:
    return wire.PortForwardingDoc(
        protocol=row.protocol,
        floating=floating.address,
        floating_port_min=row.external_min,
        floating_port_max=row.external_max,
        fixed=row.address,
        fixed_port_min=row.internal_min,
        fixed_port_max=row.internal_max,
    )


def _subnet_doc(row: Subnet, dhcp_address: str | None) -> wire.SubnetDoc:
    return wire.SubnetDoc(
        subnet_id=row.id,
        ip_version=row.ip_version,
        cidr=row.cidr,
        gateway=row.gateway_ip,
        enable_dhcp=row.enable_dhcp and dhcp_address is not None,
        dhcp_address=dhcp_address,
        dns_servers=row.dns_servers,
        host_routes=_routes(row.host_routes),
        ipv6_mode=cast(Ipv6Mode, row.address_mode or row.ra_mode),
    )


def _interface(port: Port, subnets: Mapping[str, Subnet]) -> wire.RouterInterface:
    return wire.RouterInterface(
        port_id=port.id,
        network_id=port.network_id,
        mac=port.mac,
        addresses=tuple(f"{f.address}/{ip_network(subnets[f.subnet_id].cidr).prefixlen}" for f in port.fixed_ips),
    )


def _routes(routes: Iterable[Route]) -> tuple[wire.HostRoute, ...]:
    return tuple(wire.HostRoute(destination=r.destination, nexthop=r.nexthop) for r in routes)
