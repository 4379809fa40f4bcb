"""Whose networks, ports and routers are whose: what an owner, a guest on a shared network and a stranger may do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from network_site import Site, opened


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(tmp_path) as found:
        yield found


async def _granted(site: Site, network: str, to: str) -> str:
    """Grant a network of ann's. Returns the policy's path."""
    values = {"object_type": "network", "object_id": network, "action": "access_as_shared", "target_tenant": to}
    return f"/v2.0/rbac-policies/{(await site.make('rbac_policy', **values))['id']}"


def _join(router: dict[str, Any]) -> str:
    return f"/v2.0/routers/{router['id']}/add_router_interface"


async def test_only_an_owner_gives_away_a_gateway_address(site: Site) -> None:
    network, subnet = await site.network()
    policy = await _granted(site, network, "bob")
    outside = (await site.ask("GET", "/v2.0/networks?router:external=True"))["networks"][0]
    theirs = await site.make("router", "bob")
    for one in (subnet, outside["subnets"][0]):
        await site.ask("PUT", _join(theirs), {"subnet_id": one}, who="bob", expect=403)
    beyond = await site.make("port", "bob", network_id=outside["id"])
    await site.ask("PUT", _join(theirs), {"port_id": beyond["id"]}, who="bob", expect=403)
    port = await site.make("port", "bob", network_id=network)
    await site.ask("PUT", _join(theirs), {"port_id": port["id"]}, who="bob")
    assert await site.fails("DELETE", policy, expect=409) == "RbacPolicyInUse"
    await site.ask("PUT", _join(await site.make("router")), {"subnet_id": subnet})


async def test_the_owner_of_a_network_sees_and_deletes_but_does_not_change_ports_of_others(site: Site) -> None:
    network, _ = await site.network()
    await _granted(site, network, "bob")
    port = await site.make("port", "bob", network_id=network, name="bob's")
    path = f"/v2.0/ports/{port['id']}"
    for values in ({"name": "x"}, {"admin_state_up": False}, {"security_groups": []}, {"fixed_ips": []}):
        await site.ask("PUT", path, {"port": values}, expect=403)
    await site.ask("PUT", f"{path}/tags/mine", expect=403)
    await site.ask("PUT", _join(await site.make("router")), {"port_id": port["id"]}, expect=403)
    await site.ask("PUT", path, {"port": {"name": "x"}}, who="eve", expect=403)
    assert (await site.ask("GET", path))["port"]["name"] == "bob's"
    assert [p["id"] for p in (await site.ask("GET", "/v2.0/ports?name=bob%27s"))["ports"]] == [port["id"]]
    await site.ask("PUT", path, {"port": {"name": "y"}}, who="bob")
    await site.ask("PUT", path, {"port": {"name": "z"}}, who="admin")
    await site.ask("DELETE", path, expect=204)


async def test_a_leg_keeps_what_its_router_needs(site: Site) -> None:
    public, router, network, subnet = await site.routed()
    other = (await site.make("subnet", network_id=network, ip_version=4, cidr="10.6.0.0/24"))["id"]
    (leg,) = (await site.ask("GET", f"/v2.0/ports?device_id={router}&network_id={network}"))["ports"]
    path, act = f"/v2.0/ports/{leg['id']}", f"/v2.0/routers/{router}"
    inside = await site.make("port", network_id=network, fixed_ips=[{"subnet_id": subnet}])
    fip = await site.make("floatingip", floating_network_id=public, port_id=inside["id"])

    async def move(*subnets: str, expect: int) -> None:
        await site.ask("PUT", path, {"port": {"fixed_ips": [{"subnet_id": s} for s in subnets]}}, expect=expect)

    await move(expect=400)
    await move(other, expect=409)
    await move(subnet, other, expect=200)
    await site.ask("PUT", f"{act}/add_router_interface", {"subnet_id": other}, expect=400)
    assert (await site.ask("GET", f"/v2.0/floatingips/{fip['id']}"))["floatingip"]["router_id"] == router
    await site.ask("DELETE", act, expect=409)
    await site.ask("DELETE", f"/v2.0/floatingips/{fip['id']}", expect=204)
    await move(other, expect=200)
    (dhcp,) = (await site.ask("GET", f"/v2.0/ports?network_id={network}&device_owner=network:dhcp"))["ports"]
    await site.ask("PUT", f"/v2.0/ports/{dhcp['id']}", {"port": {"fixed_ips": []}}, expect=409)
    await site.ask("PUT", f"{act}/remove_router_interface", {"port_id": leg["id"]})
    await site.ask("DELETE", act, expect=204)
