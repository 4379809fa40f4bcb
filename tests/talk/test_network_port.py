"""Ports in detail, several things at once, quotas, and what the API says of itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from network_site import NOBODY, Site, opened

from kilonova.edge.openstack.network.discovery import EXTENSIONS
from kilonova.kit.http.route import refuse_unbuilt


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(tmp_path) as found:
        yield found


async def test_pairs_options_and_security(site: Site) -> None:
    network, _ = await site.network()
    pairs = [{"ip_address": "10.60.0.0/24"}, {"ip_address": "10.61.0.1", "mac_address": "FA:16:3E:00:00:09"}]
    options = [{"opt_name": "mtu", "opt_value": "1400"}, {"opt_name": "60", "opt_value": "x", "ip_version": "6"}]
    port = await site.make("port", network_id=network, allowed_address_pairs=pairs, extra_dhcp_opts=options)
    assert port["allowed_address_pairs"] == [
        {"ip_address": "10.60.0.0/24", "mac_address": port["mac_address"]},
        {"ip_address": "10.61.0.1", "mac_address": "fa:16:3e:00:00:09"},
    ]
    assert port["extra_dhcp_opts"][1] == {"opt_name": "60", "opt_value": "x", "ip_version": 6}
    path = f"/v2.0/ports/{port['id']}"
    off = {"port": {"port_security_enabled": False, "security_groups": []}}
    assert await site.fails("PUT", path, off, expect=409) == "PortSecurityPortHasSecurityGroup"
    both = {"port": {**off["port"], "allowed_address_pairs": []}}
    changed = (await site.ask("PUT", path, both))["port"]
    assert (changed["port_security_enabled"], changed["allowed_address_pairs"]) == (False, [])
    gone = {"port": {"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": None}]}}
    assert [o["opt_name"] for o in (await site.ask("PUT", path, gone))["port"]["extra_dhcp_opts"]] == ["60"]
    shared = (await site.ask("GET", "/v2.0/networks?shared=True"))["networks"][0]["id"]
    for values, status in (
        ({"network_id": shared, "allowed_address_pairs": pairs}, 403),
        ({"network_id": network, "allowed_address_pairs": [{"mac_address": "fa:16:3e:00:00:09"}]}, 400),
        ({"network_id": network, "allowed_address_pairs": pairs + pairs}, 400),
        ({"network_id": network, "extra_dhcp_opts": [{"opt_name": "a\nb", "opt_value": "x"}]}, 400),
        ({"network_id": network, "binding:host_id": "h"}, 403),
        ({"network_id": network, "binding:profile": {"a": 1}}, 403),
        ({"network_id": network, "binding:vnic_type": "direct"}, 400),
    ):
        await site.ask("POST", "/v2.0/ports", {"port": values}, expect=status)
    bound = {"binding:host_id": "h1", "binding:profile": {"a": 1}}
    made = await site.make("port", "admin", network_id=network, **bound)
    assert (made["binding:host_id"], made["binding:profile"], made["binding:vif_type"]) == ("h1", {"a": 1}, "bridge")


async def test_ports_by_a_part_of_an_address(site: Site) -> None:
    network, _ = await site.network()
    made = [
        await site.make("port", network_id=network, fixed_ips=[{"ip_address": f"10.5.0.{i}"}]) for i in (41, 42, 51)
    ]
    rows = (await site.ask("GET", "/v2.0/ports?fixed_ips=ip_address_substr%3D.4"))["ports"]
    assert [p["id"] for p in rows] == [p["id"] for p in made[:2]]
    assert (await site.ask("GET", "/v2.0/ports?fixed_ips=ip_address_substr%3D%25"))["ports"] == []


async def test_several_at_once_are_all_or_none(site: Site) -> None:
    many = {"networks": [{"name": "a"}, {"name": "b"}]}
    made = (await site.ask("POST", "/v2.0/networks", many, expect=201))["networks"]
    assert [n["name"] for n in made] == ["a", "b"]
    first, second = (n["id"] for n in made)
    pairs = [{"network_id": n, "ip_version": 4, "cidr": "10.9.0.0/29"} for n in (first, second)]
    assert len((await site.ask("POST", "/v2.0/subnets", {"subnets": pairs}, expect=201))["subnets"]) == 2
    ports = {"ports": [{"network_id": first}] * 5}
    await site.ask("POST", "/v2.0/ports", ports, expect=409)
    mixed = {"ports": [{"network_id": first}, {"network_id": NOBODY}]}
    await site.ask("POST", "/v2.0/ports", mixed, expect=404)
    listed = (await site.ask("GET", f"/v2.0/ports?network_id={first}"))["ports"]
    assert [p["device_owner"] for p in listed] == ["network:dhcp"]
    assert (await site.ask("GET", "/v2.0/quotas/ann/details"))["quota"]["port"]["used"] == 0
    pools = {"subnetpools": [{"prefixes": ["10.0.0.0/8"]}] * 2}
    assert len((await site.ask("POST", "/v2.0/subnetpools", pools, expect=201))["subnetpools"]) == 2
    group = await site.make("security_group", name="g")
    rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp"}
    rules = {"security_group_rules": [{**rule, "port_range_min": p, "port_range_max": p} for p in (1, 2)]}
    await site.ask("POST", "/v2.0/security-group-rules", rules, expect=201)
    await site.ask("POST", "/v2.0/security-group-rules", rules, expect=409)
    for body in ({"networks": []}, {"networks": [{}], "network": {}}, {}, {"routers": [{}]}):
        await site.ask("POST", "/v2.0/networks", body, expect=400)
    await site.ask("POST", "/v2.0/routers", {"routers": [{}]}, expect=400)


async def test_quotas_of_projects(site: Site) -> None:
    assert (await site.ask("GET", "/v2.0/quotas", who="admin"))["quotas"] == []
    await site.ask("PUT", "/v2.0/quotas/ann", {"quota": {"rbac_policy": 1, "subnetpool": 2}}, who="admin")
    (own,) = (await site.ask("GET", "/v2.0/quotas", who="admin"))["quotas"]
    assert (own["project_id"], own["rbac_policy"], own["network"]) == ("ann", 1, 100)
    await site.ask("GET", "/v2.0/quotas", expect=403)
    await site.ask("DELETE", "/v2.0/quotas/ann", expect=403)
    await site.ask("DELETE", "/v2.0/quotas/ann", who="admin", expect=204)
    assert (await site.ask("GET", "/v2.0/quotas/ann"))["quota"]["rbac_policy"] == 10


async def test_how_full_a_network_is(site: Site) -> None:
    network, subnet = await site.network("10.5.0.0/28")
    await site.make("port", network_id=network)
    path = "/v2.0/network-ip-availabilities"
    shown = (await site.ask("GET", f"{path}/{network}", who="admin"))["network_ip_availability"]
    assert (shown["total_ips"], shown["used_ips"]) == (13, 2)
    assert shown["subnet_ip_availability"][0]["subnet_id"] == subnet
    rows = (await site.ask("GET", f"{path}?network_name=n", who="admin"))["network_ip_availabilities"]
    assert [r["network_id"] for r in rows] == [network]
    assert (await site.ask("GET", f"{path}?ip_version=6", who="admin"))["network_ip_availabilities"] == []
    await site.ask("GET", path, expect=403)


async def test_nobody_but_administrators_sees_agents(site: Site) -> None:
    assert await site.ask("GET", "/v2.0/agents") == {"agents": []}
    await site.ask("GET", f"/v2.0/agents/{NOBODY}", expect=403)
    await site.ask("GET", f"/v2.0/agents/{NOBODY}", who="admin", expect=404)
    assert await site.ask("GET", "/v2.0/service-providers") == {"service_providers": []}


SHOWN = {
    "address-group": ("GET", "/address-groups"),
    "address-scope": ("GET", "/address-scopes"),
    "availability_zone": ("GET", "/availability_zones"),
    "extraroute-atomic": ("PUT", "/routers/{}/add_extraroutes"),
    "floating-ip-port-forwarding": ("GET", "/floatingips/{}/port_forwardings"),
    "network-ip-availability": ("GET", "/network-ip-availabilities"),
    "quotas": ("GET", "/quotas"),
    "quota_details": ("GET", "/quotas/{}/details"),
    "rbac-policies": ("GET", "/rbac-policies"),
    "router": ("GET", "/floatingips"),
    "security-group": ("GET", "/security-group-rules"),
    "service-type": ("GET", "/service-providers"),
    "standard-attr-tag": ("PUT", "/networks/{}/tags/{}"),
    "subnet_allocation": ("GET", "/subnetpools"),
    "agent": ("PUT", "/agents/{}"),
    "auto-allocated-topology": ("GET", "/auto-allocated-topology"),
    "binding-extended": ("GET", "/ports/{}/bindings"),
    "metering": ("GET", "/metering"),
    "qos": ("GET", "/qos"),
    "segment": ("GET", "/segments"),
    "security-groups-default-rules": ("GET", "/default-security-group-rules"),
    "subnetpool-prefix-ops": ("PUT", "/subnetpools/{}/add_prefixes"),
    "trunk": ("GET", "/trunks"),
}
MEMBERS = {
    "allowed-address-pairs": ("ports", "allowed_address_pairs"),
    "binding": ("ports", "binding:host_id"),
    "expose-port-forwarding-in-fip": ("floatingips", "port_forwardings"),
    "external-net": ("networks", "router:external"),
    "extra_dhcp_opt": ("ports", "extra_dhcp_opts"),
    "extraroute": ("routers", "routes"),
    "fip-port-details": ("floatingips", "port_details"),
    "ip_allocation": ("ports", "ip_allocation"),
    "net-mtu": ("networks", "mtu"),
    "port-security": ("ports", "port_security_enabled"),
    "project-id": ("networks", "project_id"),
    "provider": ("networks", "provider:network_type"),
    "security-groups-normalized-cidr": ("security-group-rules", "normalized_cidr"),
    "security-groups-remote-address-group": ("security-group-rules", "remote_address_group_id"),
    "standard-attr-description": ("routers", "description"),
    "standard-attr-revisions": ("routers", "revision_number"),
    "standard-attr-timestamp": ("routers", "created_at"),
    "stateful-security-group": ("security-groups", "stateful"),
    "subnet-external-network": ("subnets", "router:external"),
    "subnet-service-types": ("subnets", "service_types"),
    "dns-integration": ("ports", "dns_name"),
    "vlan-transparent": ("networks", "vlan_transparent"),
    "dvr": ("routers", "distributed"),
    "l3-ha": ("routers", "ha"),
    "network_availability_zone": ("networks", "availability_zones"),
}


async def test_extensions_tell_the_truth(site: Site) -> None:
    """What is listed has its routes and members; what is not listed has not."""
    built = {
        (r.method, re.sub(r"\{[^}]*\}", "{}", r.path.removeprefix("/v2.0")))
        for r in site.service.routes
        if r.handler is not refuse_unbuilt
    }
    for alias, route in SHOWN.items():
        assert (route in built) is (alias in EXTENSIONS), alias
    public, _, network, _ = await site.routed(who="admin")
    await site.make("port", "admin", network_id=network)
    await site.make("floatingip", "admin", floating_network_id=public)
    for alias, (collection, member) in MEMBERS.items():
        rows: list[dict[str, Any]] = next(
            v for v in (await site.ask("GET", f"/v2.0/{collection}", who="admin")).values() if v
        )
        assert (member in rows[-1]) is (alias in EXTENSIONS), alias
