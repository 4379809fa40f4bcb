"""What networks tell their guests: DHCP, router advertisements, DHCPv6, and the options of a single port."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import IPv6Address

import msgspec
import pytest
from net_world import port, private, public, real, router
from stand_in import NEXT_SERVER, StandIn, run

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.linux import LinuxNet
from kilonova.wire.network import DhcpOption, FixedIp, HostRoute

pytest_plugins = ["net_world"]
OWN = "fd99::f816:3eff:fe00:105"
"""The address that the port of host 5 makes of its MAC address."""


@real
async def test_dhcp_gives_what_the_documents_say(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    inside = private(dns_domain="cloud.test")
    await linux.apply_network(inside)
    guest = port(inside, 5)
    a = stand_in().plug(await linux.apply_port(guest), msgspec.structs.replace(guest, fixed_ips=()))
    lease = a.ask_dhcp(guest.mac)
    address = socket.inet_aton
    assert (lease[0], lease[3], lease[6]) == (address("10.99.0.5"), address("10.99.0.1"), address("10.99.0.2"))
    metadata = b"\x20" + address("169.254.169.254") + address("10.99.0.2")
    assert lease[121] == metadata + b"\0" + address("10.99.0.1")
    assert (lease[26], lease[15], lease[12]) == (struct.pack("!H", 1450), b"cloud.test", b"guest-5")
    stranger = port(inside, 6)
    await linux.apply_port(stranger)
    server = run("pgrep", "-f", f"conf-file=.*{inside.network_id}").split()
    await linux.remove_port(stranger.port_id)
    assert run("pgrep", "-f", f"conf-file=.*{inside.network_id}").split() == server, "dnsmasq was not restarted"
    await linux.apply_port(msgspec.structs.replace(guest, version=2, fixed_ips=()))
    assert a.ask_dhcp(guest.mac) == {}


@real
async def test_a_port_has_options_of_its_own(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    inside = private()
    await linux.apply_network(inside)
    options = (
        DhcpOption(name="tftp-server", value="10.99.0.200"),
        DhcpOption(name="67", value="pxelinux.0"),
        DhcpOption(name="150", value="10.99.0.201,10.99.0.202"),
        DhcpOption(name="server-ip-address", value="10.99.0.203"),
        DhcpOption(name="mtu", value="1300"),
        DhcpOption(name="no-such-option", value="x"),
        DhcpOption(name="bootfile-url", value="tftp://[fd99::2]/boot", ip_version=6),
        DhcpOption(name="32", value="3600", ip_version=6),
    )
    guest, other = port(inside, 5, dhcp_options=options), port(inside, 6)
    device = await linux.apply_port(guest)
    a = stand_in().plug(device, msgspec.structs.replace(guest, fixed_ips=()))
    b = stand_in().plug(await linux.apply_port(other), msgspec.structs.replace(other, fixed_ips=()))
    address, lease = socket.inet_aton, a.ask_dhcp(guest.mac)
    assert [lease[number].strip(b"\0") for number in (66, 67)] == [b"10.99.0.200", b"pxelinux.0"]
    assert (lease[150], lease[NEXT_SERVER]) == (address("10.99.0.201") + address("10.99.0.202"), address("10.99.0.203"))
    assert struct.unpack("!H", lease[26]) == (1300,), "before the network's own"
    six = a.ask_dhcp6(guest.mac)
    assert (six[59], six[32]) == (b"tftp://[fd99::2]/boot", struct.pack("!I", 3600))
    plain = b.ask_dhcp(other.mac)
    assert not plain.keys() & {66, 67, 150}
    assert struct.unpack("!H", plain[26]) == (1450,)
    await linux.apply_port(msgspec.structs.replace(guest, version=2, dhcp_options=options[1:2]))
    lease = a.ask_dhcp(guest.mac)
    assert (66 in lease, lease[67].strip(b"\0")) == (False, b"pxelinux.0")
    for wrong in (DhcpOption(name="67", value="a\ndhcp-script=/bin/sh"), DhcpOption(name="option:67", value="x")):
        with pytest.raises(DriverError):
            down = msgspec.structs.replace(guest, version=3, admin_up=False, dhcp_options=(wrong,))
            await linux.apply_port(down)
    assert a.ask_dhcp(guest.mac) == {}, "the filter holds, whatever DHCP was told"


@real
async def test_routes_and_servers_of_a_subnet_and_one_without_dhcp(
    linux: LinuxNet, stand_in: Callable[[], StandIn]
) -> None:
    four, six = private().subnets
    routes = (HostRoute(destination="192.0.2.0/24", nexthop="10.99.0.7"),)
    four = msgspec.structs.replace(four, dns_servers=("9.9.9.9", "1.1.1.1"), host_routes=routes)
    inside = private(subnets=(four, six))
    await linux.apply_network(inside)
    guest = port(inside, 5)
    a = stand_in().plug(await linux.apply_port(guest), msgspec.structs.replace(guest, fixed_ips=()))
    lease, address = a.ask_dhcp(guest.mac), socket.inet_aton
    assert lease[6] == address("9.9.9.9") + address("1.1.1.1")
    assert b"\x18\xc0\0\2" + address("10.99.0.7") in lease[121]
    silent = [msgspec.structs.replace(subnet, enable_dhcp=False, dhcp_address=None) for subnet in (four, six)]
    await linux.apply_network(msgspec.structs.replace(inside, version=2, subnets=tuple(silent)))
    assert run("pgrep", "-f", f"conf-file=.*{inside.network_id}", check=False) == "", "nothing runs for it"
    assert a.ask_dhcp(guest.mac) == {}
    await linux.apply_network(msgspec.structs.replace(inside, version=3))
    assert a.ask_dhcp(guest.mac)[0] == address("10.99.0.5")


@real
async def test_an_ipv6_address_by_dhcp(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    inside = private(dns_domain="cloud.test")
    await linux.apply_network(inside)
    guest = port(inside, 5)
    a = stand_in().plug(await linux.apply_port(guest), msgspec.structs.replace(guest, fixed_ips=()))
    answer = await asyncio.to_thread(a.ask_dhcp6, guest.mac)
    assert IPv6Address("fd99::5").packed in answer[3]
    assert answer[23] == IPv6Address("fd99::2").packed
    assert default_route(a).startswith("default via fe80::")
    assert "fd99:" not in a.ip("-6", "addr", "show", "dev", "eth0"), "advertised as not autonomous"


@real
@pytest.mark.parametrize("mode", ["slaac", "dhcpv6-stateless"])
async def test_an_ipv6_address_by_advertisement(linux: LinuxNet, stand_in: Callable[[], StandIn], mode: str) -> None:
    four, six = private().subnets
    six = msgspec.structs.replace(six, ipv6_mode=mode, dns_servers=("fd99::53",))
    inside, outside = private(subnets=(four, six)), public()
    for network in (inside, outside):
        await linux.apply_network(network)
    await linux.apply_router(router(inside, outside))
    guest = port(inside, 5, fixed_ips=(FixedIp(subnet_id=six.subnet_id, address=OWN),))
    a = stand_in().plug(await linux.apply_port(guest), msgspec.structs.replace(guest, fixed_ips=()))
    assert default_route(a).startswith("default via fe80::")
    assert OWN in a.ip("-6", "addr", "show", "dev", "eth0")
    assert a.pings("fd99::1"), "the router, from that address"
    answer = await asyncio.to_thread(a.ask_dhcp6, guest.mac, stateful=False)
    assert answer.get(23) == (IPv6Address("fd99::53").packed if mode == "dhcpv6-stateless" else None)


def default_route(guest: StandIn) -> str:
    deadline = time.monotonic() + 10
    while not (found := guest.ip("-6", "route", "show", "default")) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
