"""The linux net driver with real packets between stand-ins for guests."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from net_world import CLOUD, OTHER_CLOUD, let_in, new_id, port, private, public, real, router
from stand_in import WAIT, StandIn, arp_request, ethernet, ipv4_udp

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net import nft
from kilonova.node.driver.net.filter import link_local
from kilonova.node.driver.net.forwarding import IPV4, Forwarding
from kilonova.node.driver.net.linux import LinuxNet
from kilonova.node.driver.net.name import Naming
from kilonova.node.driver.net.ruleset import Ruleset
from kilonova.wire.network import (
    AddressPair,
    AddressSetDoc,
    FixedIp,
    PortDoc,
    RouterInterface,
)

pytest_plugins = ["net_world"]


@real
async def test_security_groups_let_in_what_they_say_and_replies(
    linux: LinuxNet, stand_in: Callable[[], StandIn]
) -> None:
    inside = private()
    await linux.apply_network(inside)
    client = port(inside, 5)
    ping6 = let_in("icmp", 128, 0, ethertype="IPv6")
    server = port(inside, 6, let_in("tcp", 22), let_in("tcp", 20, 22, ethertype="IPv6"), let_in("udp", 53), ping6)
    a = stand_in().plug(await linux.apply_port(client), client)
    b = stand_in().plug(await linux.apply_port(server), server)
    with b.listen(22), b.listen(23), b.listen(53, kind=socket.SOCK_DGRAM) as dns, a.listen(80):
        assert (a.reaches("10.99.0.6", 22), a.reaches("10.99.0.6", 23)) == (True, False)
        assert (a.reaches("fd99::6", 22), a.reaches("fd99::6", 23)) == (True, False)
        assert not b.reaches("10.99.0.5", 80)
        assert (a.pings("10.99.0.6"), a.pings("fd99::6")) == (False, True)
        a.send("10.99.0.6", 53, source_port=5353)
        data, peer = dns.recvfrom(64)
        assert (data, peer[0]) == (b"hello", "::ffff:10.99.0.5")
        with a.watching() as saw:
            b.inside(lambda: dns.sendto(b"reply-of-dns", peer))
            assert saw(b"reply-of-dns")
        with b.watching() as saw:
            a.send("10.99.0.6", 54)
            a.send("fd99::6", 53)
            assert not saw(b"hello")


@real
async def test_a_network_that_is_down_carries_nothing(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    inside = private()
    await linux.apply_network(inside)
    client, server = port(inside, 5), port(inside, 6, let_in("tcp", 22))
    a = stand_in().plug(await linux.apply_port(client), client)
    b = stand_in().plug(await linux.apply_port(server), server)
    with b.listen(22):
        for version, up in ((2, False), (3, True)):
            await linux.apply_network(msgspec.structs.replace(inside, version=version, admin_up=up))
            # A bridge that has just come up may lose the first packets.
            assert any(a.reaches("10.99.0.6", 22) for _ in range(3 if up else 1)) is up


@real
async def test_a_group_is_whoever_is_in_it_now(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    inside, group = private(), new_id()
    await linux.apply_network(inside)
    client, server = port(inside, 5), port(inside, 6, let_in("tcp", 22, remote_group=group))
    a = stand_in().plug(await linux.apply_port(client), client)
    b = stand_in().plug(await linux.apply_port(server), server)
    with b.listen(22):
        assert not a.reaches("10.99.0.6", 22)
        await linux.apply_address_set(AddressSetDoc(group_id=group, version=1, addresses=("10.99.0.5", "fd99::5")))
        assert a.reaches("10.99.0.6", 22)
        await linux.apply_address_set(AddressSetDoc(group_id=group, version=2, addresses=("10.99.0.7",)))
        assert not a.reaches("10.99.0.6", 22)
    with pytest.raises(DriverError):
        await linux.remove_address_set(group)
    await linux.remove_port(server.port_id)
    await linux.remove_address_set(group)


@real
async def test_no_port_speaks_with_anothers_address(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    inside = private()
    await linux.apply_network(inside)
    everything = (let_in(None), let_in(None, ethertype="IPv6"))
    guest = port(inside, 5, allowed_pairs=(AddressPair(address="10.99.0.128/25", mac=""),))
    victim = port(inside, 6, *everything)
    a = stand_in().plug(await linux.apply_port(guest), guest)
    b = stand_in().plug(await linux.apply_port(victim), victim)
    mac, other = guest.mac, "fa:16:3e:00:01:77"

    def datagram(source: str, mark: bytes, frame_mac: str = mac, kind: int = 0x0800, head: bytes = b"") -> bytes:
        return ethernet(frame_mac, kind, head + ipv4_udp(source, "10.99.0.6", 7, mark), victim.mac)

    tagged = struct.pack("!HH", 5, 0x0800)
    with b.watching() as saw:
        a.raw(datagram("10.99.0.5", b"honest-source"))
        a.raw(datagram("10.99.0.200", b"allowed-pair"))
        a.raw(datagram("10.99.0.77", b"forged-address"))
        a.raw(datagram("10.99.0.5", b"forged-mac", frame_mac=other))
        a.raw(datagram("10.99.0.5", b"tagged-frame", kind=0x8100, head=tagged))
        a.raw(ethernet(mac, 0x88CC, b"unknown-protocol"))
        assert saw(b"honest-source")
        assert saw(b"allowed-pair")
        for forged in (b"forged-address", b"forged-mac", b"tagged-frame", b"unknown-protocol"):
            assert not saw(forged), forged
    with b.watching() as saw:
        honest, lie = arp_request(mac, "10.99.0.5", "10.99.0.6"), arp_request(mac, "10.99.0.1", "10.99.0.6")
        wrong_mac = arp_request(other, "10.99.0.5", "10.99.0.6", frame_mac=mac)
        for frame in (honest, lie, wrong_mac):
            a.raw(frame)
        assert (saw(honest[14:]), saw(lie[14:]), saw(wrong_mac[14:])) == (True, False, False)

    def advertise(target: str) -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
            body = b"\x88\0\0\0\x20\0\0\0" + socket.inet_pton(socket.AF_INET6, target)
            sender.sendto(body, ("fd99::6", 0))

    with b.watching() as saw:
        for target in ("fd99::5", "fd99::1"):
            a.inside(lambda target=target: advertise(target))
        own, stolen = (b"\x20\0\0\0" + socket.inet_pton(socket.AF_INET6, text) for text in ("fd99::5", "fd99::1"))
        assert (saw(own), saw(stolen)) == (True, False)
    a.ip("addr", "add", "fd99::77/64", "dev", "eth0", "nodad")
    a.ip("addr", "del", "fd99::5/64", "dev", "eth0")
    assert not a.pings("fd99::6")


@real
async def test_no_port_is_a_dhcp_server_or_a_router(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    inside = private()
    await linux.apply_network(inside)
    guest, victim = port(inside, 5), port(inside, 6, let_in(None), let_in(None, ethertype="IPv6"))
    a = stand_in().plug(await linux.apply_port(guest), guest)
    b = stand_in().plug(await linux.apply_port(victim), victim)
    target = "fe80::f816:3eff:fe00:106%eth0"

    def advertise() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
            sender.sendto(b"\x86\0\0\0\x40\0\x07\x08" + b"rogue-router" + bytes(4), socket.getaddrinfo(target, 0)[0][4])

    with b.watching() as saw:
        a.raw(ethernet(guest.mac, 0x0800, ipv4_udp("10.99.0.5", "10.99.0.6", 68, b"rogue-dhcp", 67), victim.mac))
        a.inside(advertise)
        assert not saw(b"rogue-dhcp")
        assert not saw(b"rogue-router")


@real
async def test_allowed_pairs_of_both_families_with_their_macs(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    """And what a guest is not to say even with an address of its own."""
    inside = private()
    await linux.apply_network(inside)
    other = "fa:16:3e:00:01:77"
    pairs = (AddressPair(address="fd99::a:0/112", mac=""), AddressPair(address="10.99.0.77", mac=other))
    guest = port(inside, 5, allowed_pairs=pairs)
    victim = port(inside, 6, let_in(None), let_in(None, ethertype="IPv6"))
    a = stand_in().plug(await linux.apply_port(guest), guest)
    b = stand_in().plug(await linux.apply_port(victim), victim)
    a.ip("addr", "add", "fd99::a:1/64", "dev", "eth0", "nodad")
    a.ip("addr", "add", "fd99::b:1/64", "dev", "eth0", "nodad")

    def say(source: str, word: bytes, port: int = 7, own_port: int = 999) -> None:
        def work() -> None:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
                sender.bind((source, own_port))
                sender.sendto(word, ("fd99::6", port))

        a.inside(work)

    def datagram(source: str, word: bytes, mac: str) -> bytes:
        return ethernet(mac, 0x0800, ipv4_udp(source, "10.99.0.6", 7, word), victim.mac)

    with b.watching() as saw:
        say("fd99::a:1", b"in-the-prefix")
        say("fd99::b:1", b"beside-the-prefix")
        say("fd99::5", b"rogue-dhcpv6", 546, 547)
        a.raw(datagram("10.99.0.77", b"pair-with-its-mac", other))
        a.raw(datagram("10.99.0.77", b"pair-with-own-mac", guest.mac))
        a.raw(datagram("10.99.0.5", b"own-with-pairs-mac", other))
        arp = arp_request(other, "10.99.0.77", "10.99.0.6")
        a.raw(arp)
        for allowed in (b"in-the-prefix", b"pair-with-its-mac", arp[14:]):
            assert saw(allowed), allowed
        for forged in (b"beside-the-prefix", b"rogue-dhcpv6", b"pair-with-own-mac", b"own-with-pairs-mac"):
            assert not saw(forged), forged
    await linux.apply_port(msgspec.structs.replace(guest, version=2, port_security=False))
    with b.watching() as saw:
        say("fd99::b:1", b"nothing-is-checked")
        a.raw(datagram("10.99.0.99", b"nor-in-ipv4", other))
        assert saw(b"nothing-is-checked")
        assert saw(b"nor-in-ipv4")


@real
async def test_a_port_without_port_security_is_free_and_one_that_is_down_is_dead(
    linux: LinuxNet, stand_in: Callable[[], StandIn]
) -> None:
    inside = private()
    await linux.apply_network(inside)
    free, other = port(inside, 5, port_security=False), port(inside, 6, let_in("icmp"))
    a = stand_in().plug(await linux.apply_port(free), free)
    b = stand_in().plug(await linux.apply_port(other), other)
    a.ip("addr", "add", "10.99.0.88/24", "dev", "eth0")
    assert a.pings("10.99.0.6")
    assert b.pings("10.99.0.88")
    await linux.apply_port(msgspec.structs.replace(free, version=2, admin_up=False))
    assert not b.pings("10.99.0.88")
    await linux.remove_port(free.port_id)
    assert not a.pings("10.99.0.6"), "a NIC without a port carries nothing"


@real
async def test_an_isolated_network_has_dhcp_and_metadata_without_a_gateway(
    linux: LinuxNet, stand_in: Callable[[], StandIn]
) -> None:
    base = private()
    inside = private(subnets=(msgspec.structs.replace(base.subnets[0], gateway=None),))
    await linux.apply_network(inside)
    guest = port(inside, 5)
    a = stand_in().plug(await linux.apply_port(guest), guest)
    lease = a.ask_dhcp(guest.mac)
    assert 3 not in lease
    assert lease[121] == b"\x20" + socket.inet_aton("169.254.169.254") + socket.inet_aton("10.99.0.2")
    a.ip("route", "add", "169.254.169.254", "via", "10.99.0.2")
    await assert_metadata(linux, guest, a)


async def assert_metadata(linux: LinuxNet, doc: PortDoc, guest: StandIn) -> None:
    listeners = await linux.metadata_sockets(doc.network_id)
    sources = doc.fixed_ips[0].address, link_local(doc.mac)
    places = zip(listeners, ("169.254.169.254", "fe80::a9fe:a9fe%eth0"), sources, strict=True)
    for listener, address, seen in places:
        with listener:
            assert not listener.getblocking()
            listener.settimeout(WAIT)
            connection = guest.connect(address, 80)
            assert connection is not None
            with connection:
                accepted, peer = listener.accept()
                accepted.close()
                assert peer[0].partition("%")[0] == seen


@real
async def test_metadata_by_the_router_and_with_no_egress_rule(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    inside, outside = private(), public()
    for network in (inside, outside):
        await linux.apply_network(network)
    await linux.apply_router(router(inside, outside))
    guest = port(inside, 5, rules=())
    a = stand_in().plug(await linux.apply_port(guest), guest, gateway="10.99.0.1")
    await assert_metadata(linux, guest, a)
    assert not a.pings("10.99.0.1")


@real
async def test_guests_do_not_reach_the_host(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    inside, outside = private(), public()
    for network in (inside, outside):
        await linux.apply_network(network)
    await linux.apply_router(router(inside, outside))
    guest = port(inside, 5, port_security=False)
    device = await linux.apply_port(guest)
    a = stand_in().plug(device, guest, gateway="10.99.0.1")
    with socket.create_server(("0.0.0.0", 0)) as service:
        number = service.getsockname()[1]
        assert socket.create_connection(("172.31.77.1", number), WAIT)
        assert not a.reaches("172.31.77.1", number)
        assert a.pings("172.31.77.1")
    mac = Path(f"/sys/class/net/{device.bridge}/address").read_text().strip()
    with a.watching() as saw:
        a.raw(arp_request(guest.mac, "10.99.0.5", "172.31.77.1"))
        assert not saw(bytes.fromhex(mac.replace(":", "")))


@real
def test_forwarding_goes_back_when_the_last_cloud_leaves(tmp_path: Path, stand_in: Callable[[], StandIn]) -> None:
    switches, file = Forwarding(tmp_path / "run" / "forwarding"), Path("/proc/sys/net", IPV4)
    tables = Ruleset(Naming(CLOUD)), Ruleset(Naming(OTHER_CLOUD))

    def play() -> list[str]:
        file.write_text("0")
        for table in tables:
            nft.apply(table.foundation())
            switches.ensure(IPV4)
        seen = [file.read_text()]
        for cloud, table in zip((CLOUD, OTHER_CLOUD), tables, strict=True):
            switches.release(f"kn_{cloud}")
            nft.apply(table.nothing())
            seen.append(file.read_text())
        file.write_text("1")
        switches.ensure(IPV4)
        switches.release(f"kn_{CLOUD}")
        return [*seen, file.read_text()]

    # Switches and tables are a namespace's own, so the host's are left alone.
    assert "".join(stand_in().inside(play)).split() == ["1", "1", "0", "1"]


@real
async def test_two_routed_networks_speak_ipv6_by_their_router(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> None:
    one = private()
    six = msgspec.structs.replace(one.subnets[1], cidr="fd98::/64", gateway="fd98::1", dhcp_address="fd98::2")
    two = private(subnets=(six,))
    for network in (one, two):
        await linux.apply_network(network)
    second = RouterInterface(
        port_id=new_id(), network_id=two.network_id, mac="fa:16:3e:00:00:09", addresses=("fd98::1/64",)
    )
    way = router(one, None)
    await linux.apply_router(msgspec.structs.replace(way, interfaces=(*way.interfaces, second)))
    address = (FixedIp(subnet_id=six.subnet_id, address="fd98::7"),)
    left, right = port(one, 5), port(two, 7, let_in("tcp", 22, ethertype="IPv6"), fixed_ips=address)
    a = stand_in().plug(await linux.apply_port(left), left)
    b = stand_in().plug(await linux.apply_port(right), right)
    for guest in (a, b):
        deadline = time.monotonic() + 10
        while "default via fe80" not in guest.ip("-6", "route") and time.monotonic() < deadline:
            time.sleep(0.1)
    with b.listen(22), b.listen(23):
        assert (a.reaches("fd98::7", 22), a.reaches("fd98::7", 23)) == (True, False)
