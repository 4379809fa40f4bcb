"""Security groups, fixed and floating addresses of servers, by the actions of the Compute API and behind its back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from compute_world import Site, act, caller

from kilonova.cloud.network.floating_service import NewFloatingIp
from kilonova.cloud.network.group_service import NewRule
from kilonova.cloud.network.model import WantedIp
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.router_service import NewGateway, NewRouter
from kilonova.cloud.network.subnet_service import NewSubnet

GHOST = "00000000-0000-4000-8000-000000000000"


def old(minor: int = 43) -> dict[str, str]:
    return {"openstack-api-version": f"compute 2.{minor}"}


async def do(site: Site, server_id: str, action: str, value: Any, minor: int = 43, who: str = "ann") -> int:
    body = {action: value}
    answer = await getattr(site, who).post(f"/servers/{server_id}/action", json=body, headers=old(minor))
    return int(answer.status_code)


async def shows(site: Site, server_id: str, what: Callable[[dict[str, Any]], Any], wanted: Any) -> None:
    """A server's row follows its ports within a moment."""
    async with asyncio.timeout(5):
        while what(await site.show(server_id)) != wanted:
            await asyncio.sleep(0.02)


def addresses(server: dict[str, Any]) -> list[tuple[str, str]]:
    return [(a["OS-EXT-IPS:type"], a["addr"]) for network in server["addresses"].values() for a in network]


def groups(server: dict[str, Any]) -> list[str]:
    return sorted(group["name"] for group in server.get("security_groups", ()))


async def test_groups_come_and_go(site: Site) -> None:
    server_id = await site.boot()
    web = await site.networks.groups.create(caller("ann"), "web", "for all")
    await site.networks.groups.create_rule(
        caller("ann"), NewRule(group_id=web.id, direction="ingress", protocol="tcp", port_min=80, port_max=81)
    )
    await site.networks.groups.create_rule(
        caller("ann"), NewRule(group_id=web.id, direction="ingress", remote_group=web.id, ethertype="IPv6")
    )
    for _ in range(2):
        assert (await act(site.ann, server_id, "addSecurityGroup", {"name": "web"})).status_code == 202
    await shows(site, server_id, groups, ["default", "web"])
    path = f"/servers/{server_id}/os-security-groups"
    [shown] = [one for one in (await site.eve.get(path)).json()["security_groups"] if one["name"] == "web"]
    assert (shown["id"], shown["name"], shown["description"]) == (web.id, "web", "for all")
    told = {(r["ip_protocol"], r["from_port"], r["to_port"], r["ip_range"].get("cidr"), r["group"].get("name"))
            for r in shown["rules"]}  # fmt: skip
    assert told == {("tcp", 80, 81, "0.0.0.0/0", None), (None, None, None, None, "web")}
    assert (await act(site.ann, server_id, "removeSecurityGroup", {"name": web.id})).status_code == 202
    assert (await act(site.ann, server_id, "removeSecurityGroup", {"name": "web"})).status_code == 404
    await shows(site, server_id, groups, ["default"])


async def test_which_groups_are_refused(site: Site) -> None:
    server_id = await site.boot()
    await site.networks.groups.create(caller("bob"), "his")
    for _ in range(2):
        await site.networks.groups.create(caller("ann"), "twice")
    for name, code in (("his", 404), ("none", 404), ("twice", 409), ("", 400)):
        for action in ("addSecurityGroup", "removeSecurityGroup"):
            assert (await act(site.ann, server_id, action, {"name": name})).status_code == code, (name, action)
    assert (await act(site.ann, server_id, "addSecurityGroup", {})).status_code == 400
    for who, code in ((site.eve, 403), (site.bob, 404)):
        assert (await act(who, server_id, "addSecurityGroup", {"name": "default"})).status_code == code
    assert (await site.bob.get(f"/servers/{server_id}/os-security-groups")).status_code == 404
    bare = await site.boot(networks="none")
    assert (await act(site.ann, bare, "addSecurityGroup", {"name": "default"})).status_code == 400
    assert (await site.ann.get(f"/servers/{bare}/os-security-groups")).json() == {"security_groups": []}


