"""The Network API over HTTP: what clients send and get, and what bad input gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from network_site import NOBODY, Site, opened


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(tmp_path) as found:
        yield found


async def test_discovery(site: Site) -> None:
    versions = await site.ask("GET", "/")
    assert versions["versions"][0]["links"][0]["href"] == "http://cloud/network/v2.0/"
    for resource in (await site.ask("GET", "/v2.0/"))["resources"]:
        if resource["name"] != "quota":
            await site.ask("GET", f"/v2.0/{resource['collection']}", who="admin")
    aliases = {e["alias"] for e in (await site.ask("GET", "/v2.0/extensions"))["extensions"]}
    assert "router" in aliases
    assert not aliases & {"trunk", "qos", "dns-integration", "segment"}
    await site.ask("GET", "/v2.0/extensions/nothing", expect=404)


async def test_a_network_from_end_to_end(site: Site) -> None:
    network, subnet = await site.network()
    port = await site.make("port", network_id=network, name="p", fixed_ips=[{"ip_address": "10.5.0.9"}])
    assert port["fixed_ips"] == [{"subnet_id": subnet, "ip_address": "10.5.0.9"}]
    assert "binding:host_id" not in port
    (public,) = (await site.ask("GET", "/v2.0/networks?router:external=True"))["networks"]
    router = await site.make("router", name="r", external_gateway_info={"network_id": public["id"]})
    assert router["external_gateway_info"]["enable_snat"]
    act = f"/v2.0/routers/{router['id']}"
    leg = await site.ask("PUT", f"{act}/add_router_interface", {"subnet_id": subnet})
    assert (leg["id"], leg["subnet_ids"]) == (router["id"], [subnet])
    fault = await site.ask("DELETE", f"/v2.0/networks/{network}", expect=409)
    assert fault["NeutronError"]["type"] == "NetworkInUse"
    await site.ask("DELETE", act, expect=409)
    await site.ask("PUT", f"{act}/remove_router_interface", {"subnet_id": subnet})
    cleared = await site.ask("PUT", act, {"router": {"external_gateway_info": {}}})
    assert cleared["router"]["external_gateway_info"] is None
    for path in (act, f"/v2.0/ports/{port['id']}", f"/v2.0/networks/{network}"):
        await site.ask("DELETE", path, expect=204)
    await site.ask("GET", f"/v2.0/subnets/{subnet}", expect=404)
    used = (await site.ask("GET", "/v2.0/quotas/ann/details"))["quota"]
    assert {name: use["used"] for name, use in used.items() if use["used"]} == {}


async def test_lists_filter_sort_and_page(site: Site) -> None:
    for name in ("c", "a", "b"):
        await site.make("network", name=name)
    path = "/v2.0/networks?sort_key=name&sort_dir=desc&fields=name&name=a&name=b&name=c"
    assert (await site.ask("GET", path))["networks"] == [{"name": "c"}, {"name": "b"}, {"name": "a"}]
    seen: list[str] = []
    url: str | None = "/v2.0/networks?limit=2&shared=False&router:external=False&sort_key=name&sort_dir=asc"
    while url:
        page = await site.ask("GET", url.removeprefix("http://cloud/network"))
        seen += [n["name"] for n in page["networks"]]
        links = {link["rel"]: link["href"] for link in page.get("networks_links", ())}
        url = links.get("next")
    assert seen == ["a", "b", "c"]
    own = "/v2.0/networks?shared=False&router:external=False&sort_key=name&sort_dir=asc"
    over = await site.ask("GET", f"{own}&limit=1&marker={page['networks'][-1]['id']}")
    (link,) = over["networks_links"]
    assert (over["networks"], link["rel"], "marker" in link["href"]) == ([], "previous", False)
    back = await site.ask("GET", links["previous"].removeprefix("http://cloud/network"))
    assert [n["name"] for n in back["networks"]] == ["a", "b"]
    for bad in ("color=red", "limit=-1", "sort_key=color", "sort_key=name&sort_dir=up", "shared=maybe", "mtu=x"):
        await site.ask("GET", f"/v2.0/networks?{bad}", expect=400)
    await site.ask("GET", f"/v2.0/networks?marker={NOBODY}", expect=404)


async def test_ports_are_found_by_what_they_have(site: Site) -> None:
    network, subnet = await site.network()
    port = await site.make("port", network_id=network, device_id="d1")
    (group,) = port["security_groups"]
    address = port["fixed_ips"][0]["ip_address"]
    for query in (
        f"fixed_ips=ip_address%3D{address}",
        f"fixed_ips=subnet_id%3D{subnet}&device_owner=",
        f"security_groups={group}",
        f"mac_address={port['mac_address'].upper()}",
        "device_id=d1",
    ):
        found = (await site.ask("GET", f"/v2.0/ports?{query}"))["ports"]
        assert [p["id"] for p in found] == [port["id"]], query
    await site.ask("GET", "/v2.0/ports?fixed_ips=color%3Dred", expect=400)


async def test_security_groups(site: Site) -> None:
    web = await site.make("security_group", name="web")
    rule = {"security_group_id": web["id"], "direction": "ingress", "protocol": "tcp"}
    made = await site.make("security_group_rule", **rule, port_range_min=80, port_range_max="90")
    assert (made["port_range_min"], made["port_range_max"], made["ethertype"]) == (80, 90, "IPv4")
    bad: list[tuple[dict[str, Any], int, str]] = [
        ({"port_range_min": 80, "port_range_max": 90}, 409, "SecurityGroupRuleExists"),
        ({"port_range_min": 90, "port_range_max": 80}, 400, "SecurityGroupInvalidPortRange"),
        ({"protocol": None, "port_range_min": 1, "port_range_max": 2}, 400, "SecurityGroupProtocolRequired"),
        ({"remote_ip_prefix": "::/0"}, 400, "SecurityGroupRuleParameterConflict"),
        ({"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": web["id"]}, 400, "SecurityGroupMultipleRemoteEntities"),
        ({"remote_group_id": NOBODY}, 404, "SecurityGroupNotFound"),
        ({"protocol": "carrier"}, 400, "SecurityGroupRuleInvalidProtocol"),
        ({"ethertype": "IPv6", "remote_ip_prefix": "fe80::1%\ny/128"}, 400, "InvalidInput"),
        ({"remote_ip_prefix": "10.0.0.0/" + "0" * 60 + "8"}, 400, "HTTPBadRequest"),
    ]
    for more, status, kind in bad:
        body = {"security_group_rule": {**rule, **more}}
        fault = await site.ask("POST", "/v2.0/security-group-rules", body, expect=status)
        assert fault["NeutronError"]["type"] == kind
    await site.ask("DELETE", f"/v2.0/security-group-rules/{made['id']}", expect=204)
    masked = await site.make("security_group_rule", **rule, remote_ip_prefix="10.1.2.3/255.0.0.0")
    assert masked["remote_ip_prefix"] == "10.1.2.3/8"
    await site.ask("DELETE", f"/v2.0/security-group-rules/{masked['id']}", expect=204)
    left = await site.ask("GET", f"/v2.0/security-groups/{web['id']}")
    assert len(left["security_group"]["security_group_rules"]) == 2


def _bad_requests(network: str, subnet: str, port: dict[str, Any]) -> list[tuple[str, str, Any, int]]:
    return [
        ("POST", "networks", {}, 400),
        ("POST", "networks", [], 400),
        ("POST", "networks", {"network": {"name": 1}}, 400),
        ("POST", "networks", {"network": {"name": "x" * 256}}, 400),
        ("POST", "networks", {"network": {"color": "red"}}, 400),
        ("POST", "networks", {"network": {"mtu": -1}}, 400),
        ("POST", "networks", {"network": {"project_id": "ann", "tenant_id": "bob"}}, 400),
        ("POST", "networks", {"network": {"project_id": "bob"}}, 400),
        ("POST", "networks", {"network": {"shared": True}}, 403),
        ("POST", "subnets", {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.5.0.128/25"}}, 400),
        ("POST", "subnets", {"subnet": {"network_id": network, "ip_version": 6, "cidr": "10.6.0.0/24"}}, 400),
        ("POST", "subnets", {"subnet": {"network_id": NOBODY, "ip_version": 4, "cidr": "10.6.0.0/24"}}, 404),
        ("POST", "subnets", {"subnet": {"network_id": network, "ip_version": 4, "cidr": "x"}}, 400),
        ("PUT", f"subnets/{subnet}", {"subnet": {"gateway_ip": "10.99.0.1"}}, 400),
        ("PUT", f"subnets/{subnet}", {"subnet": {"gateway_ip": "10.5.0.7"}}, 409),
        ("PUT", f"subnets/{subnet}", {"subnet": {"cidr": "10.6.0.0/24"}}, 400),
        ("PUT", f"subnets/{subnet}", {"subnet": {"service_types": ["compute:nova"]}}, 403),
        ("PUT", f"subnets/{subnet}", {"subnet": {"dns_nameservers": ["2001:db8::53"]}}, 400),
        ("POST", "subnets", {"subnet": {"network_id": network, "ip_version": 6, "cidr": "fe80::%a\nb/64"}}, 400),
        (
            "POST",
            "ports",
            {"port": {"network_id": network, "allowed_address_pairs": [{"ip_address": "fe80::1%\n"}]}},
            400,
        ),
        ("POST", "address-groups", {"address_group": {"addresses": ["fe80::1%\ny/128"]}}, 400),
        ("POST", "subnetpools", {"subnetpool": {"name": "p", "prefixes": ["fe80::%\ny/64"]}}, 400),
        ("POST", "ports", {"port": {}}, 400),
        ("POST", "ports", {"port": {"network_id": NOBODY}}, 404),
        ("POST", "ports", {"port": {"network_id": network, "mac_address": "ff:ff:ff:ff:ff:ff"}}, 400),
        ("POST", "ports", {"port": {"network_id": network, "mac_address": port["mac_address"]}}, 409),
        ("POST", "ports", {"port": {"network_id": network, "fixed_ips": [{"ip_address": "10.5.0.3"}]}}, 409),
        ("POST", "ports", {"port": {"network_id": network, "fixed_ips": [{"ip_address": "10.9.0.3"}]}}, 400),
        ("POST", "ports", {"port": {"network_id": network, "security_groups": [NOBODY]}}, 404),
        ("POST", "ports", {"port": {"network_id": network, "device_owner": "network:dhcp"}}, 400),
        ("PUT", f"ports/{port['id']}", {"port": {"mac_address": "fa:16:3e:00:00:01"}}, 403),
        ("POST", "routers", {"router": {"external_gateway_info": {"network_id": network}}}, 400),
        ("POST", "routers", {"router": {"external_gateway_info": {"enable_snat": True}}}, 400),
        ("PUT", "quotas/ann", {"quota": {"port": 7}}, 403),
        ("GET", "quotas/bob", None, 403),
        ("GET", f"networks/{'x' * 300}", None, 404),
        ("POST", "floatingips", {"floatingip": {}}, 400),
        ("POST", "trunks", {"trunk": {}}, 501),
        ("PATCH", "networks", None, 405),
    ]


async def test_bad_input_is_refused_and_changes_nothing(site: Site) -> None:
    network, subnet = await site.network()
    port = await site.make("port", network_id=network)
    before = await _everything(site)
    for method, path, body, status in _bad_requests(network, subnet, port):
        fault = await site.ask(method, f"/v2.0/{path}", body, expect=status)
        assert set(fault["NeutronError"]) == {"type", "message", "detail"}
    assert await _everything(site) == before


async def _everything(site: Site) -> list[Any]:
    kinds = ("networks", "subnets", "ports", "routers", "security-groups", "quotas/ann/details")
    return [await site.ask("GET", f"/v2.0/{kind}", who="admin") for kind in kinds]


async def test_roles_and_projects(site: Site) -> None:
    network, subnet = await site.network()
    group = await site.make("security_group", name="g")
    router = await site.make("router", name="r")
    port = await site.make("port", network_id=network)
    mine = [
        ("networks", network), ("subnets", subnet), ("ports", port["id"]), ("routers", router["id"]),
        ("security-groups", group["id"]), ("security-group-rules", group["security_group_rules"][0]["id"]),
    ]  # fmt: skip
    for kind, identifier in mine:
        path = f"/v2.0/{kind}/{identifier}"
        await site.ask("GET", path, who="bob", expect=404)
        await site.ask("DELETE", path, who="bob", expect=404)
        await site.ask("DELETE", path, who="eve", expect=403)
        await site.ask("GET", path, who="nobody", expect=401)
        member = kind[:-1].replace("-", "_")
        assert (await site.ask("GET", path, who="admin"))[member]["id"] == identifier
    (shared,) = (await site.ask("GET", "/v2.0/networks?shared=True", who="bob"))["networks"]
    taken = {"network_id": shared["id"], "fixed_ips": [{"ip_address": "10.0.0.200"}]}
    await site.ask("POST", "/v2.0/ports", {"port": taken}, who="bob", expect=403)
    await site.make("port", "bob", network_id=shared["id"])
    await site.ask("PUT", f"/v2.0/networks/{shared['id']}", {"network": {"name": "x"}}, who="bob", expect=404)


async def test_no_address_left(site: Site) -> None:
    network, _ = await site.network("10.5.0.0/30")
    fault = await site.ask("POST", "/v2.0/ports", {"port": {"network_id": network}}, expect=409)
    assert fault["NeutronError"]["type"] == "IpAddressGenerationFailure"


async def test_quota(site: Site) -> None:
    quota = {"quota": {"network": 1}}
    assert (await site.ask("PUT", "/v2.0/quotas/ann", quota, who="admin"))["quota"]["network"] == 1
    await site.make("network")
    fault = await site.ask("POST", "/v2.0/networks", {"network": {}}, expect=409)
    assert fault["NeutronError"]["type"] == "OverQuota"
    lower = {"quota": {"network": 0, "check_limit": True}}
    await site.ask("PUT", "/v2.0/quotas/ann", lower, who="admin", expect=400)
    assert (await site.ask("GET", "/v2.0/quotas/ann"))["quota"]["network"] == 1
