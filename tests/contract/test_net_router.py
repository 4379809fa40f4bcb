"""Routers with real packets: floating addresses, forwarded ports, routes, gateways, and two tenants with one subnet."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import msgspec
from net_world import EGRESS, let_in, new_id, port, private, public, real, router
from stand_in import WAIT, StandIn, prepare, run

from kilonova.node.driver.net.linux import LinuxNet
from kilonova.wire.network import FloatingIpDoc, HostRoute, NetworkDoc, PortDoc, PortForwardingDoc, RouterDoc

pytest_plugins = ["net_world"]
FLOATING = "172.31.77.50"


class Site:
    """A tenant: a router and two guests in a network of the one subnet that they all have."""

    def __init__(self, net: LinuxNet, way: RouterDoc, guests: list[StandIn], server: PortDoc) -> None:
        self.net, self.way, self.server = net, way, server
        self.a, self.b = guests

    async def route(self, **more: object) -> None:
        self.way = msgspec.structs.replace(self.way, version=self.way.version + 1, **more)
        await self.net.apply_router(self.way)


def bridge_of(network: NetworkDoc) -> str:
    lines = run("ip", "-o", "link", "show", "type", "bridge").splitlines()
    return next(line.split(": ")[1] for line in lines if network.network_id in line)


async def site(net: LinuxNet, outside: NetworkDoc, stand_in: Callable[[], StandIn], last: int = 10) -> Site:
    inside = private()
    await net.apply_network(inside)
    way = router(inside, outside)
    assert way.external is not None
    leg = msgspec.structs.replace(
        way.external, addresses=(f"172.31.77.{last}/24",), mac=f"fa:16:3e:00:00:{last:02x}", port_id=new_id()
    )
    way = msgspec.structs.replace(way, external=leg)
    await net.apply_router(way)
    guests = []
    for host, rules in ((5, ()), (6, (let_in("tcp", 22), let_in("udp", 53)))):
        doc = port(inside, host, *rules)
        guests.append(stand_in().plug(await net.apply_port(doc), doc, gateway="10.99.0.1"))
    return Site(net, way, guests, doc)


def one_to_one(fixed: str) -> tuple[FloatingIpDoc, ...]:
    return (FloatingIpDoc(floating=FLOATING, fixed=fixed),)


def caller(listener: socket.socket) -> str:
    """Who has called, as the one called sees it."""
    connection, peer = listener.accept()
    connection.close()
    return str(peer[0]).removeprefix("::ffff:")


@real
async def test_a_floating_address_both_ways_from_everywhere(
    linux: LinuxNet, stand_in: Callable[[], StandIn], neighbour: Callable[[str, int], StandIn]
) -> None:
    outside = public()
    await linux.apply_network(outside)
    here, there = [await site(linux, outside, stand_in, last) for last in (10, 11)]
    near = neighbour(bridge_of(outside), 200)
    await here.route(floating_ips=one_to_one("10.99.0.6"))
    with here.b.listen(22) as ssh, here.b.listen(23), near.listen(80) as web, there.b.listen(22):
        assert near.reaches(FLOATING, 22)
        assert caller(ssh) == "172.31.77.200"
        assert not near.reaches(FLOATING, 23), "the security group still stands before it"
        socket.create_connection((FLOATING, 22), WAIT).close()
        assert caller(ssh) == "172.31.77.1", "the host itself"
        assert there.a.reaches(FLOATING, 22)
        assert caller(ssh) == "172.31.77.11", "a guest of another router with the very same addresses"
        assert here.a.reaches(FLOATING, 22)
        assert caller(ssh) == "172.31.77.10", "a neighbour on the same network"
        assert here.b.reaches(FLOATING, 22)
        assert caller(ssh) == FLOATING, "itself"
        assert here.b.reaches("172.31.77.200", 80)
        assert caller(web) == FLOATING
        assert here.a.reaches("172.31.77.200", 80)
        assert caller(web) == "172.31.77.10"
        assert there.b.reaches("172.31.77.200", 80)
        assert caller(web) == "172.31.77.11"


@real
async def test_a_floating_address_moves_and_takes_its_connections_away(
    linux: LinuxNet, stand_in: Callable[[], StandIn], neighbour: Callable[[str, int], StandIn]
) -> None:
    outside = public()
    await linux.apply_network(outside)
    here, there = [await site(linux, outside, stand_in, last) for last in (10, 11)]
    near = neighbour(bridge_of(outside), 200)
    await here.route(floating_ips=one_to_one("10.99.0.6"))
    with here.b.listen(22) as old, there.b.listen(22) as new:
        connection = near.connect(FLOATING, 22)
        assert connection is not None
        accepted, _ = old.accept()
        with prepare(connection), prepare(accepted):
            await there.route(floating_ips=one_to_one("10.99.0.6"))
            await here.route(floating_ips=())
            assert near.reaches(FLOATING, 22), "at once, whatever the neighbours remember"
            assert caller(new) == "172.31.77.200"
            connection.sendall(b"to the old place")
            with contextlib.suppress(TimeoutError, ConnectionError):
                assert accepted.recv(16) == b""
        await there.route(admin_up=False)
        assert not near.reaches(FLOATING, 22)


@real
async def test_forwarded_ports_and_nothing_beside_them(
    linux: LinuxNet, stand_in: Callable[[], StandIn], neighbour: Callable[[str, int], StandIn]
) -> None:
    outside = public()
    await linux.apply_network(outside)
    here = await site(linux, outside, stand_in)
    near = neighbour(bridge_of(outside), 200)
    rules = (*EGRESS, let_in("tcp", 22, 24), let_in("tcp", 8000, 8002), let_in("udp", 53))
    await linux.apply_port(msgspec.structs.replace(here.server, version=2, rules=rules))

    def forward(low: int, high: int, fixed: int, last: int = 0, protocol: str = "tcp") -> PortForwardingDoc:
        return PortForwardingDoc(
            protocol=protocol, floating=FLOATING, floating_port_min=low, floating_port_max=high,
            fixed="10.99.0.6", fixed_port_min=fixed, fixed_port_max=last or fixed,
        )  # fmt: skip

    forwardings = (
        forward(2222, 2222, 22), forward(23, 24, 23, 24), forward(9000, 9002, 8000, 8002), forward(7000, 7001, 22),
        forward(5353, 5353, 53, protocol="udp"),
    )  # fmt: skip
    await here.route(port_forwardings=forwardings)
    listeners = {number: here.b.listen(number) for number in (22, 23, 24, 8000, 8001, 8002)}
    for outer, inner in ((2222, 22), (23, 23), (24, 24), (9000, 8000), (9001, 8001), (9002, 8002), (7001, 22)):
        assert near.reaches(FLOATING, outer), outer
        assert caller(listeners[inner]) == "172.31.77.200"
    assert not near.reaches(FLOATING, 22)
    assert here.a.reaches(FLOATING, 9001), "from its own network too"
    with here.b.listen(53, kind=socket.SOCK_DGRAM) as dns:
        near.send(FLOATING, 5353)
        assert dns.recvfrom(16)[0] == b"hello"
    await here.route(port_forwardings=forwardings[1:])
    assert not near.reaches(FLOATING, 2222)
    assert near.reaches(FLOATING, 9001)
    for listener in listeners.values():
        listener.close()


@real
async def test_routes_a_gateway_that_changes_and_no_translation(
    linux: LinuxNet, stand_in: Callable[[], StandIn], neighbour: Callable[[str, int], StandIn]
) -> None:
    outside = public()
    await linux.apply_network(outside)
    here = await site(linux, outside, stand_in)
    near = neighbour(bridge_of(outside), 200)
    near.ip("addr", "add", "203.0.113.9/32", "dev", "lo")
    with near.listen(80) as web, here.b.listen(22) as ssh:
        await here.route(routes=(HostRoute(destination="203.0.113.0/24", nexthop="172.31.77.200"),))
        assert here.a.reaches("203.0.113.9", 80)
        assert caller(web) == "172.31.77.10"
        with (
            here.a.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as talker,
            near.listen(9, kind=socket.SOCK_DGRAM) as hears,
        ):
            talker.sendto(b"before", ("172.31.77.200", 9))
            assert hears.recvfrom(16)[1][0] == "::ffff:172.31.77.10"
            assert here.way.external is not None
            leg = msgspec.structs.replace(here.way.external, addresses=("172.31.77.12/24",))
            await here.route(external=leg, routes=())
            talker.sendto(b"after", ("172.31.77.200", 9))
            assert hears.recvfrom(16)[1][0] == "::ffff:172.31.77.12", "also what was under way"
        with near.watching() as saw:
            here.a.send("203.0.113.9", 9)
            assert not saw(b"hello")
        near.ip("route", "add", "10.99.0.0/24", "via", "172.31.77.12")
        assert not near.reaches("10.99.0.6", 22)
        await here.route(snat=False)
        assert near.reaches("10.99.0.6", 22)
        assert caller(ssh) == "172.31.77.200"
        assert here.a.reaches("172.31.77.200", 80)
        assert caller(web) == "10.99.0.5"
        await here.route(external=None, next_hops=())
        assert not here.a.reaches("172.31.77.200", 80)
        assert here.a.pings("10.99.0.1")


@real
async def test_the_outside_by_nat_and_floating_addresses(
    linux: LinuxNet, outer: StandIn, stand_in: Callable[[], StandIn]
) -> None:
    inside, outside = private(), public()
    for network in (inside, outside):
        await linux.apply_network(network)
    way = router(inside, outside)
    await linux.apply_router(way)
    guest, server = port(inside, 5), port(inside, 6, let_in("tcp", 22))
    a = stand_in().plug(await linux.apply_port(guest), guest, gateway="10.99.0.1")
    b = stand_in().plug(await linux.apply_port(server), server, gateway="10.99.0.1")
    with outer.listen(8080) as listener, b.listen(22) as ssh:
        assert a.reaches("198.51.100.9", 8080)
        assert listener.accept()[1][0] == "::ffff:198.51.100.1"
        outer.ip("route", "add", "172.31.77.0/24", "via", "198.51.100.1")
        outer.ip("route", "add", "10.99.0.0/24", "via", "198.51.100.1")
        run("ip", "route", "add", "10.99.0.0/24", "via", "172.31.77.10")
        assert not outer.reaches("10.99.0.6", 22), "a private network is entered by a floating address only"
        floating = (FloatingIpDoc(floating="172.31.77.50", fixed="10.99.0.6"),)
        await linux.apply_router(msgspec.structs.replace(way, version=2, floating_ips=floating))
        assert outer.reaches("172.31.77.50", 22)
        assert ssh.accept()[1][0] == "::ffff:198.51.100.9"
        assert a.reaches("172.31.77.50", 22), "from its own network too"
        assert ssh.accept()[1][0] == "::ffff:172.31.77.10"
        await linux.apply_router(msgspec.structs.replace(way, version=3))
        assert not outer.reaches("172.31.77.50", 22)
        await linux.apply_router(msgspec.structs.replace(way, version=4, admin_up=False))
        assert not a.reaches("198.51.100.9", 8080)
        await linux.apply_router(msgspec.structs.replace(way, version=5))
        assert a.reaches("198.51.100.9", 8080)
