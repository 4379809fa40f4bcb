"""Documents for the net drivers' tests, a real driver on a tidy host, and stand-ins for guests."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from stand_in import StandIn, run, snapshot

from kilonova.node.driver.net.linux import LinuxNet
from kilonova.wire.network import (
    FixedIp,
    NetworkDoc,
    PortDoc,
    RouterDoc,
    RouterInterface,
    RuleDoc,
    SubnetDoc,
)

CLOUD, OTHER_CLOUD = "cccc01", "cccc02"
EGRESS = (RuleDoc(direction="egress", ethertype="IPv4"), RuleDoc(direction="egress", ethertype="IPv6"))
real = pytest.mark.vm


def new_id() -> str:
    return str(uuid.uuid4())


def let_in(protocol: str | None, low: int | None = None, high: int | None = None, **more: str) -> RuleDoc:
    ethertype = more.pop("ethertype", "IPv4")
    return msgspec.convert(
        {
            "direction": "ingress",
            "ethertype": ethertype,
            "protocol": protocol,
            "port_min": low,
            "port_max": low if high is None else high,
            **more,
        },
        RuleDoc,
    )


def private(**more: object) -> NetworkDoc:
    four = SubnetDoc(
        subnet_id=new_id(), ip_version=4, cidr="10.99.0.0/24", gateway="10.99.0.1", dhcp_address="10.99.0.2"
    )
    six = SubnetDoc(
        subnet_id=new_id(),
        ip_version=6,
        cidr="fd99::/64",
        gateway="fd99::1",
        dhcp_address="fd99::2",
        ipv6_mode="dhcpv6-stateful",
    )
    doc = NetworkDoc(network_id=new_id(), version=1, name="private", mtu=1450, subnets=(four, six))
    return msgspec.structs.replace(doc, **more)


def public(third: int = 77) -> NetworkDoc:
    cidr, gateway = f"172.31.{third}.0/24", f"172.31.{third}.1"
    subnet = SubnetDoc(subnet_id=new_id(), ip_version=4, cidr=cidr, gateway=gateway, enable_dhcp=False)
    return NetworkDoc(network_id=new_id(), version=1, name="public", external=True, subnets=(subnet,))


def port(network: NetworkDoc, host: int, *rules: RuleDoc, **more: object) -> PortDoc:
    subnet = network.subnets[0].subnet_id
    doc = PortDoc(
        port_id=new_id(),
        network_id=network.network_id,
        version=1,
        mac=f"fa:16:3e:00:01:{host:02x}",
        fixed_ips=tuple(FixedIp(subnet_id=subnet, address=a) for a in (f"10.99.0.{host}", f"fd99::{host:x}")),
        hostname=f"guest-{host}",
        rules=(*EGRESS, *rules),
    )
    return msgspec.structs.replace(doc, **more)


def router(inside: NetworkDoc, outside: NetworkDoc | None, **more: object) -> RouterDoc:
    leg = RouterInterface(
        port_id=new_id(),
        network_id=inside.network_id,
        mac="fa:16:3e:00:00:01",
        addresses=("10.99.0.1/24", "fd99::1/64"),
    )
    external = outside and RouterInterface(
        port_id=new_id(), network_id=outside.network_id, mac="fa:16:3e:00:00:02", addresses=("172.31.77.10/24",)
    )
    hops = ("172.31.77.1",) if outside else ()
    doc = RouterDoc(
        router_id=new_id(), version=1, name="r", interfaces=(leg,), external=external or None, next_hops=hops
    )
    return msgspec.structs.replace(doc, **more)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """Not below pytest's own folder: another run of pytest that starts meanwhile closes that to dnsmasq."""
    with tempfile.TemporaryDirectory(prefix="kilonova-net-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextlib.asynccontextmanager
async def real_driver(run_dir: Path) -> AsyncIterator[LinuxNet]:
    before = snapshot()
    driver = LinuxNet(CLOUD, run_dir, watch_seconds=0.3)
    await driver.start()
    try:
        yield driver
    finally:
        await driver.close()
        sweeper = LinuxNet(CLOUD, run_dir)
        await sweeper.clean()
        await sweeper.close()
    after = snapshot()
    assert after == before, (before, after)


@pytest.fixture
async def linux(run_dir: Path) -> AsyncIterator[LinuxNet]:
    async with real_driver(run_dir) as driver:
        yield driver


@pytest.fixture
def stand_in() -> Iterator[Callable[[], StandIn]]:
    made: list[StandIn] = []
    numbers = itertools.count()

    def make() -> StandIn:
        made.append(StandIn(f"kntest{os.getpid()}-{next(numbers)}"))
        return made[-1]

    yield make
    for guest in made:
        guest.remove()
    # Devices of a removed namespace go a moment later.
    deadline = time.monotonic() + 5
    while re.search(r"ktcccc0|kntest", run("ip", "link")) and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.fixture
def outer(stand_in: Callable[[], StandIn]) -> StandIn:
    """A machine beyond the host, that knows no way to the cloud's networks."""
    world = stand_in()
    run("ip", "link", "add", "kntest-out", "type", "veth", "peer", "name", "eth0", "netns", world.name)
    run("ip", "addr", "add", "198.51.100.1/24", "dev", "kntest-out")
    run("ip", "link", "set", "kntest-out", "up")
    world.ip("addr", "add", "198.51.100.9/24", "dev", "eth0")
    world.ip("link", "set", "eth0", "up")
    return world


@pytest.fixture
def neighbour(stand_in: Callable[[], StandIn]) -> Callable[[str, int], StandIn]:
    """Machines on an external network, plugged into its bridge by hand."""

    def plug(bridge: str, host: int) -> StandIn:
        made = stand_in()
        run("ip", "link", "add", f"kntest-n{host}", "type", "veth", "peer", "name", "eth0", "netns", made.name)
        run("ip", "link", "set", f"kntest-n{host}", "master", bridge, "up")
        made.ip("addr", "add", f"172.31.77.{host}/24", "dev", "eth0")
        made.ip("link", "set", "eth0", "up")
        return made

    return plug
