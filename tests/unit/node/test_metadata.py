"""The metadata server over real sockets: who is answered, what, and how little patience it has."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from kilonova.kit.clock import VirtualClock
from kilonova.node.metadata import MetadataServer
from kilonova.node.metadata_protocol import PER_SOURCE, REQUESTS
from kilonova.wire.guest import GuestDocument, GuestSpec

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"


def guest(name: str) -> GuestSpec:
    document = GuestDocument(
        server_id=name, name=name, hostname=name, project_id="p", user_id="u", admin_password="s3cret", user_data="aGk="
    )
    return GuestSpec(server_id=name, fence=1, version=1, power="running", document=document)


class Kept:
    """The passwords that guests told."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def read(self, server_id: str) -> str:
        return self.told.get(server_id, "")

    def keep(self, server_id: str, text: str) -> bool:
        return self.told.setdefault(server_id, text) is text


class Cloud:
    """Networks with the same addresses, and a clock that stands."""

    def __init__(self) -> None:
        self.guests = {("a", "127.0.0.1"): guest("one"), ("b", "127.0.0.1"): guest("two")}
        self.clock = VirtualClock()
        self.server = MetadataServer(self.find, passwords=Kept(), clock=self.clock)
        self.urls: dict[str, str] = {}

    def find(self, network_id: str, source: str) -> GuestSpec | None:
        if network_id == "broken":
            raise LookupError(source)
        return self.guests.get((network_id, source))

    async def serve(self, network_id: str) -> str:
        sock = socket.create_server(("127.0.0.1", 0))
        self.urls[network_id] = f"http://127.0.0.1:{sock.getsockname()[1]}"
        await self.server.serve(network_id, sock)
        return self.urls[network_id]

    async def talk(self, data: bytes, network_id: str = "a") -> bytes:
        """All that is answered to these bytes until the server closes."""
        reader, writer = await asyncio.open_connection(*self.urls[network_id].removeprefix("http://").split(":"))
        try:
            writer.write(data)
            async with asyncio.timeout(5):
                return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    made = Cloud()
    await made.serve("a")
    yield made
    await made.server.close()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as made:
        yield made


async def test_equal_addresses_on_two_networks_are_two_guests(cloud: Cloud, client: httpx.AsyncClient) -> None:
    for network_id, name in (("a", "one"), ("b", "two")):
        url = await cloud.serve(network_id)
        answer = await client.get(f"{url}/openstack/latest/meta_data.json")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json()["hostname"] == name
        assert "admin_pass" not in answer.json()
        assert (await client.get(f"{url}/latest/meta-data/hostname?x=1")).text == name


async def test_who_is_not_known_gets_nothing(cloud: Cloud, client: httpx.AsyncClient) -> None:
    url = await cloud.serve("empty")
    for path in ("/", "/openstack", "/latest/meta-data/"):
        assert (await client.get(url + path, headers={"X-Forwarded-For": "127.0.0.1"})).status_code == 404
    assert (await client.put(f"{url}/latest/api/token", headers={TTL: "60"})).status_code == 404


async def test_network_that_is_stopped_is_silent_and_others_go_on(cloud: Cloud, client: httpx.AsyncClient) -> None:
    url = await cloud.serve("b")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await cloud.server.stop("b")
    await cloud.server.stop("b")
    await asyncio.wait_for(reader.read(), 5)
    writer.close()
    with pytest.raises(httpx.ConnectError):
        await client.get(url)
    assert (await client.get(cloud.urls["a"])).status_code == 200


async def test_session_tokens(cloud: Cloud, client: httpx.AsyncClient) -> None:
    url = cloud.urls["a"]
    made = await client.put(f"{url}/latest/api/token", headers={TTL: "60"})
    assert (made.status_code, made.headers[TTL]) == (200, "60")
    assert (await client.get(f"{url}/latest/user-data", headers={TOKEN: made.text})).text == "hi"
    other = await cloud.serve("b")
    assert (await client.get(f"{other}/latest/user-data", headers={TOKEN: made.text})).status_code == 401
    for forged in ("", "x", "é".encode(), made.text[:-4], made.text[:-6] + "AAAA=="):
        assert (await client.get(f"{url}/latest/user-data", headers={TOKEN: forged})).status_code == 401
    cloud.clock.advance(60)
    assert (await client.get(f"{url}/latest/user-data", headers={TOKEN: made.text})).status_code == 401
    assert (await client.get(f"{url}/latest/user-data")).status_code == 200


