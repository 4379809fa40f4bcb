"""network_data.json: links, networks and services in the shape that Nova publishes and cloud-init reads.

Source: Nova's metadata documentation and its schema doc/api_schemas/network_data.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from kilonova.wire.network import FixedIp, NetworkDoc, PortDoc, SubnetDoc

Json = dict[str, Any]


def describe(ports: tuple[PortDoc, ...], networks: Mapping[str, NetworkDoc]) -> Json:
    """All ports of a guest. A network that is not among `networks` (by id) is described as one with DHCP."""
    links: list[Json] = []
    found: list[Json] = []
    services: list[Json] = []
    for port in ports:
        network = networks.get(port.network_id)
        link = f"tap{port.port_id[:11]}"
        links.append(
            {
                "id": link,
                "vif_id": port.port_id,
                "type": "bridge",
                "mtu": network.mtu if network else None,
                "ethernet_mac_address": port.mac,
            }
        )
        for entry in _networks(port, network):
            found.append({"id": f"network{len(found)}", "link": link, "network_id": port.network_id, **entry})
            services += [service for service in entry.get("services", ()) if service not in services]
    return {"links": links, "networks": found, "services": services}


def _networks(port: PortDoc, network: NetworkDoc | None) -> Iterator[Json]:
    """One entry per static address, and one per way of asking: who asks gets all addresses at once."""
    subnets = {subnet.subnet_id: subnet for subnet in network.subnets} if network else {}
    asked: set[str] = set()
    for fixed in port.fixed_ips:
        subnet = subnets.get(fixed.subnet_id)
        kind = _kind(fixed, subnet)
        if subnet is not None and kind in ("ipv4", "ipv6"):
            yield _static(fixed, subnet, kind)
        elif kind not in asked:
            asked.add(kind)
            services = _services(subnet) if subnet else []
            yield {"type": kind, "services": services} if services else {"type": kind}


def _kind(fixed: FixedIp, subnet: SubnetDoc | None) -> str:
    version = ip_address(fixed.address).version
    if version == 6 and (subnet is None or subnet.ipv6_mode):
        return f"ipv6_{subnet.ipv6_mode if subnet else 'slaac'}"
    if subnet is None or subnet.enable_dhcp:
        return f"ipv{version}_dhcp"
    return f"ipv{version}"


def _static(fixed: FixedIp, subnet: SubnetDoc, kind: str) -> Json:
    routes = [_route("0.0.0.0/0" if kind == "ipv4" else "::/0", subnet.gateway)] if subnet.gateway else []
    routes += [_route(route.destination, route.nexthop) for route in subnet.host_routes]
    return {
        "type": kind,
        "ip_address": fixed.address,
        "netmask": str(ip_network(subnet.cidr).netmask),
        "routes": routes,
        "services": _services(subnet),
    }


def _route(destination: str, gateway: str) -> Json:
    target = ip_network(destination)
    return {"network": str(target.network_address), "netmask": str(target.netmask), "gateway": gateway}


def _services(subnet: SubnetDoc) -> list[Json]:
    return [{"type": "dns", "address": address} for address in subnet.dns_servers]
