"""NICs of servers, and what nodes get to hold, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from network_world import ADMIN, ANN, BEN, Cloud, flat

from kilonova.cloud.network import document_store, port_store
from kilonova.cloud.network.bootstrap import Layout, bootstrap
from kilonova.cloud.network.group_service import NewGroup, NewRule
from kilonova.cloud.network.herald import Herald
from kilonova.cloud.network.model import Change, Listing, NicRequest, NicsTold, WantedIp
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.port_service import NewPort
from kilonova.cloud.network.subnet_service import NewSubnet
from kilonova.cloud.network.sweep import release_orphans
from kilonova.cloud.quota import store as quota
from kilonova.core.errors import Conflict, Failure, Forbidden, Invalid, Lost, NotFound
from kilonova.core.ids import new_uuid
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx
from kilonova.wire.node import Docs, Version


@pytest.fixture
def cloud(database: Database) -> Cloud:
    return Cloud(database)


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
    beyond = await cloud.service.ports.create(ANN, NewPort(network_id=outside.id))
    address = port.fixed_ips[0].address
    cases: list[tuple[list[NicRequest], tuple[str, ...], int, type[Failure]]] = [
        ([NicRequest(network_id=new_uuid())], (), 1, Invalid),
        ([NicRequest(network_id=empty.id)], (), 1, Invalid),
        ([NicRequest(network_id=outside.id)], (), 1, Forbidden),
        ([NicRequest(port_id=beyond.id)], (), 1, Forbidden),
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
    assert await cloud.db.read(lambda tx: allocation.told(tx, ["s1", "s2"])) == {"s1": NicsTold(made, ("default",))}
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
    assert {key: doc.version for key, doc in flat(docs).items()} == {i: v for (_, i), v in versions.items()}
    everything = [Version(kind=kind, id=i, version=v) for (kind, i), v in versions.items()]  # type: ignore[arg-type]
    assert await cloud.db.read(lambda tx: document_store.documents(tx, "h2", everything)) == Docs()


async def test_every_change_raises_its_versions(cloud: Cloud) -> None:
    """Whatever differs in a document has a higher version than before; what does not has the same."""
    await bootstrap(cloud.ground, ADMIN)
    await cloud.boot(ANN, "s1")
    service = cloud.service
    (default,) = await service.groups.find(ANN, Listing())
    web = await service.groups.create(ANN, "web")
    docs = (await cloud.held("h1"))[1]
    port, private = docs.ports[0], next(n for n in docs.networks if not n.external)
    public = next(n for n in docs.networks if n.external)
    router = docs.routers[0].router_id
    subnet, outer = private.subnets[0].subnet_id, public.subnets[0].subnet_id
    acts: list[Callable[[], Awaitable[Any]]] = [
        lambda: service.groups.create_rule(ANN, NewRule(group_id=default.id, direction="ingress", protocol="icmp")),
        lambda: service.groups.create_rule(ANN, NewRule(group_id=web.id, direction="ingress", protocol="udp")),
        lambda: service.ports.update(ANN, port.port_id, {"groups": [default.id, web.id]}),
        lambda: service.ports.update(ANN, port.port_id, {"groups": [web.id]}),
        lambda: service.ports.update(ANN, port.port_id, {"groups": [default.id]}),
        lambda: service.ports.update(ADMIN, port.port_id, {"fixed_ips": [WantedIp(None, "10.0.0.50")]}),
        lambda: service.ports.update(ANN, port.port_id, {"admin_up": False}),
        lambda: cloud.boot(ANN, "s2", "h2"),
        lambda: service.networks.update(ADMIN, private.network_id, {"mtu": 1400}),
        lambda: service.networks.update(ADMIN, private.network_id, {"admin_up": False}),
        lambda: service.subnets.update(ADMIN, subnet, {"dns_servers": ["9.9.9.9"]}),
        lambda: service.subnets.update(ADMIN, subnet, {"enable_dhcp": False}),
        lambda: service.subnets.update(ADMIN, outer, {"gateway_ip": None}),
        lambda: service.subnets.create(ADMIN, NewSubnet(network_id=private.network_id, cidr="10.0.1.0/24")),
        lambda: service.routers.update(ADMIN, router, {"admin_up": False}),
        lambda: service.routers.update(ADMIN, router, {"gateway": None}),
        lambda: service.routers.leave(ADMIN, router, subnet_id=subnet),
    ]
    for number, act in enumerate(acts):
        before = flat((await cloud.held("h1"))[1])
        cloud.hints.clear()
        await act()
        after = flat((await cloud.held("h1"))[1])
        for key in before.keys() & after.keys():
            assert before[key] == after[key] or after[key].version > before[key].version, (number, key)
        told = await cloud.db.read(lambda tx: document_store.hosts_of(tx, cloud.hints))
        # Rules of a group that the host's port is not in yet are none of its business.
        assert (before != after, "h1" in told) == ((False, False) if number == 1 else (True, True)), number
    assert [n.admin_up for n in (await cloud.held("h1"))[1].networks if n.network_id == private.network_id] == [False]


async def test_everything_at_once(cloud: Cloud) -> None:
    """Boots, releases, rules and group changes side by side: no deadlock comes out, and the books are right."""
    network, _ = await cloud.network()
    service = cloud.service
    web = await service.groups.create(ANN, "web")
    ports = [await service.ports.create(ANN, NewPort(network_id=network.id)) for _ in range(4)]

    async def boot(number: int) -> None:
        await cloud.boot(ANN, f"s{number}")
        if number % 2:
            await cloud.db.write(lambda tx: service.allocation.release(tx, f"s{number}"))

    async def regroup(port_id: str, number: int) -> None:
        for groups in ([web.id], [], [web.id]):
            await service.ports.update(ANN, port_id, {"groups": groups})
            new = NewRule(group_id=web.id, direction="ingress", protocol="tcp", port_min=number, port_max=number)
            rule = await service.groups.create_rule(ANN, new)
            await service.groups.delete_rule(ANN, rule.id)

    await asyncio.gather(*(boot(n) for n in range(24)), *(regroup(p.id, n) for n, p in enumerate(ports, 1)))
    assert len(await cloud.db.read(service.allocation.bound_servers)) == 12
    assert (await cloud.use("ann"))["port"] == 16
    assert await cloud.db.read(quota.recount) == []


async def test_a_group_that_goes_while_ports_want_it(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    service = cloud.service
    port = await service.ports.create(ANN, NewPort(network_id=network.id))
    for number in range(8):
        group = (await service.groups.create(ANN, f"g{number}")).id
        nics = await service.allocation.check(ANN, [NicRequest(network_id=network.id)], (group,), 1)
        ended = await asyncio.gather(
            service.ports.create(ANN, NewPort(network_id=network.id, groups=[group])),
            service.groups.delete(ANN, group),
            service.ports.update(ANN, port.id, {"groups": [group]}),
            service.allocation.allocate(
                lambda tx: None, project_id="ann", server_id=f"s{number}", host_id="h", hostname="g", nics=nics
            ),
            return_exceptions=True,
        )
        assert not [e for e in ended if isinstance(e, BaseException) and not isinstance(e, Conflict | NotFound)], ended
        await service.ports.update(ANN, port.id, {"groups": []})
    assert await cloud.db.read(quota.recount) == []


async def test_a_server_is_in_groups_of_one_kind(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    loose = NewGroup(name="loose", stateful=False)
    group = (await cloud.service.groups.create_all(ANN, [loose]))[0].id
    asked = [NicRequest(network_id=network.id)]
    with pytest.raises(Conflict):
        await cloud.service.allocation.check(ANN, asked, ("default", "loose"), 1)
    strict = (await cloud.service.groups.create(ANN, "strict")).id
    nics = await cloud.service.allocation.check(ANN, asked, ("default", "strict"), 1)
    await cloud.service.groups.update(ANN, strict, {"stateful": False})
    with pytest.raises(Conflict):
        await cloud.service.allocation.allocate(
            lambda tx: None, project_id="ann", server_id="s", host_id="h", hostname="g", nics=nics
        )
    assert (await cloud.service.allocation.check(ANN, asked, ("loose", strict), 1)).groups == (group, strict)


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