@pytest.mark.parametrize("ttl", ["", "0", "-1", "21601", "1e3", "9" * 500, "٣"])
async def test_token_life_out_of_bounds(cloud: Cloud, client: httpx.AsyncClient, ttl: str) -> None:
    headers = {TTL: ttl.encode()}
    assert (await client.put(f"{cloud.urls['a']}/latest/api/token", headers=headers)).status_code == 400


async def test_token_is_not_given_through_a_proxy(cloud: Cloud, client: httpx.AsyncClient) -> None:
    headers = {TTL: "60", "X-Forwarded-For": "10.0.0.1"}
    assert (await client.put(f"{cloud.urls['a']}/latest/api/token", headers=headers)).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/", 405), ("DELETE", "/latest", 405), ("PUT", "/x", 405), ("POST", "/openstack/latest/passwords", 405)],
)
async def test_methods_that_are_not(
    cloud: Cloud, client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await client.request(method, cloud.urls["a"] + path, content=b"x")).status_code == status


async def test_a_guest_tells_its_password_once(cloud: Cloud, client: httpx.AsyncClient) -> None:
    path = f"{cloud.urls['a']}/openstack/2013-04-04/password"
    assert (await client.get(path)).content == b""
    assert (await client.post(path, content=b"x" * 1021)).status_code == 400
    assert (await client.post(path, content=b"c2VhbGVk")).status_code == 200
    assert (await client.post(path, content=b"again")).status_code == 409
    assert (await client.get(path)).content == b"c2VhbGVk"
    await cloud.serve("b")
    assert (await client.get(f"{cloud.urls['b']}/openstack/latest/password")).content == b""


async def test_head_has_no_body(cloud: Cloud, client: httpx.AsyncClient) -> None:
    answer = await client.head(f"{cloud.urls['a']}/latest/user-data")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "2", b"")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"CONNECT x HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 9000 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 10000\r\n\r\n" + b"x" * 10000, 413),
        (b"GET /latest/%FF%00/%2e%2e HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
    ],
)
async def test_bad_requests_are_refused_and_the_connection_ends(cloud: Cloud, data: bytes, status: int) -> None:
    answer = await cloud.talk(data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1") == 1


async def test_connection_ends_after_its_share_of_requests(cloud: Cloud) -> None:
    answer = await cloud.talk(b"GET / HTTP/1.1\r\n\r\n" * (REQUESTS + 50))
    assert answer.count(b"HTTP/1.1 200") == REQUESTS


async def test_one_address_cannot_take_all_connections(cloud: Cloud) -> None:
    host, port = cloud.urls["a"].removeprefix("http://").split(":")
    held = [await asyncio.open_connection(host, port) for _ in range(PER_SOURCE)]
    assert await cloud.talk(b"GET / HTTP/1.1\r\n\r\n") == b""
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    while not (answer := await cloud.talk(b"GET / HTTP/1.0\r\n\r\n")):
        await asyncio.sleep(0.01)
    assert answer.startswith(b"HTTP/1.1 200")


async def test_patience_ends_with_who_trickles_and_with_who_takes_nothing(cloud: Cloud) -> None:
    await cloud.server.close()
    cloud.server = MetadataServer(cloud.find, patience=0.3)
    cloud.guests["b", "127.0.0.1"] = msgspec.structs.replace(
        guest("two"), document=msgspec.structs.replace(guest("two").document, user_data="aGk=" * 50_000)
    )
    host, port = (await cloud.serve("b")).removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, port)
    started = asyncio.get_running_loop().time()
    with pytest.raises(ConnectionError):
        for byte in b"GET / HTTP/1.1\r\n" * 100:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.02)
    assert 0.2 < asyncio.get_running_loop().time() - started < 5
    writer.close()
    deaf = socket.create_connection((host, int(port)))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.sendall(b"GET /latest/user-data HTTP/1.1\r\n\r\n" * 90)
    await asyncio.sleep(1.0)
    taken = 0
    with pytest.raises(ConnectionError):
        while chunk := deaf.recv(1 << 16):
            taken += len(chunk)
        raise ConnectionError
    assert taken < 90 * 150_000
    deaf.close()


async def test_failure_inside_says_nothing_outside(
    cloud: Cloud, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.get(await cloud.serve("broken"))
    assert (answer.status_code, answer.content) == (500, b"")
    assert [record.levelno for record in caplog.records if record.name.startswith("kilonova")] == [logging.ERROR]
