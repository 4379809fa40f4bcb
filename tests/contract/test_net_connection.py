"""Security group rules with real packets: what they let through, and what becomes of connections when they change."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import msgspec
import pytest
from net_world import EGRESS, let_in, new_id, port, private, real
from stand_in import StandIn, prepare

from kilonova.node.driver.net.linux import LinuxNet
from kilonova.wire.network import AddressSetDoc, PortDoc, RuleDoc

pytest_plugins = ["net_world"]
LIKE_TEST = 253
"""A protocol number for experiments (RFC 3692)."""


class Pair:
    """A client and a server on one network, and the server's rules."""

    def __init__(self, net: LinuxNet, a: StandIn, b: StandIn, client: PortDoc, server: PortDoc) -> None:
        self.net, self.a, self.b = net, a, b
        self._client, self._server = client, server
        self._version = 1

    async def rules(self, *rules: RuleDoc, egress: tuple[RuleDoc, ...] = EGRESS) -> None:
        """The server's rules from now on."""
        await self._apply(self._server, (*egress, *rules))

    async def client_rules(self, *rules: RuleDoc) -> None:
        await self._apply(self._client, (*EGRESS, *rules))

    async def _apply(self, doc: PortDoc, rules: tuple[RuleDoc, ...]) -> None:
        self._version += 1
        await self.net.apply_port(msgspec.structs.replace(doc, version=self._version, rules=rules))

    def open(self, number: int, address: str = "10.99.0.6") -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection from the client to a port of the server."""
        with self.b.listen(number) as listener:
            connection = self.a.connect(address, number)
            assert connection is not None
            accepted, _ = listener.accept()
        return prepare(connection), prepare(accepted)


@pytest.fixture
async def pair(linux: LinuxNet, stand_in: Callable[[], StandIn]) -> Pair:
    inside = private()
    await linux.apply_network(inside)
    client, server = port(inside, 5), port(inside, 6, let_in("tcp", 22))
    a = stand_in().plug(await linux.apply_port(client), client)
    b = stand_in().plug(await linux.apply_port(server), server)
    return Pair(linux, a, b, client, server)


def carries(source: socket.socket, target: socket.socket, word: bytes) -> bool:
    source.sendall(word)
    try:
        return target.recv(len(word)) == word
    except TimeoutError:
        return False


@real
async def test_a_connection_lives_as_long_as_a_rule_allows_it(pair: Pair) -> None:
    await pair.rules(let_in("tcp", 22), let_in("tcp", 23))
    first, second = pair.open(22), pair.open(23)
    began = time.monotonic()
    await pair.rules(let_in("tcp", 23))
    assert time.monotonic() - began < 1
    assert carries(*second, b"still allowed")
    assert carries(second[1], second[0], b"both ways")
    # The server goes on speaking; that does not make the connection its own.
    first[1].sendall(b"last words")
    assert not carries(*first, b"no longer allowed")
    await pair.rules(let_in(None, remote_prefix="10.99.0.0/28"), egress=())
    assert carries(*second, b"by another rule"), "whichever rule it is, and answers need none"
    assert carries(second[1], second[0], b"both ways")
    for end in (*first, *second):
        end.close()


@real
async def test_what_a_guest_began_outlives_a_change_of_other_rules(pair: Pair) -> None:
    with pair.a.listen(80) as listener:
        await pair.client_rules(let_in("tcp", 80))
        connection = pair.b.connect("10.99.0.5", 80)
        assert connection is not None
        accepted, _ = listener.accept()
    await pair.rules(let_in("udp", 9))
    with prepare(connection), prepare(accepted):
        assert carries(accepted, connection, b"a download goes on")
        await pair.rules(egress=())
        assert not carries(connection, accepted, b"nothing may leave")


@real
async def test_who_leaves_a_group_is_cut_off_and_the_others_are_not(pair: Pair) -> None:
    group, addresses = new_id(), new_id()

    async def members(name: str, version: int, *now: str) -> None:
        await pair.net.apply_address_set(AddressSetDoc(group_id=name, version=version, addresses=now))

    await members(group, 1, "10.99.0.5", "10.99.0.9", "fd99::5")
    await pair.rules(
        let_in("tcp", 22, remote_group=group),
        let_in("tcp", 22, remote_group=group, ethertype="IPv6"),
        let_in("tcp", 23, remote_addresses=addresses),
    )
    assert not pair.a.reaches("10.99.0.6", 23), "an address group that nobody has described yet is empty"
    await members(addresses, 1, "10.99.0.0/29", "10.99.0.4", "fd99::/64")
    four, six, by_prefix = pair.open(22), pair.open(22, "fd99::6"), pair.open(23)
    await members(group, 2, "10.99.0.5", "fd99::5")
    assert carries(*four, b"another member left")
    await members(group, 3, "fd99::5")
    assert not carries(*four, b"this member left")
    assert carries(*six, b"but not with this address")
    assert carries(*by_prefix, b"nor the prefix")
    await members(addresses, 2, "10.99.0.8/29")
    assert not carries(*by_prefix, b"the prefix left")
    for end in (*four, *six, *by_prefix):
        end.close()


@real
async def test_a_stateless_group_lets_no_answer_through_without_a_rule(pair: Pair) -> None:
    def stateless(*rules: RuleDoc) -> list[RuleDoc]:
        return [msgspec.structs.replace(rule, stateful=False) for rule in rules]

    egress = tuple(stateless(*EGRESS))
    await pair.rules(*stateless(let_in("tcp", 22)), egress=egress)
    with pair.a.listen(80), pair.b.listen(22):
        await pair.client_rules(let_in("tcp", 80))
        assert pair.a.reaches("10.99.0.6", 22), "what the guest answers leaves by its egress rule"
        assert not pair.b.reaches("10.99.0.5", 80)
        await pair.rules(*stateless(let_in("tcp", 1024, 65535)), egress=egress)
        assert pair.b.reaches("10.99.0.5", 80)
        await pair.rules(*stateless(let_in("tcp", 22)), egress=())
        assert not pair.a.reaches("10.99.0.6", 22)


@real
async def test_protocols_by_number_and_egress_rules(pair: Pair) -> None:
    def say(word: bytes, protocol: int = LIKE_TEST, target: str = "10.99.0.6") -> None:
        def work() -> None:
            with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_RAW, protocol) as s:
                s.sendto(word, (target, 0))

        pair.a.inside(work)

    await pair.rules(let_in(str(LIKE_TEST)), let_in("47", ethertype="IPv6"), let_in("icmp", 8, 0))
    with pair.b.watching() as saw:
        say(b"by-its-number")
        say(b"another-number", LIKE_TEST + 1)
        say(b"number-of-ipv6", 47, "fd99::6")
        say(b"ipv6-only-four", LIKE_TEST, "fd99::6")
        assert saw(b"by-its-number")
        assert saw(b"number-of-ipv6")
        assert not saw(b"another-number")
        assert not saw(b"ipv6-only-four")
    assert pair.a.pings("10.99.0.6")
    out = RuleDoc(direction="egress", ethertype="IPv4", protocol="tcp", port_min=80, port_max=81)
    near = RuleDoc(direction="egress", ethertype="IPv6", remote_prefix="fd99::5/128")
    await pair.rules(egress=(out, near))
    await pair.client_rules(let_in(None), let_in(None, ethertype="IPv6"))
    with pair.a.listen(80), pair.a.listen(82):
        assert (pair.b.reaches("10.99.0.5", 80), pair.b.reaches("10.99.0.5", 82)) == (True, False)
        assert (pair.b.reaches("fd99::5", 82), pair.b.pings("10.99.0.5")) == (True, False)
    with pair.a.watching() as saw:
        pair.b.send("10.99.0.5", 80)
        assert not saw(b"hello")
