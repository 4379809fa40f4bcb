"""The network of one host: what a change costs, and how many networks it carries. Needs root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Final

import msgspec
from tests.bench.figure import Figure, percentile

from kilonova.node.driver.net.linux import LinuxNet
from kilonova.wire.network import AddressSetDoc, FixedIp, NetworkDoc, PortDoc, RuleDoc, SubnetDoc

GROUP = "node-network"
CLOUD: Final = "beac01"
RULES = 1000
PORTS = 200
NETWORKS = 1000
WATCHED = 15


async def measure() -> AsyncIterator[Figure]:
    """First one network with many ports, then many networks."""
    for part in (_ports, _networks):
        with tempfile.TemporaryDirectory(prefix="kilonova-bench-") as place:
            folder = Path(place)
            folder.chmod(0o755)
            net = LinuxNet(CLOUD, folder)
            await net.start()
            try:
                async for figure in part(net):
                    yield figure
            finally:
                await net.clean()
                await net.close()


async def _ports(net: LinuxNet) -> AsyncIterator[Figure]:
    network = _network(1)
    await net.apply_network(network)
    group = str(uuid.uuid4())
    ports = [_port(network, number, group) for number in range(PORTS)]
    members = [fixed.address for port in ports for fixed in port.fixed_ips]
    await net.apply_address_set(AddressSetDoc(group_id=group, version=1, addresses=tuple(members)))
    spent = [await _timed(net.apply_port(port)) for port in ports]
    yield _figure("a port applied, the first of a host", spent[:10], 150)
    yield _figure(f"a port applied, {PORTS - 10} others there", spent[-10:], 150)
    changes = [_changed(port, _open(22, 23)) for port in ports[:20]]
    yield _figure(
        f"a port's rules changed, {PORTS} ports there", [await _timed(net.apply_port(port)) for port in changes], 150
    )
    many = _changed(changes[0], *(_open(low, low) for low in range(1, RULES + 1)))
    yield _figure(f"{RULES} rules in force on a port", [await _timed(net.apply_port(many))], 1000)
    more = _changed(many, *(_open(low, low) for low in range(2, RULES + 2)))
    yield _figure(f"one of {RULES} rules changed", [await _timed(net.apply_port(more))], 1000)
    fewer = AddressSetDoc(group_id=group, version=2, addresses=tuple(members[2:]))
    yield _figure(f"a member left the group of {PORTS} ports", [await _timed(net.apply_address_set(fewer))], 1000)


async def _networks(net: LinuxNet) -> AsyncIterator[Figure]:
    memory, processes = _memory(), _processes()
    spent = [await _timed(net.apply_network(_network(number, dhcp=False))) for number in range(NETWORKS)]
    yield _figure(f"a network made, the first {NETWORKS // 10}", spent[: NETWORKS // 10], 200)
    yield _figure(f"a network made, the last of {NETWORKS}", spent[-NETWORKS // 10 :], 300)
    yield Figure(GROUP, f"processes for {NETWORKS} networks without DHCP", _processes() - processes, "", 0)
    yield Figure(
        GROUP, "memory a network without DHCP", (_memory() - memory) / NETWORKS, "kB", 1000, note="whole machine"
    )
    served = [await _timed(net.apply_network(_network(NETWORKS + number))) for number in range(20)]
    yield _figure(f"a network with DHCP, beside {NETWORKS}", served, 300)
    yield Figure(GROUP, "processes a network with DHCP", (_processes() - processes) / len(served), "", 1)
    before = _cpu()
    await asyncio.sleep(WATCHED)
    share = (_cpu() - before) / WATCHED * 100
    yield Figure(GROUP, f"looking after {NETWORKS} networks", share, "% of a core", 10, note=f"{WATCHED} s, idle")
    yield _figure(f"world, of {NETWORKS} networks", [await _timed(net.world())], 5000)
    removal = [await _timed(net.remove_network(_name(number))) for number in range(50)]
    yield _figure("a network removed", removal, 300)


def _figure(name: str, seconds: list[tuple[float, float]], budget: float) -> Figure:
    wall = percentile([wall for wall, _ in seconds], 0.5) * 1e3
    cpu = sum(cpu for _, cpu in seconds) / len(seconds) * 1e3
    note = f"p50 of {len(seconds)}" if len(seconds) > 1 else ""
    return Figure(GROUP, name, wall, "ms", budget, cpu=cpu, wall=wall, note=note)


async def _timed(work: Awaitable[object]) -> tuple[float, float]:
    """Seconds by the clock, and of this process' CPU with those of its children."""
    began, before = time.perf_counter(), _cpu()
    await work
    return time.perf_counter() - began, _cpu() - before


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _memory() -> float:
    """kB that this machine has in use, the kernel's own among them."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return float(fields["MemTotal"].split()[0]) - float(fields["MemAvailable"].split()[0])


def _processes() -> int:
    """Those whose command line names the cloud."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(entry.read_bytes())
    return sum(f"/{CLOUD}/".encode() in line for line in lines)


def _name(number: int) -> str:
    return str(uuid.UUID(int=(number + 1) * 0x1F3D5B79_2468_ACE0_1357_9BDF_0246))


def _network(number: int, *, dhcp: bool = True) -> NetworkDoc:
    subnet = SubnetDoc(
        subnet_id=_name(number), ip_version=4, cidr="10.98.0.0/16", gateway="10.98.0.1",
        enable_dhcp=dhcp, dhcp_address="10.98.0.2" if dhcp else None,
    )  # fmt: skip
    return NetworkDoc(network_id=_name(number), version=1, name="n", subnets=(subnet,))


def _port(network: NetworkDoc, number: int, group: str) -> PortDoc:
    address = FixedIp(subnet_id=network.subnets[0].subnet_id, address=f"10.98.1.{number + 1}")
    rules = (
        RuleDoc(direction="egress", ethertype="IPv4"),
        RuleDoc(direction="egress", ethertype="IPv6"),
        RuleDoc(direction="ingress", ethertype="IPv4", remote_group=group),
        RuleDoc(direction="ingress", ethertype="IPv6", remote_group=group),
    )
    return PortDoc(
        port_id=str(uuid.uuid4()), network_id=network.network_id, version=1, mac=f"fa:16:3e:00:00:{number:02x}",
        fixed_ips=(address,), hostname=f"guest-{number}", rules=rules,
    )  # fmt: skip


def _open(low: int, high: int) -> RuleDoc:
    return RuleDoc(direction="ingress", ethertype="IPv4", protocol="tcp", port_min=low, port_max=high)


def _changed(port: PortDoc, *rules: RuleDoc) -> PortDoc:
    kept = [rule for rule in port.rules if rule.remote_group or rule.direction == "egress"]
    return msgspec.structs.replace(port, version=port.version + 1, rules=(*kept, *rules))
