"""The network service on a real database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from network_world import ADMIN, ANN, BEN, Cloud

from kilonova.cloud.network import address_store
from kilonova.cloud.network.bootstrap import bootstrap
from kilonova.cloud.network.group_service import NewRule
from kilonova.cloud.network.model import Listing, Pool, WantedIp
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.port_service import NewPort
from kilonova.cloud.network.router_service import NewGateway, NewRouter
from kilonova.cloud.network.subnet_service import NewSubnet
from kilonova.cloud.quota import store as quota
from kilonova.core.errors import Conflict, Forbidden, Invalid, NoCapacity, NotFound, QuotaExceeded
from kilonova.kit.db import Database


@pytest.fixture
def cloud(database: Database) -> Cloud:
    return Cloud(database)


async def test_subnet_defaults_and_rules(cloud: Cloud) -> None:
    network, subnet = await cloud.network(cidr="10.1.0.0/29")
    assert (subnet.gateway_ip, subnet.pools) == ("10.1.0.1", (Pool("10.1.0.2", "10.1.0.6"),))
    dhcp = await cloud.service.ports.find(ANN, Listing({"network_id": (network.id,)}))
    assert [(p.device_owner, p.fixed_ips[0].address) for p in dhcp] == [("network:dhcp", "10.1.0.2")]
    create = cloud.service.subnets.create
    for cidr, kind in (("10.1.0.0/24", Invalid), ("10.1.1.5/24", Invalid), ("nonsense", Invalid), ("::/0", Invalid)):
        with pytest.raises(kind):
            await create(ANN, NewSubnet(network_id=network.id, cidr=cidr))
    with pytest.raises(Conflict):
        pools = [Pool("10.2.0.1", "10.2.0.9")]
        await create(ANN, NewSubnet(network_id=network.id, cidr="10.2.0.0/24", pools=pools))
    with pytest.raises(NotFound):
        await create(BEN, NewSubnet(network_id=network.id, cidr="10.3.0.0/24"))
    assert await cloud.use("ann") == {"network": 1, "subnet": 1}


async def test_addresses_run_out_and_come_back(cloud: Cloud) -> None:
    network, _ = await cloud.network(cidr="10.1.0.0/29")
    ports = [await cloud.service.ports.create(ANN, NewPort(network_id=network.id)) for _ in range(4)]
    assert [p.fixed_ips[0].address for p in ports] == [f"10.1.0.{i}" for i in (3, 4, 5, 6)]
    with pytest.raises(NoCapacity):
        await cloud.service.ports.create(ANN, NewPort(network_id=network.id))
    assert (await cloud.use("ann"))["port"] == 4
    await cloud.service.ports.delete(ANN, ports[1].id)
    again = await cloud.service.ports.create(ANN, NewPort(network_id=network.id))
    assert again.fixed_ips[0].address == "10.1.0.4"


async def test_a_run_of_taken_addresses_is_skipped(cloud: Cloud) -> None:
    network, subnet = await cloud.network()
    for i in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15):
        wanted = [WantedIp(None, f"10.1.0.{i}")]
        await cloud.service.ports.create(ANN, NewPort(network_id=network.id, fixed_ips=wanted))
    made = [await cloud.service.ports.create(ANN, NewPort(network_id=network.id)) for _ in range(2)]
    assert [p.fixed_ips[0].address for p in made] == ["10.1.0.14", "10.1.0.16"]
    with pytest.raises(Conflict):
        await cloud.service.ports.create(
            ANN, NewPort(network_id=network.id, fixed_ips=[WantedIp(subnet.id, "10.1.0.3")])
        )
    for address in ("10.9.0.3", "10.1.0.255", "10.1.0.0"):
        with pytest.raises(Invalid):
            wanted = [WantedIp(None, address)]
            await cloud.service.ports.create(ANN, NewPort(network_id=network.id, fixed_ips=wanted))


async def test_parallel_ports_never_share(cloud: Cloud) -> None:
    network, subnet = await cloud.network(cidr="10.1.0.0/26")
    new = NewPort(network_id=network.id)
    made = await asyncio.gather(*(cloud.service.ports.create(ANN, new) for _ in range(70)), return_exceptions=True)
    ports = [p for p in made if not isinstance(p, BaseException)]
    assert {type(p) for p in made if isinstance(p, BaseException)} == {NoCapacity}
    # 62 addresses less the gateway and the DHCP server.
    assert len({p.fixed_ips[0].address for p in ports}) == len(ports) == 60
    await asyncio.gather(*(cloud.service.ports.delete(ANN, p.id) for p in ports))
    assert await cloud.db.read(lambda tx: address_store.count(tx, subnet.id)) == 1
    assert await cloud.db.read(quota.recount) == []


async def test_macs_are_unique_in_a_network(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    mac = "FA:16:3E:00:00:05"
    port = await cloud.service.ports.create(ANN, NewPort(network_id=network.id, mac=mac))
    assert port.mac == mac.lower()
    with pytest.raises(Conflict):
        await cloud.service.ports.create(ANN, NewPort(network_id=network.id, mac=mac))
    drawn = [await cloud.service.ports.create(ANN, NewPort(network_id=network.id)) for _ in range(5)]
    assert len({p.mac for p in (*drawn, port)}) == 6


async def test_ipv6(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    create = cloud.service.subnets.create
    slaac: dict[str, Any] = {"ra_mode": "slaac", "address_mode": "slaac", "ip_version": 6}
    with pytest.raises(Invalid):
        await create(ANN, NewSubnet(network_id=network.id, cidr="2001:db8:1::/72", **slaac))
    await create(ANN, NewSubnet(network_id=network.id, cidr="2001:db8:1::/64", **slaac))
    wide = await create(ANN, NewSubnet(network_id=network.id, cidr="2001:db8:2::/64", ip_version=6))
    assert wide.pools == (Pool("2001:db8:2::2", "2001:db8:2:0:ffff:ffff:ffff:ffff"),)
    port = await cloud.service.ports.create(ANN, NewPort(network_id=network.id, mac="fa:16:3e:11:22:33"))
    assert {f.address for f in port.fixed_ips} == {"10.1.0.3", "2001:db8:2::3", "2001:db8:1:0:f816:3eff:fe11:2233"}


async def test_derived_addresses_come_and_go_with_their_subnet(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    port = await cloud.service.ports.create(ANN, NewPort(network_id=network.id, mac="fa:16:3e:00:00:99"))
    slaac = NewSubnet(network_id=network.id, cidr="2001:db8::/64", ip_version=6, ra_mode="slaac", address_mode="slaac")
    subnet = await cloud.service.subnets.create(ANN, slaac)
    assert "2001:db8::f816:3eff:fe00:99" in {f.address for f in (await cloud.service.ports.get(ANN, port.id)).fixed_ips}
    moved = await cloud.service.ports.update(ADMIN, port.id, {"mac": "fa:16:3e:00:00:98"})
    assert {f.address for f in moved.fixed_ips} == {"10.1.0.3", "2001:db8::f816:3eff:fe00:98"}
    await cloud.service.subnets.delete(ANN, subnet.id)
    after = await cloud.service.ports.get(ANN, port.id)
    assert [f.address for f in after.fixed_ips] == ["10.1.0.3"]
    assert after.revision > moved.revision


async def test_what_is_in_use_stays(cloud: Cloud) -> None:
    network, subnet = await cloud.network()
    port = await cloud.service.ports.create(ANN, NewPort(network_id=network.id))
    for refused in (cloud.service.networks.delete(ANN, network.id), cloud.service.subnets.delete(ANN, subnet.id)):
        with pytest.raises(Conflict):
            await refused
    await cloud.service.ports.delete(ANN, port.id)
    await cloud.service.networks.delete(ANN, network.id)
    with pytest.raises(NotFound):
        await cloud.service.subnets.get(ANN, subnet.id)
    assert await cloud.use("ann") == {}
    assert await cloud.db.read(quota.recount) == []


async def test_who_sees_what(cloud: Cloud) -> None:
    own, _ = await cloud.network()
    shared, subnet = await cloud.network(ADMIN, "10.2.0.0/24", shared=True)
    outside, _ = await cloud.network(ADMIN, "10.3.0.0/24", external=True)
    seen = await cloud.service.networks.find(BEN, Listing())
    assert [n.id for n in seen] == [shared.id, outside.id]
    for hidden in (cloud.service.networks.get(BEN, own.id), cloud.service.networks.delete(BEN, shared.id)):
        with pytest.raises(NotFound):
            await hidden
    with pytest.raises(Forbidden):
        await cloud.service.networks.create(BEN, NewNetwork(shared=True))
    port = await cloud.service.ports.create(BEN, NewPort(network_id=shared.id))
    assert port.fixed_ips[0].subnet_id == subnet.id
    with pytest.raises(NotFound):
        await cloud.service.ports.get(ANN, port.id)


async def test_pages_go_both_ways(cloud: Cloud) -> None:
    for name in ("c", "a", "b", "a"):
        await cloud.service.networks.create(ANN, NewNetwork(name=name))
    find = cloud.service.networks.find
    order = (("name", True),)
    every = await find(ANN, Listing(sort=order))
    assert [n.name for n in every] == ["a", "a", "b", "c"]
    second = await find(ANN, Listing(sort=order, limit=2, marker=every[0].id))
    assert [n.id for n in second] == [every[1].id, every[2].id]
    before = await find(ANN, Listing(sort=order, limit=2, marker=every[3].id, reverse=True))
    assert [n.id for n in before] == [every[1].id, every[2].id]
    assert [n.name for n in await find(ANN, Listing({"name": ("b", "c")}, sort=(("name", False),)))] == ["c", "b"]
    with pytest.raises(NotFound):
        await find(ANN, Listing(marker="nobody"))


async def test_routers_join_networks(cloud: Cloud) -> None:
    inner, subnet = await cloud.network()
    outside, _ = await cloud.network(ADMIN, "172.24.4.0/24", external=True)
    routers = cloud.service.routers
    router = await routers.create(ANN, NewRouter(name="r", gateway=NewGateway(outside.id)))
    assert router.gateway
    assert router.gateway.fixed_ips[0].address == "172.24.4.3"
    leg = await routers.join_subnet(ANN, router.id, subnet.id)
    assert leg.fixed_ips[0].address == "10.1.0.1"
    with pytest.raises(Invalid):
        await routers.join_subnet(ANN, router.id, subnet.id)
    with pytest.raises(Invalid):
        await routers.update(ANN, router.id, {"gateway": NewGateway(inner.id)})
    used = [
        routers.delete(ANN, router.id),
        cloud.service.ports.delete(ANN, leg.id),
        cloud.service.networks.delete(ADMIN, outside.id),
    ]
    for refused in used:
        with pytest.raises(Conflict):
            await refused
    port = await cloud.service.ports.create(ANN, NewPort(network_id=inner.id, groups=()))
    await routers.join_port(ANN, (await routers.create(ANN, NewRouter())).id, port.id)
    with pytest.raises(NotFound):
        await routers.leave(ANN, router.id, subnet_id=subnet.id, port_id=port.id)
    await routers.leave(ANN, router.id, subnet_id=subnet.id)
    cleared = await routers.update(ANN, router.id, {"gateway": None})
    assert cleared.gateway is None
    await routers.delete(ANN, router.id)
    await cloud.service.networks.delete(ADMIN, outside.id)
    assert await cloud.db.read(quota.recount) == []


async def test_groups_and_rules(cloud: Cloud) -> None:
    groups = cloud.service.groups
    (default,) = await groups.find(ANN, Listing())
    assert default.is_default
    assert len(default.rules) == 4
    web = await groups.create(ANN, "web")
    rule = NewRule(group_id=web.id, direction="ingress", protocol="tcp", port_min=80, port_max=80)
    await groups.create_rule(ANN, rule)
    with pytest.raises(Conflict):
        await groups.create_rule(ANN, rule)
    with pytest.raises(NotFound):
        await groups.create_rule(BEN, rule)
    away = NewRule(group_id=default.id, direction="ingress", remote_group=web.id)
    await groups.create_rule(ANN, away)
    network, _ = await cloud.network()
    port = await cloud.service.ports.create(ANN, NewPort(network_id=network.id, groups=[web.id]))
    for refused in (groups.delete(ANN, web.id), groups.delete(ANN, default.id), groups.create(ANN, "default")):
        with pytest.raises(Conflict):
            await refused
    await cloud.service.ports.update(ANN, port.id, {"groups": [default.id]})
    await groups.delete(ANN, web.id)
    assert len((await groups.get(ANN, default.id)).rules) == 4
    assert "security_group_rule" not in await cloud.use("ann")


async def test_quota_refuses(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    await cloud.service.limits.set("ann", {"port": 1})
    await cloud.service.ports.create(ANN, NewPort(network_id=network.id))
    with pytest.raises(QuotaExceeded):
        await cloud.service.ports.create(ANN, NewPort(network_id=network.id))
    with pytest.raises(QuotaExceeded):
        await cloud.service.allocation.check(ANN, None, (), 1)
    assert len(await cloud.service.ports.find(ANN, Listing({"device_owner": ("",)}))) == 1


async def test_ports_of_routers_are_not_a_users_to_change(cloud: Cloud) -> None:
    await bootstrap(cloud.ground, ADMIN)
    (leg,) = await cloud.service.ports.find(ADMIN, Listing({"device_owner": ("network:router_interface",)}))
    for values in ({"device_id": ""}, {"device_owner": ""}, {"mac": "fa:16:3e:99:99:99"}):
        with pytest.raises(Conflict):
            await cloud.service.ports.update(ADMIN, leg.id, values)
    free = await cloud.service.ports.create(ANN, NewPort(network_id=leg.network_id))
    with pytest.raises(Invalid):
        await cloud.service.ports.update(ANN, free.id, {"device_owner": "network:router_interface"})
