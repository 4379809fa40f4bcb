"""The network service on a real database."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kilonova.cloud.network import address_store, document_store, port_store
from kilonova.cloud.network.bootstrap import Layout, bootstrap
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.group_service import NewRule
from kilonova.cloud.network.herald import Herald
from kilonova.cloud.network.model import Change, CheckedNics, Listing, Network, NicRequest, Pool, Subnet, WantedIp
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.port_service import NewPort
from kilonova.cloud.network.router_service import NewGateway, NewRouter
from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.network.subnet_service import NewSubnet
from kilonova.cloud.network.sweep import release_orphans
from kilonova.cloud.quota import store as quota
from kilonova.core.context import Context
from kilonova.core.errors import Conflict, Failure, Forbidden, Invalid, Lost, NoCapacity, NotFound, QuotaExceeded
from kilonova.core.ids import new_uuid
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx
from kilonova.wire.node import Docs, Version


def context(project: str, *, admin: bool = False) -> Context:
    roles = frozenset({"admin", "member"} if admin else {"member"})
    return Context(user_id=f"u-{project}", project_id=project, roles=roles, request_id="req-1", is_admin=admin)


ADMIN = context("ops", admin=True)
ANN = context("ann")
BEN = context("ben")


class Cloud:
    """The services on one database, and the hints that they gave."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.hints: list[Change] = []
        numbers = itertools.count(1)
        self.ground = Ground(db, new_uuid, lambda: f"fa:16:3e:{next(numbers).to_bytes(3).hex(':')}", self.hints.append)
        self.service = NetworkServices(self.ground)

    async def network(self, who: Context = ANN, cidr: str = "10.1.0.0/24", **facts: Any) -> tuple[Network, Subnet]:
        made = await self.service.networks.create(who, NewNetwork(name="n", **facts))
        subnet = await self.service.subnets.create(who, NewSubnet(network_id=made.id, cidr=cidr))
        return made, subnet

    async def boot(self, who: Context, server: str, host: str = "h1", requests: Any = None) -> CheckedNics:
        nics = await self.service.allocation.check(who, requests, (), 1)
        await self.service.allocation.allocate(
            lambda tx: None, project_id=who.project_id or "", server_id=server, host_id=host, hostname="g", nics=nics
        )
        return nics

    async def held(self, host: str) -> tuple[dict[tuple[str, str], int], Docs]:
        def work(tx: Tx) -> tuple[list[Version], Docs]:
            versions = document_store.versions(tx, host)
            return versions, document_store.documents(tx, host, versions)

        versions, docs = await self.db.read(work)
        return {(v.kind, v.id): v.version for v in versions}, docs

    async def use(self, project: str) -> dict[str, int]:
        return {name: use.used for name, use in (await self.service.limits.get(project)).items() if use.used}


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


async def test_default_network_is_chosen_as_nova_does(cloud: Cloud) -> None:
    check = cloud.service.allocation.check
    assert (await check(ANN, None, (), 1)).nics == ()
    with pytest.raises(Invalid):
        await check(ANN, "auto", (), 1)
    assert await bootstrap(cloud.ground, ADMIN, Layout("172.24.9.0/24", "10.0.9.0/24"))
    assert not await bootstrap(cloud.ground, ADMIN)
    for who in (ANN, ADMIN):
        assert len((await check(who, None, ("default",), 3)).nics) == 1
    assert (await check(ANN, "none", (), 1)).nics == ()
    own, _ = await cloud.network()
    with pytest.raises(Conflict):
        await check(ANN, None, (), 1)
    assert (await check(ANN, [NicRequest(network_id=own.id)], (), 1)).nics[0].network_id == own.id
    assert len((await check(BEN, "auto", (), 1)).nics) == 1


