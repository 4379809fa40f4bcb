"""What an import may fetch, and from where: nothing that the user could not reach himself."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kilonova.cloud.image.remote import MAX_REDIRECTS, Allowed, Refused, WebSource, resolve
from kilonova.core.errors import Failure, Invalid, Unavailable

DATA = b"bytes of no system" * 10_000
PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]
INNER = [
    "127.0.0.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:10.0.0.1",
    "64:ff9b::a00:1", "2002:a00:1::1", "fd00:ec2::254", "::7f00:1", "::a9fe:a9fe", "::ffff:0:127.0.0.1", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INNER)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not Allowed().reaches(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address: str) -> None:
    assert Allowed().reaches(ipaddress.ip_address(address))


def test_networks_of_the_operator_are_reached_and_no_others() -> None:
    allowed = Allowed.read("http://*", "10.1.0.0/16 fd00:1::/32")
    reached = [a for a in ("10.1.2.3", "10.2.0.1", "::ffff:10.1.0.1", "fd00:1::5") if _reaches(allowed, a)]
    assert reached == ["10.1.2.3", "::ffff:10.1.0.1", "fd00:1::5"]


def _reaches(allowed: Allowed, address: str) -> bool:
    return allowed.reaches(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "uri",
    [
        "", "x", "file:///etc/passwd", "ftp://a.example.org/", "http:///x", "http://user:word@a.example.org/",
        "http://a.example.org:22/", "https://a.example.org:80/", "http://a.example.org/" + "x" * 2048, "http://[::1/",
        "http://xn--/", "http://a.example.org:port/", "//user@////",
    ],
)  # fmt: skip
def test_uris_that_are_refused_by_default(uri: str) -> None:
    with pytest.raises(Invalid):
        Allowed().check(uri)


def test_what_is_said_of_a_refused_uri_repeats_no_secret() -> None:
    for uri in ("http://user:secret@a.example.org:22/disk?token=secret#secret", "http://[::1?token=secret"):
        with pytest.raises(Invalid) as caught:
            Allowed().check(uri)
        assert "secret" not in f"{caught.value.message} {caught.value.detail}"
    with pytest.raises(Invalid, match=r"http://a\.example\.org:22/disk$"):
        Allowed().check("http://user:secret@a.example.org:22/disk?token=secret")


def test_origins() -> None:
    allowed = Allowed.read("https://*.example.org http://mirror:8080", "")
    for uri in ("https://a.example.org/x?y=z", "https://a.b.EXAMPLE.org:443", "http://mirror:8080/x"):
        allowed.check(uri)
    for uri in ("http://a.example.org/", "https://example.com", "https://badexample.org/", "http://mirror/"):
        with pytest.raises(Invalid):
            allowed.check(uri)
    for wrong in ("example.org", "ftp://x", "http://x/path"):
        with pytest.raises(Invalid):
            Allowed.read(wrong, "")
    with pytest.raises(Invalid):
        Allowed.read("", "10.0.0.1/8")


class Web:
    """A web server on the loopback address, under whatever names are asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        writer.write(self.answers.get(head.split()[1].decode(), b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"))
        await writer.drain()
        writer.close()

    def redirect(self, path: str, to: str) -> None:
        self.answers[path] = f"HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()

    def give(self, path: str, data: bytes, *, length: int | None = None, more: str = "") -> None:
        head = f"HTTP/1.1 200 OK\r\n{more}content-length: {len(data) if length is None else length}\r\n\r\n"
        self.answers[path] = head.encode() + data


@asynccontextmanager
async def serving() -> AsyncIterator[Web]:
    web = Web()
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
    web.port = server.sockets[0].getsockname()[1]
    yield web
    server.close()
    await server.wait_closed()


async def fetch(web: Web, path: str, **more: Any) -> bytes:
    """As if `inside` were the loopback address and allowed, and `evil` another one that is not."""

    async def lookup(host: str, port: int) -> Sequence[str]:
        return {"inside": ["127.0.0.1"], "evil": ["127.0.0.2"]}.get(host, [])

    allowed = Allowed.read(f"http://inside:{web.port} http://evil:{web.port}", "127.0.0.1/32")
    source = WebSource(allowed, lookup=lookup, **more)
    return b"".join([chunk async for chunk in source.read(f"http://inside:{web.port}{path}")])


async def test_bytes_come_and_the_host_is_named() -> None:
    async with serving() as web:
        web.give("/disk", DATA)
        assert await fetch(web, "/disk") == DATA
        assert f"host: inside:{web.port}".encode() in web.asked[0].lower()


async def test_redirects_are_followed_and_each_is_checked() -> None:
    async with serving() as web:
        web.give("/disk", DATA)
        web.redirect("/a", "/b")
        web.redirect("/b", f"http://inside:{web.port}/disk")
        assert await fetch(web, "/a") == DATA
        for target in (f"http://evil:{web.port}/disk", "http://169.254.169.254/", "file:///etc/passwd"):
            web.redirect("/out", target)
            with pytest.raises(Invalid):
                await fetch(web, "/out")
        for target, kind in (("http://xn--/", Refused), ("http://[::1", Unavailable)):
            web.redirect("/out", target)
            with pytest.raises(kind):
                await fetch(web, "/out")
        web.redirect("/round", "/round")
        before = len(web.asked)
        with pytest.raises(Refused):
            await fetch(web, "/round")
        assert len(web.asked) - before == MAX_REDIRECTS + 1


async def test_what_goes_wrong_on_the_way() -> None:
    async with serving() as web:
        web.give("/cut", DATA, length=len(DATA) + 1)
        web.give("/packed", DATA, more="content-encoding: gzip\r\n")
        web.give("/silent", b"x", length=2)
        wrong: dict[str, type[Failure]] = {"/cut": Unavailable, "/packed": Refused, "/none": Refused}
        for path, kind in wrong.items():
            with pytest.raises(kind):
                await fetch(web, path)

        async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(web.answers["/silent"])
            await reader.read()
            writer.close()

        server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
        web.port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable):
            await fetch(web, "/silent", silence=0.05)
        with pytest.raises(Refused):
            await fetch(web, "/silent", seconds=0.05)
        server.close()


async def test_a_name_that_is_not_known() -> None:
    with pytest.raises(Unavailable):
        await resolve("no-such-host.invalid", 80)
