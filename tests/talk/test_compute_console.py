"""Remote consoles: asked for over HTTP, carried by a websocket through a real listener, once."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from compute_world import Site, act, fault
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from kilonova.cloud.server import console_store
from kilonova.edge.web.console import OF_A_SERVER, ConsolePages, build_console
from kilonova.kit import log
from kilonova.kit.http import App
from kilonova.kit.http.server import Server
from kilonova.node.driver.virt.fake_console import GREETING


def at(version: str) -> dict[str, str]:
    return {"openstack-api-version": f"compute {version}"}


@pytest.fixture
async def listener(site: Site) -> AsyncIterator[str]:
    server = Server(site.app, "127.0.0.1", 0)
    serving = asyncio.create_task(server.serve())
    await server.ready.wait()
    yield f"127.0.0.1:{server.port}"
    server.stop()
    await serving


async def token(site: Site, server_id: str, protocol: str = "serial", kind: str = "serial") -> str:
    asked = {"remote_console": {"protocol": protocol, "type": kind}}
    answer = await site.ann.post(f"/servers/{server_id}/remote-consoles", json=asked)
    assert answer.status_code == 200, answer.text
    url = urlsplit(answer.json()["remote_console"]["url"])
    query = parse_qs(url.query)
    return query["token"][0] if kind == "serial" else parse_qs(urlsplit(query["path"][0]).query)["token"][0]


async def dial(listener: str, secret: str, origin: str | None = None) -> ClientConnection:
    path = f"ws://{listener}/console/socket?token={secret}"
    return await connect(path, origin=origin, subprotocols=["binary"], proxy=None)  # type: ignore[arg-type, list-item]


async def refused(listener: str, secret: str, origin: str | None = None) -> bool:
    try:
        connection = await dial(listener, secret, origin)
    except InvalidStatus as answer:
        return answer.response.status_code == 403
    await connection.close()
    return False


async def test_a_serial_console_carries_bytes_both_ways_once(site: Site, listener: str) -> None:
    secret = await token(site, await site.boot())
    connection = await dial(listener, secret)
    assert connection.subprotocol == "binary"
    heard = b""
    async with asyncio.timeout(5):
        while not heard.endswith(b"guest# "):
            heard += bytes(await connection.recv())  # type: ignore[arg-type]
        assert b"KILONOVA READY" in heard
        await connection.send(b"hello\r")
        assert await connection.recv() == b"hello\r\nguest# "
        await connection.send("text\r")
        assert await connection.recv() == b"text\r\nguest# "
    assert await refused(listener, secret)
    await connection.close()


async def test_a_screen_greets_and_its_page_finds_the_socket(site: Site, listener: str) -> None:
    server_id = await site.boot()
    asked = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    shown = (await site.ann.post(f"/servers/{server_id}/remote-consoles", json=asked)).json()["remote_console"]
    assert shown["url"].startswith("http://cloud/console/vnc.html?autoconnect=1&path=console%2Fsocket%3Ftoken%3D")
    connection = await dial(listener, unquote(shown["url"]).rpartition("token=")[2], f"http://{listener}")
    async with asyncio.timeout(5):
        assert await connection.recv() == GREETING
    await connection.close()


async def test_the_console_ends_with_its_guest(site: Site, listener: str) -> None:
    server_id = await site.boot()
    connection = await dial(listener, await token(site, server_id, "vnc", "novnc"))
    assert await connection.recv() == GREETING
    for agent in site.agents:
        await agent.stop()
    site.agents.clear()
    async with asyncio.timeout(5):
        await connection.wait_closed()


async def test_tokens_that_nobody_uses_do_not_pile_up(site: Site, listener: str) -> None:
    server_id, other = await site.boot(), await site.boot()
    kept = await token(site, other)
    first, *_, last = [await token(site, server_id) for _ in range(console_store.UNUSED + 1)]
    rows = await site.db.read(lambda tx: tx.execute(console_store.console_token.select()).all())
    assert len(rows) == console_store.UNUSED + 1
    assert await refused(listener, first)
    for secret in (last, kept):
        assert not await refused(listener, secret)


async def test_which_connections_are_refused(site: Site, listener: str) -> None:
    server_id = await site.boot()
    assert await refused(listener, "nonsense")
    assert await refused(listener, await token(site, server_id), "http://evil.example")
    late = await token(site, server_id)
    await site.db.write(lambda tx: tx.execute(console_store.console_token.update().values(expires_at=tx.now)).rowcount)
    assert await refused(listener, late)
    await site.consoles.sweep()
    assert await site.db.read(lambda tx: tx.execute(console_store.console_token.select()).all()) == []
    open_ones = [await dial(listener, await token(site, server_id)) for _ in range(OF_A_SERVER)]
    assert await refused(listener, await token(site, server_id))
    await open_ones[0].close()
    async with asyncio.timeout(5):
        while await refused(listener, await token(site, server_id)):
            await asyncio.sleep(0.02)
    for connection in open_ones:
        await connection.close()
    gone = await token(site, server_id)
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    await site.settle(server_id)
    assert await refused(listener, gone)


async def test_the_old_actions_and_what_there_is_not(site: Site) -> None:
    server_id = await site.boot()
    path = f"/servers/{server_id}/action"
    for action, kind, code in (
        ("os-getVNCConsole", "novnc", 200), ("os-getSerialConsole", "serial", 200), ("os-getVNCConsole", "xvpvnc", 400),
        ("os-getSPICEConsole", "spice-html5", 400), ("os-getRDPConsole", "rdp-html5", 400),
        ("os-getVNCConsole", "nonsense", 400),
    ):  # fmt: skip
        answer = await site.ann.post(path, json={action: {"type": kind}}, headers=at("2.5"))
        assert answer.status_code == code, (kind, answer.text)
        if code == 200:
            assert answer.json()["console"]["type"] == kind
        assert (await act(site.ann, server_id, action, {"type": kind})).status_code == 404
    create = f"/servers/{server_id}/remote-consoles"

    async def ask(protocol: str, kind: str, version: str = "2.104") -> tuple[int, str]:
        asked = {"remote_console": {"protocol": protocol, "type": kind}}
        return fault(await site.ann.post(create, json=asked, headers=at(version)))

    assert await ask("spice", "spice-html5") == (400, "Unavailable console type spice-html5.")
    assert await ask("spice", "spice-direct") == (400, "Unavailable console type spice-direct.")
    assert await ask("mks", "webmks") == (400, "Unavailable console type webmks.")
    assert (await ask("mks", "webmks", "2.7"))[0] == 400
    assert (await ask("vnc", "serial"))[0] == 400
    assert (await ask("vnc", "novnc", "2.5"))[0] == 404
    blind = await site.boot(metadata={"fake.screen": "none"})
    body = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    assert (await site.ann.post(f"/servers/{blind}/remote-consoles", json=body)).status_code == 400
    assert (await site.eve.post(create, json=body)).status_code == 403
    assert (await site.bob.post(create, json=body)).status_code == 404
    await act(site.ann, server_id, "os-stop")
    await site.settle(server_id)
    assert (await site.ann.post(create, json=body)).status_code == 409


async def test_other_proxies_may_ask_where_a_token_leads(site: Site, listener: str) -> None:
    server_id = await site.boot()
    secret = await token(site, server_id)
    path = f"/os-console-auth-tokens/{secret}"
    shown = (await site.admin.get(path)).json()["console"]
    assert (shown["instance_uuid"], shown["host"], shown["tls_port"]) == (server_id, "host1", None)
    assert shown["internal_access_path"].startswith("unix:/")
    assert "tls_port" not in (await site.admin.get(path, headers=at("2.98"))).json()["console"]
    assert (await site.admin.get(path, headers=at("2.30"))).status_code == 401
    assert (await site.admin.get("/os-console-auth-tokens/other")).status_code == 404
    assert (await site.ann.get(path)).status_code == 403
    await (await dial(listener, secret)).close()
    assert (await site.admin.get(path)).status_code == 404


async def test_no_log_tells_a_token(site: Site, listener: str) -> None:
    root = logging.getLogger()
    before, level, told = root.handlers[:], root.level, io.StringIO()
    try:
        log.set_up("info", told)
        server_id = await site.boot()
        shown, used, alien = [await token(site, server_id) for _ in range(3)]
        assert (await site.admin.get(f"/os-console-auth-tokens/{shown}")).status_code == 200
        await (await dial(listener, used)).close()
        assert await refused(listener, alien, "http://evil.example")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    lines = told.getvalue()
    assert "a console was opened" in lines
    assert "/os-console-auth-tokens/{token}" in lines
    assert [one for one in (shown, used, alien) if one in lines] == []


async def test_pages_are_files_of_one_folder(tmp_path: Path) -> None:
    place = tmp_path / "novnc"
    (place / "app").mkdir(parents=True)
    (place / "vnc.html").write_text("<p>screen</p>")
    (place / "app" / "ui.js").write_text("// code")
    (tmp_path / "secret").write_text("hidden")
    (place / "link").symlink_to(tmp_path / "secret")
    app = App([build_console(ConsolePages([tmp_path / "absent", place]))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud/console") as client:
        page = await client.get("/vnc.html?token=x")
        assert (page.text, page.headers["content-type"]) == ("<p>screen</p>", "text/html")
        assert page.headers["referrer-policy"] == "no-referrer"
        assert (await client.get("/app/ui.js")).headers["content-type"].endswith("javascript")
        for bad in ("/nothing", "/app", "/", "/link", "/%2e%2e/secret", "/app/../../secret", "//etc/passwd"):
            assert (await client.get(bad)).status_code == 404, bad
    bare = App([build_console(ConsolePages([tmp_path / "absent"]))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(bare), base_url="http://cloud/console") as client:
        told = await client.get("/vnc.html")
        assert (told.status_code, "host prepare" in told.text) == (404, True)