async def test_requests_that_are_refused(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    empty = await cloud.service.networks.create(ANN, NewNetwork())
    outside, _ = await cloud.network(ADMIN, "10.8.0.0/24", external=True)
    port = await cloud.service.ports.create(ANN, NewPort(network_id=network.id))
    address = port.fixed_ips[0].address
    cases: list[tuple[list[NicRequest], tuple[str, ...], int, type[Failure]]] = [
        ([NicRequest(network_id=new_uuid())], (), 1, Invalid),
        ([NicRequest(network_id=empty.id)], (), 1, Invalid),
        ([NicRequest(network_id=outside.id)], (), 1, Forbidden),
        ([NicRequest(port_id=new_uuid())], (), 1, Invalid),
        ([NicRequest(port_id=port.id)], (), 2, Invalid),
        ([NicRequest(port_id=port.id), NicRequest(port_id=port.id)], (), 1, Conflict),
        ([NicRequest(network_id=network.id, fixed_ip=address)], (), 1, Invalid),
        ([NicRequest(network_id=network.id, fixed_ip="10.99.0.1")], (), 1, Invalid),
        ([NicRequest(network_id=network.id, fixed_ip="10.1.0.99")], (), 2, Invalid),
        ([NicRequest(network_id=network.id)], ("nothing",), 1, Invalid),
    ]
    for requests, groups, count, kind in cases:
        with pytest.raises(kind):
            await cloud.service.allocation.check(ANN, requests, groups, count)
    with pytest.raises(Invalid):
        await cloud.service.allocation.check(BEN, [NicRequest(port_id=port.id)], (), 1)


async def test_allocation_is_idempotent_and_moves(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    brought = await cloud.service.ports.create(ANN, NewPort(network_id=network.id, name="mine"))
    asked = [NicRequest(port_id=brought.id), NicRequest(network_id=network.id, fixed_ip="10.1.0.77", tag="lan")]
    allocation = cloud.service.allocation
    nics = await allocation.check(ANN, asked, (), 1)
    for host in ("h1", "h1", "h2"):
        made = await allocation.allocate(
            lambda tx: None, project_id="ann", server_id="s1", host_id=host, hostname="one", nics=nics
        )
        assert [(n.created, n.tag) for n in made] == [(False, ""), (True, "lan")]
        assert [n.addresses[0].address for n in made] == ["10.1.0.3", "10.1.0.77"]
        docs = await cloud.db.read(lambda tx, host=host: allocation.port_docs(tx, "s1", host))  # type: ignore[misc]
        assert [d.port_id for d in docs] == [n.port_id for n in made]
        assert len(docs[1].rules) == 4
        assert docs[0].hostname == "one"
    assert await cloud.db.read(lambda tx: allocation.nics(tx, ["s1", "s2"])) == {"s1": made}
    with pytest.raises(Conflict):
        await allocation.check(ANN, [NicRequest(port_id=brought.id)], (), 1)
    with pytest.raises(Conflict):
        await cloud.service.ports.delete(ANN, brought.id)
    for _ in range(2):
        await cloud.db.write(lambda tx: allocation.release(tx, "s1"))
    left = await cloud.service.ports.find(ANN, Listing({"device_owner": ("",)}))
    assert [(p.id, p.host_id, p.status) for p in left] == [(brought.id, "", "DOWN")]
    assert (await cloud.use("ann"))["port"] == 1


async def test_a_superseded_caller_allocates_nothing(cloud: Cloud) -> None:
    await cloud.network()
    nics = await cloud.service.allocation.check(ANN, None, (), 1)

    def guard(tx: Tx) -> None:
        raise Lost("superseded")

    with pytest.raises(Lost):
        await cloud.service.allocation.allocate(
            guard, project_id="ann", server_id="s1", host_id="h1", hostname="g", nics=nics
        )
    assert await cloud.db.read(port_store.bound) == []


async def test_orphans_are_released(cloud: Cloud) -> None:
    await cloud.network()
    await cloud.boot(ANN, "s1")
    await cloud.boot(ANN, "s2")
    gone = await release_orphans(cloud.db, cloud.service.allocation, lambda tx, ids: {"s2"} & set(ids))
    assert gone == ["s1"]
    assert {server for _, server, _ in await cloud.db.read(cloud.service.allocation.bound_servers)} == {"s2"}


async def test_a_host_holds_what_its_guests_need(cloud: Cloud) -> None:
    await bootstrap(cloud.ground, ADMIN)
    assert await cloud.held("h1") == ({}, Docs())
    await cloud.boot(ANN, "s1")
    await cloud.boot(ANN, "s2")
    await cloud.network(BEN, "10.7.0.0/24")
    versions, docs = await cloud.held("h1")
    assert sorted(kind for kind, _ in versions) == ["address_set", "network", "network", "port", "port", "router"]
    private = next(n for n in docs.networks if not n.external)
    assert private.subnets[0].dhcp_address == "10.0.0.2"
    (router,) = docs.routers
    assert router.external
    assert router.external.addresses == ("172.24.4.2/24",)
    assert router.interfaces[0].addresses == ("10.0.0.1/24",)
    assert router.next_hops == ("172.24.4.1",)
    assert docs.address_sets[0].addresses == ("10.0.0.3", "10.0.0.4")
    assert {key: doc.version for key, doc in _flat(docs).items()} == {i: v for (_, i), v in versions.items()}
    everything = [Version(kind=kind, id=i, version=v) for (kind, i), v in versions.items()]  # type: ignore[arg-type]
    assert await cloud.db.read(lambda tx: document_store.documents(tx, "h2", everything)) == Docs()


async def test_every_change_raises_its_versions(cloud: Cloud) -> None:
    """Whatever differs in a document has a higher version than before; what does not has the same."""
    await bootstrap(cloud.ground, ADMIN)
    await cloud.boot(ANN, "s1")
    service = cloud.service
    (default,) = await service.groups.find(ANN, Listing())
    web = await service.groups.create(ANN, "web")
    _, docs = await cloud.held("h1")
    port, private = docs.ports[0], next(n for n in docs.networks if not n.external)
    public = next(n for n in docs.networks if n.external)
    router = docs.routers[0].router_id
    subnet, outer = private.subnets[0].subnet_id, public.subnets[0].subnet_id
    rule = NewRule(group_id=default.id, direction="ingress", protocol="icmp")
    acts: list[Callable[[], Awaitable[Any]]] = [
        lambda: service.groups.create_rule(ANN, rule),
        lambda: service.groups.create_rule(ANN, NewRule(group_id=web.id, direction="ingress", protocol="udp")),
        lambda: service.ports.update(ANN, port.port_id, {"groups": [default.id, web.id]}),
        lambda: service.ports.update(ANN, port.port_id, {"groups": [web.id]}),
        lambda: service.ports.update(ANN, port.port_id, {"groups": [default.id]}),
        lambda: service.ports.update(ADMIN, port.port_id, {"fixed_ips": [WantedIp(None, "10.0.0.50")]}),
        lambda: service.ports.update(ANN, port.port_id, {"admin_up": False}),
        lambda: cloud.boot(ANN, "s2", "h2"),
        lambda: service.networks.update(ADMIN, private.network_id, {"mtu": 1400}),
        lambda: service.subnets.update(ADMIN, subnet, {"dns_servers": ["9.9.9.9"]}),
        lambda: service.subnets.update(ADMIN, subnet, {"enable_dhcp": False}),
        lambda: service.subnets.update(ADMIN, outer, {"gateway_ip": None}),
        lambda: service.subnets.create(ADMIN, NewSubnet(network_id=private.network_id, cidr="10.0.1.0/24")),
        lambda: service.routers.update(ADMIN, router, {"admin_up": False}),
        lambda: service.routers.update(ADMIN, router, {"gateway": None}),
        lambda: service.routers.leave(ADMIN, router, subnet_id=subnet),
    ]
    for number, act in enumerate(acts):
        before = _flat((await cloud.held("h1"))[1])
        cloud.hints.clear()
        await act()
        after = _flat((await cloud.held("h1"))[1])
        for key in before.keys() & after.keys():
            assert before[key] == after[key] or after[key].version > before[key].version, (number, key)
        told = await cloud.db.read(lambda tx: document_store.hosts_of(tx, cloud.hints))
        # Rules of a group that the host's port is not in yet are none of its business.
        assert (before != after, "h1" in told) == ((False, False) if number == 1 else (True, True)), number


async def test_hosts_are_told_once_of_many_changes(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    for server, host in (("s1", "h1"), ("s2", "h2"), ("s3", "h1")):
        await cloud.boot(ANN, server, host)
    await cloud.network(BEN, "10.7.0.0/24")
    told: asyncio.Queue[list[str]] = asyncio.Queue()
    herald = Herald(cloud.db, SystemClock(), told.put_nowait, pause=0.05)
    await herald.start()
    try:
        for mtu in (1400, 1401):
            await cloud.service.networks.update(ANN, network.id, {"mtu": mtu})
        for hint in cloud.hints:
            herald.notify(hint)
        assert await asyncio.wait_for(told.get(), 10) == ["h1", "h2"]
        herald.notify(Change("network", "unknown"))
        herald.notify(Change("network", network.id))
        assert await asyncio.wait_for(told.get(), 10) == ["h1", "h2"]
        assert told.empty()
    finally:
        await herald.stop()


async def test_ports_of_routers_are_not_a_users_to_change(cloud: Cloud) -> None:
    await bootstrap(cloud.ground, ADMIN)
    (leg,) = await cloud.service.ports.find(ADMIN, Listing({"device_owner": ("network:router_interface",)}))
    for values in ({"device_id": ""}, {"device_owner": ""}, {"mac": "fa:16:3e:99:99:99"}):
        with pytest.raises(Conflict):
            await cloud.service.ports.update(ADMIN, leg.id, values)
    free = await cloud.service.ports.create(ANN, NewPort(network_id=leg.network_id))
    with pytest.raises(Invalid):
        await cloud.service.ports.update(ANN, free.id, {"device_owner": "network:router_interface"})


def _flat(docs: Docs) -> dict[str, Any]:
    return {
        **{p.port_id: p for p in docs.ports},
        **{n.network_id: n for n in docs.networks},
        **{r.router_id: r for r in docs.routers},
        **{a.group_id: a for a in docs.address_sets},
    }
