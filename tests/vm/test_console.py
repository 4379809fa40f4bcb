"""Consoles of a real guest, through the listener: its screen greets, its serial port takes a log-in."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from cloud import RealCloud, Server
from websockets.asyncio.client import connect

pytestmark = pytest.mark.vm


def ask(cloud: RealCloud, server: Server, protocol: str, kind: str) -> str:
    path = f"/compute/v2.1/servers/{server['id']}/remote-consoles"
    asked = {"remote_console": {"protocol": protocol, "type": kind}}
    return str(cloud.api.post(path, asked)["remote_console"]["url"])


async def talk(url: str, *lines: str, until: bytes) -> bytes:
    """What a console says after these lines were typed."""
    heard = b""
    async with asyncio.timeout(60), connect(url, subprotocols=["binary"], proxy=None) as console:  # type: ignore[list-item]
        for line in lines:
            await console.send(line.encode() + b"\r")
            await asyncio.sleep(1)
        while until not in heard:
            heard += bytes(await console.recv())  # type: ignore[arg-type]
    return heard


def test_a_guest_is_seen_and_typed_to(cloud: RealCloud) -> None:
    server = cloud.boot("shown")
    page = urlsplit(ask(cloud, server, "vnc", "novnc"))
    answer = httpx.get(f"{page.scheme}://{page.netloc}{page.path}", trust_env=False)
    assert (answer.status_code, "noVNC" in answer.text) == (200, True)
    socket = unquote(parse_qs(page.query)["path"][0])
    assert asyncio.run(talk(f"ws://{page.netloc}/{socket}", until=b"\n")) == b"RFB 003.008\n"

    serial = ask(cloud, server, "serial", "serial")
    heard = asyncio.run(talk(serial, "", "root", "echo product $((6*7))", until=b"product 42"))
    assert b"login:" in heard
    assert "product 42" in cloud.console(server), "what is typed to the guest is in its log too"
    # The log goes on for the next connection, and the guest does not mind that nobody listens.
    assert asyncio.run(talk(ask(cloud, server, "serial", "serial"), "echo again $((3*5))", until=b"again 15"))
    cloud.delete(server)
    assert cloud.traces(server) == []
