"""The net port: what every driver promises (fake and linux), and linux among other clouds, restarts and damage."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from net_world import CLOUD, OTHER_CLOUD, let_in, new_id, port, private, public, real, real_driver, router
from stand_in import WAIT, StandIn, run

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.fake import FakeNet
from kilonova.node.driver.net.linux import LinuxNet
from kilonova.node.driver.net.port import NetDriver
from kilonova.wire.network import (
    AddressSetDoc,
    SubnetDoc,
)

pytest_plugins = ["net_world"]


@pytest.fixture(params=["fake", pytest.param("linux", marks=real)])
async def net(request: pytest.FixtureRequest, run_dir: Path) -> AsyncIterator[NetDriver]:
    if request.param == "linux":
        async with real_driver(run_dir) as linux:
            yield linux
    else:
        driver = FakeNet()
        await driver.start()
        yield driver
        await driver.close()


async def test_what_is_applied_is_in_the_world_and_goes_when_removed(net: NetDriver) -> None:
    inside, outside = private(), public()
    way, guest = router(inside, outside), port(inside, 5)
    for _ in range(2):
        await net.apply_network(inside)
        await net.apply_network(outside)
        await net.apply_router(way)
        device = await net.apply_port(guest)
    assert device.mtu == 1450
    await net.apply_address_set(AddressSetDoc(group_id=new_id(), version=1, addresses=("10.99.0.5", "fd99::/64")))
    world = await net.world()
    assert world.networks == {inside.network_id, outside.network_id}
    assert (world.routers, world.ports, world.strays) == ({way.router_id}, {guest.port_id}, ())
    for _ in range(2):
        await net.remove_port(guest.port_id)
        await net.remove_router(way.router_id)
        await net.remove_network(inside.network_id)
        await net.remove_network(outside.network_id)
    world = await net.world()
    assert not world.networks | world.routers | world.ports


async def test_what_needs_a_network_waits_for_it(net: NetDriver) -> None:
    inside = private()
    with pytest.raises(DriverError) as port_error:
        await net.apply_port(port(inside, 5))
    with pytest.raises(DriverError) as router_error:
        await net.apply_router(router(inside, None))
    assert port_error.value.retryable
    assert router_error.value.retryable
    world = await net.world()
    assert not world.networks | world.routers | world.ports


async def test_an_id_that_is_no_uuid_is_refused(net: NetDriver) -> None:
    with pytest.raises(DriverError):
        await net.apply_network(private(network_id="../../etc"))
    with pytest.raises(DriverError):
        await net.remove_port("x; drop")
    assert not (await net.world()).networks


async def test_clean_leaves_nothing_and_can_be_repeated(net: NetDriver) -> None:
    inside = private()
    await net.apply_network(inside)
    await net.apply_port(port(inside, 5))
    await net.clean()
    await net.clean()
    await net.start()
    world = await net.world()
    assert not world.networks | world.routers | world.ports


async def test_the_fake_fails_as_its_script_says() -> None:
    net = FakeNet()
    net.script.fail_next("apply_network", 1, "driver", retryable=True)
    doc = private()
    with pytest.raises(DriverError):
        await net.apply_network(doc)
    assert not (await net.world()).networks
    await net.apply_network(doc)
    assert (await net.world()).networks == {doc.network_id}
    assert (await net.metadata_sockets(doc.network_id), net.calls["apply_network"]) == ((), 2)


@real
async def test_the_same_subnet_in_two_networks_and_two_clouds(
    linux: LinuxNet, run_dir: Path, stand_in: Callable[[], StandIn]
) -> None:
    other = LinuxNet(OTHER_CLOUD, run_dir)
    await other.start()
    try:
        servers = []
        for driver, network in ((linux, private()), (linux, private()), (other, private())):
            await driver.apply_network(network)
            client, server = port(network, 5), port(network, 6, let_in("tcp", 22))
            a = stand_in().plug(await driver.apply_port(client), client)
            b = stand_in().plug(await driver.apply_port(server), server)
            servers.append((a, b.listen(22)))
        for a, _ in servers:
            connection = a.inside(lambda: socket.create_connection(("10.99.0.6", 22), WAIT, ("10.99.0.5", 4444)))
            servers.append((a, connection))
            if len(servers) == 6:
                break
        closed = private()
        await linux.apply_network(closed)
        client, server = port(closed, 5), port(closed, 6)
        a = stand_in().plug(await linux.apply_port(client), client)
        b = stand_in().plug(await linux.apply_port(server), server)
        with b.listen(22), pytest.raises(OSError):
            # Conntrack knows these very addresses and ports, but of another network.
            a.inside(lambda: socket.create_connection(("10.99.0.6", 22), WAIT, ("10.99.0.5", 4444)))
        for (_, listener), (_, connection) in zip(servers[:3], servers[3:], strict=True):
            accepted, _ = listener.accept()
            connection.sendall(b"x")
            assert accepted.recv(1) == b"x"
            accepted.close()
            connection.close()
            listener.close()
        await linux.clean()
        assert len((await other.world()).ports) == 2
        assert (await linux.world()).ports == frozenset()
    finally:
        await other.clean()
        await other.close()


@real
async def test_everything_outlives_the_driver_and_is_adopted(
    linux: LinuxNet, run_dir: Path, stand_in: Callable[[], StandIn]
) -> None:
    inside = private()
    client, server = port(inside, 5), port(inside, 6, let_in("tcp", 22))
    first = LinuxNet(CLOUD, run_dir)
    await first.start()
    await first.apply_network(inside)
    device = await first.apply_port(client)
    a = stand_in().plug(device, client)
    b = stand_in().plug(await first.apply_port(server), server)
    before = await first.world()
    await first.close()
    with b.listen(22) as listener:
        connection = a.connect("10.99.0.6", 22)
        accepted, _ = listener.accept()
        assert a.ask_dhcp(client.mac)
        processes = run("pgrep", "-f", f"conf-file=.*{inside.network_id}")
        await linux.start()
        assert await linux.world() == before
        assert await linux.apply_port(client) == device
        await linux.apply_network(inside)
        await linux.apply_port(server)
        assert run("pgrep", "-f", f"conf-file=.*{inside.network_id}") == processes
        assert connection is not None
        with connection, accepted:
            connection.sendall(b"x")
            assert accepted.recv(1) == b"x"


@real
async def test_what_falls_over_is_put_back(linux: LinuxNet, run_dir: Path, stand_in: Callable[[], StandIn]) -> None:
    inside = private()
    await linux.apply_network(inside)
    client, server = port(inside, 5), port(inside, 6)
    a = stand_in().plug(await linux.apply_port(client), client)
    b = stand_in().plug(await linux.apply_port(server), server)
    os.kill(int((run_dir / CLOUD / inside.network_id / "pid").read_text()), signal.SIGKILL)
    run("nft", "delete", "table", "bridge", f"kn_{CLOUD}")
    deadline = time.monotonic() + 60
    while not await asyncio.to_thread(a.ask_dhcp, client.mac) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    with b.listen(22):
        assert not a.reaches("10.99.0.6", 22)
    assert a.ask_dhcp(client.mac)


@real
async def test_a_stray_is_named_and_an_external_subnet_in_use_is_refused(linux: LinuxNet) -> None:
    run("ip", "link", "add", f"kt{CLOUD}0000000", "type", "veth", "peer", "name", f"kr{CLOUD}0000000")
    strays = (await linux.world()).strays
    assert [stray.split("0000000")[0] for stray in strays] == [f"interface kr{CLOUD}", f"interface kt{CLOUD}"]
    first = public()
    await linux.apply_network(first)
    with pytest.raises(DriverError, match="in use"):
        await linux.apply_network(public())
    assert (await linux.world()).networks == {first.network_id}


@real
async def test_a_network_that_cannot_be_whole_goes_like_any_other(linux: LinuxNet) -> None:
    impossible = SubnetDoc(
        subnet_id=new_id(), ip_version=4, cidr="127.0.0.0/24", gateway="127.0.0.1", dhcp_address="127.0.0.2"
    )
    doc = private(subnets=(impossible,))
    with pytest.raises(DriverError):
        await linux.apply_network(doc)
    await linux.remove_network(doc.network_id)
    world = await linux.world()
    assert (world.networks, world.strays) == (frozenset(), ())
    assert not [name for name in os.listdir("/sys/class/net") if CLOUD in name]


@real
async def test_clean_works_for_a_stranger_on_a_damaged_host(linux: LinuxNet, run_dir: Path) -> None:
    inside, outside = private(), public()
    for network in (inside, outside):
        await linux.apply_network(network)
    await linux.apply_router(router(inside, outside))
    await linux.close()
    for family in ("bridge", "inet"):
        run("nft", "delete", "table", family, f"kn_{CLOUD}")
    stranger = LinuxNet(CLOUD, run_dir)
    await stranger.clean()
    world = await stranger.world()
    assert not world.networks | world.routers
    assert world.strays == ()
    await stranger.close()


@real
async def test_many_ports_cost_a_little_each(linux: LinuxNet) -> None:
    inside = private()
    await linux.apply_network(inside)
    docs = [port(inside, number, let_in("tcp", 22)) for number in range(10, 60)]
    started = time.process_time()
    for doc in docs:
        await linux.apply_port(doc)
    spent = time.process_time() - started
    assert len((await linux.world()).ports) == 50
    started = time.process_time()
    for doc in docs:
        await linux.apply_port(doc)
    assert time.process_time() - started < spent / 5