async def test_fixed_addresses_come_and_go(site: Site) -> None:
    server_id = await site.boot()
    [(_, first)] = addresses(await site.show(server_id))
    assert await do(site, server_id, "addFixedIp", {"networkId": site.network}) == 202
    [port] = await site.ports()
    [second] = [ip.address for ip in port.fixed_ips if ip.address != first]
    await shows(site, server_id, lambda s: sorted(addresses(s)), sorted([("fixed", first), ("fixed", second)]))
    assert await do(site, server_id, "removeFixedIp", {"address": second}) == 202
    assert await do(site, server_id, "removeFixedIp", {"address": second}) == 400
    await shows(site, server_id, addresses, [("fixed", first)])
    assert await do(site, server_id, "addFixedIp", {"networkId": GHOST}) == 404
    for action, value in (("addFixedIp", {"networkId": site.network}), ("removeFixedIp", {"address": first})):
        assert await do(site, server_id, action, value, minor=44) == 404
        assert await do(site, server_id, action, {"nonsense": 1}) == 400
        assert await do(site, server_id, action, value, who="eve") == 403
        assert await do(site, server_id, action, value, who="bob") == 404
    assert addresses(await site.show(server_id)) == [("fixed", first)]


async def outside(site: Site) -> list[str]:
    """Two floating IPs of ann's, on a network that hers is routed to; and where her servers are then."""
    admin, ann, networks = caller("admin"), caller("ann"), site.networks
    public = await networks.networks.create(admin, NewNetwork(name="public", external=True))
    await networks.subnets.create(admin, NewSubnet(network_id=public.id, cidr="203.0.113.0/24", enable_dhcp=False))
    own = await networks.networks.create(ann, NewNetwork(name="own"))
    subnet = await networks.subnets.create(ann, NewSubnet(network_id=own.id, cidr="10.9.0.0/24"))
    router = await networks.routers.create(ann, NewRouter(name="r", gateway=NewGateway(public.id)))
    await networks.routers.join_subnet(ann, router.id, subnet.id)
    made = [await networks.floating_ips.create(ann, NewFloatingIp(network_id=public.id)) for _ in range(2)]
    return [own.id, *(one.address for one in made)]


async def test_floating_addresses_come_and_go(site: Site) -> None:
    network_id, one, other = await outside(site)
    server_id = await site.boot(networks=[{"uuid": network_id}])
    [(_, inside)] = addresses(await site.show(server_id))
    assert await do(site, server_id, "addFloatingIp", {"address": one}) == 202
    await shows(site, server_id, addresses, [("fixed", inside), ("floating", one)])
    for value, code in (
        ({"address": "203.0.113.250"}, 404), ({"address": other, "fixed_address": "10.9.0.250"}, 400), ({}, 400),
        ({"address": "x"}, 400), ({"address": other, "fixed_address": inside}, 409),
    ):  # fmt: skip
        assert await do(site, server_id, "addFloatingIp", value) == code, value
    assert await do(site, server_id, "removeFloatingIp", {"address": other}) == 409
    assert await do(site, server_id, "removeFloatingIp", {"address": one}, who="bob") == 404
    assert await do(site, server_id, "removeFloatingIp", {"address": one}) == 202
    await shows(site, server_id, addresses, [("fixed", inside)])
    bare = await site.boot(networks="none")
    assert await do(site, bare, "addFloatingIp", {"address": one}) == 400


async def test_a_servers_row_follows_what_is_done_to_its_ports(site: Site) -> None:
    server_id = await site.boot()
    [port] = await site.ports()
    wanted = [WantedIp(ip.subnet_id, None) for ip in port.fixed_ips] + [
        WantedIp(ip.subnet_id, ip.address) for ip in port.fixed_ips
    ]
    await site.networks.ports.update(caller("ann"), port.id, {"fixed_ips": wanted})
    await shows(site, server_id, lambda s: len(addresses(s)), 2)
    await site.networks.ports.update(caller("ann"), port.id, {"groups": []})
    await shows(site, server_id, groups, [])
