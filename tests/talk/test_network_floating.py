"""Floating IPs, port forwardings and extra routes over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from network_site import NOBODY, Site, opened

FLOATING = "/v2.0/floatingips"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(tmp_path) as found:
        yield found


async def test_a_floating_ip_comes_goes_and_leads(site: Site) -> None:
    public, router, network, subnet = await site.routed()
    port = await site.make("port", network_id=network, name="inside")
    fip = await site.make("floatingip", floating_network_id=public, description="d")
    assert (fip["status"], fip["port_id"], fip["router_id"], fip["port_details"]) == ("DOWN", None, None, None)
    one = f"{FLOATING}/{fip['id']}"
    led = (await site.ask("PUT", one, {"floatingip": {"port_id": port["id"]}}))["floatingip"]
    assert (await site.ask("PUT", one, {"floatingip": {"description": "e"}}))["floatingip"]["status"] == "ACTIVE"
    assert (await site.ask("PUT", one, {"floatingip": {}}))["floatingip"]["status"] == "DOWN"
    led = (await site.ask("PUT", one, {"floatingip": {"port_id": port["id"]}}))["floatingip"]
    address = port["fixed_ips"][0]["ip_address"]
    assert (led["status"], led["fixed_ip_address"], led["router_id"]) == ("ACTIVE", address, router)
    assert led["port_details"]["name"] == "inside"
    assert led["revision_number"] > fip["revision_number"]
    for query in (f"port_id={port['id']}", "status=ACTIVE", f"router_id={router}", f"fixed_ip_address={address}"):
        found = (await site.ask("GET", f"{FLOATING}?{query}"))["floatingips"]
        assert [f["id"] for f in found] == [fip["id"]], query
    second = {"floatingip": {"floating_network_id": public, "port_id": port["id"]}}
    assert await site.fails("POST", FLOATING, second, expect=409) == "FloatingIpPortAlreadyAssociated"
    act = f"/v2.0/routers/{router}"
    gone: dict[str, Any] = {"router": {"external_gateway_info": {}}}
    assert await site.fails("PUT", act, gone, expect=409) == "RouterExternalGatewayInUseByFloatingIp"
    leave = await site.fails("PUT", f"{act}/remove_router_interface", {"subnet_id": subnet}, expect=409)
    assert leave == "RouterInterfaceInUseByFloatingIp"
    await site.ask("DELETE", f"/v2.0/ports/{port['id']}", expect=204)
    left = (await site.ask("GET", one))["floatingip"]
    assert (left["status"], left["port_id"], left["fixed_ip_address"]) == ("DOWN", None, None)
    await site.ask("DELETE", one, expect=204)
    await site.ask("GET", one, expect=404)
    used = (await site.ask("GET", "/v2.0/quotas/ann/details"))["quota"]["floatingip"]
    assert used == {"limit": 50, "used": 0, "reserved": 0}


async def test_which_floating_ips_are_refused(site: Site) -> None:
    public, _, network, subnet = await site.routed()
    port = await site.make("port", network_id=network)
    alone, _ = await site.network("10.6.0.0/24")
    lone = await site.make("port", network_id=alone)
    theirs, _ = await site.network("10.7.0.0/24", "bob")
    foreign = await site.make("port", "bob", network_id=theirs)
    bad: list[tuple[dict[str, Any], int, str]] = [
        ({"floating_network_id": NOBODY}, 404, "NetworkNotFound"),
        ({"floating_network_id": network}, 400, "BadRequest"),
        ({"floating_network_id": public, "port_id": NOBODY}, 404, "PortNotFound"),
        ({"floating_network_id": public, "port_id": foreign["id"]}, 404, "PortNotFound"),
        ({"floating_network_id": public, "port_id": lone["id"]}, 404, "ExternalGatewayForFloatingIpNotFound"),
        ({"floating_network_id": public, "port_id": port["id"], "fixed_ip_address": "10.5.0.99"}, 400, "BadRequest"),
        ({"floating_network_id": public, "floating_ip_address": "172.24.4.99"}, 403, "PolicyNotAuthorized"),
        ({"floating_network_id": public, "subnet_id": subnet}, 400, "InvalidInput"),
        ({"floating_network_id": public, "color": "red"}, 400, "HTTPBadRequest"),
    ]
    for values, status, kind in bad:
        assert await site.fails("POST", FLOATING, {"floatingip": values}, expect=status) == kind, values
    assert (await site.ask("GET", FLOATING, who="admin"))["floatingips"] == []
    assert (await site.ask("GET", "/v2.0/quotas/ann/details"))["quota"]["floatingip"]["used"] == 0
    exact = await site.make("floatingip", "admin", floating_network_id=public, floating_ip_address="172.24.4.99")
    assert exact["floating_ip_address"] == "172.24.4.99"
    one = f"{FLOATING}/{exact['id']}"
    await site.ask("GET", one, expect=404)
    await site.ask("DELETE", one, expect=404)
    await site.ask("POST", FLOATING, {"floatingip": {"floating_network_id": public}}, who="eve", expect=403)
    await site.ask("PUT", "/v2.0/quotas/ann", {"quota": {"floatingip": 0}}, who="admin")
    full = await site.fails("POST", FLOATING, {"floatingip": {"floating_network_id": public}}, expect=409)
    assert full == "OverQuota"


async def test_port_forwardings(site: Site) -> None:
    public, router, network, subnet = await site.routed()
    port = await site.make("port", network_id=network)
    fip = await site.make("floatingip", floating_network_id=public)
    path = f"{FLOATING}/{fip['id']}/port_forwardings"
    base = {"protocol": "tcp", "internal_port_id": port["id"]}

    async def forward(**values: Any) -> dict[str, Any]:
        body = {"port_forwarding": {**base, **values}}
        made: dict[str, Any] = (await site.ask("POST", path, body, expect=201))["port_forwarding"]
        return made

    web = await forward(internal_port=80, external_port=8080, description="web")
    assert (web["internal_port"], web["external_port"]) == (80, 8080)
    many = await forward(internal_port_range="100:109", external_port_range="9000:9009")
    assert "external_port" not in many
    assert many["external_port_range"] == "9000:9009"
    for values, status in (
        ({"internal_port": 1, "external_port": 9005}, 400),
        ({"internal_port": 105, "external_port": 5}, 400),
        ({"internal_port": 1, "external_port": 0}, 400),
        ({"internal_port_range": "1:3", "external_port_range": "20:21"}, 400),
        ({"internal_port": 1, "internal_port_range": "1:3", "external_port": 5}, 400),
        ({"internal_port": 1}, 400),
        ({"internal_port": 1, "external_port": 5, "protocol": "icmp"}, 400),
        ({"internal_port": 1, "external_port": 5, "internal_port_id": NOBODY}, 404),
    ):
        await site.ask("POST", path, {"port_forwarding": {**base, **values}}, expect=status)
    shown = (await site.ask("GET", f"{FLOATING}/{fip['id']}"))["floatingip"]
    assert (shown["status"], shown["router_id"], len(shown["port_forwardings"])) == ("ACTIVE", router, 2)
    leads = {"floatingip": {"port_id": port["id"]}}
    assert await site.fails("PUT", f"{FLOATING}/{fip['id']}", leads, expect=409) == "FIPInUseByPortForwarding"
    changed = {"port_forwarding": {"external_port": 8081, "description": "w"}}
    assert (await site.ask("PUT", f"{path}/{web['id']}", changed))["port_forwarding"]["external_port"] == 8081
    assert [f["id"] for f in (await site.ask("GET", f"{path}?external_port=8081"))["port_forwardings"]] == [web["id"]]
    await site.ask("GET", f"{path}/{web['id']}", who="bob", expect=404)
    await site.ask("DELETE", f"{path}/{web['id']}", who="eve", expect=403)
    assert await site.fails("DELETE", f"{FLOATING}/{fip['id']}", expect=409) == "FIPInUseByPortForwarding"
    assert {"protocol": "tcp", "internal_ip_address": web["internal_ip_address"], "internal_port": 80,
            "external_port": 8080} in shown["port_forwardings"]  # fmt: skip
    leave = {"subnet_id": subnet}
    await site.ask("PUT", f"/v2.0/routers/{router}/remove_router_interface", leave, expect=409)
    await site.ask("DELETE", f"{path}/{web['id']}", expect=204)
    await site.ask("DELETE", f"/v2.0/ports/{port['id']}", expect=204)
    left = (await site.ask("GET", f"{FLOATING}/{fip['id']}"))["floatingip"]
    assert (left["status"], left["port_forwardings"]) == ("DOWN", [])
    await site.ask("PUT", f"/v2.0/routers/{router}/remove_router_interface", leave)


async def test_routes_of_a_router(site: Site) -> None:
    _, router, _, subnet = await site.routed()
    path = f"/v2.0/routers/{router}"
    one = {"destination": "192.0.2.0/24", "nexthop": "10.5.0.77"}
    two = {"destination": "198.51.100.0/24", "nexthop": "10.5.0.78"}
    body = {"router": {"routes": [one]}}
    assert (await site.ask("PUT", f"{path}/add_extraroutes", body))["router"]["routes"] == [one]
    again = {"router": {"routes": [one, two]}}
    assert (await site.ask("PUT", f"{path}/add_extraroutes", again))["router"]["routes"] == [one, two]
    for bad in ({**one, "nexthop": "203.0.113.9"}, {**one, "nexthop": "10.5.0.1"}, {**one, "destination": "::/0"}):
        assert await site.fails("PUT", path, {"router": {"routes": [bad]}}, expect=400) == "InvalidRoutes"
    kind = await site.fails("PUT", f"{path}/remove_router_interface", {"subnet_id": subnet}, expect=409)
    assert kind == "RouterInterfaceInUseByRoute"
    assert (await site.ask("PUT", f"{path}/remove_extraroutes", body))["router"]["routes"] == [two]
    await site.ask("PUT", f"{path}/add_extraroutes", body, who="bob", expect=404)
    await site.ask("PUT", f"{path}/add_extraroutes", body, who="eve", expect=403)
    assert (await site.ask("PUT", path, {"router": {"routes": []}}))["router"]["routes"] == []
