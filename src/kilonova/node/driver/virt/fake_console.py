"""Consoles of simulated guests: real sockets that speak as a guest would, one for each guest and kind."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from kilonova.wire.node import ConsoleKind

GREETING = b"RFB 003.008\n"


class FakeConsoles:
    """The screen greets as RFB does (RFC 6143 §7.1.1) and says no more; the serial port has what the guest said, then
    repeats what is typed, with the guest's prompt. `said` answers the console log of a guest."""

    def __init__(self, said: Callable[[str], str]) -> None:
        self._said = said
        self._place: Path | None = None
        self._servers: dict[tuple[str, ConsoleKind], asyncio.Server] = {}
        self._writers: set[asyncio.StreamWriter] = set()

    async def address(self, server_id: str, kind: ConsoleKind) -> str:
        """Where a guest's console is, listening."""
        if self._place is None:
            self._place = Path(tempfile.mkdtemp(prefix="kilonova-console-"))
        path = self._place / f"{len(self._servers)}.{kind}"
        if (server_id, kind) not in self._servers:
            serve = self._screen if kind == "vnc" else partial(self._serial, server_id)
            server = await asyncio.start_unix_server(serve, path)
            self._servers[server_id, kind] = server
        listening = self._servers[server_id, kind].sockets[0].getsockname()
        return f"unix:{listening}"

    def close(self) -> None:
        """Hang up everywhere."""
        for server in self._servers.values():
            server.close()
        for writer in tuple(self._writers):
            writer.close()
        self._servers.clear()
        if self._place is not None:
            shutil.rmtree(self._place, ignore_errors=True)
            self._place = None

    async def _screen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._kept(writer):
            writer.write(GREETING)
            await writer.drain()
            while await reader.read(1024):
                pass

    async def _serial(self, server_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._kept(writer):
            writer.write(self._said(server_id).encode() + b"guest# ")
            while data := await reader.read(1024):
                writer.write(data.replace(b"\r", b"\r\n") + (b"guest# " if data[-1:] in b"\r\n" else b""))
                await writer.drain()

    @contextlib.asynccontextmanager
    async def _kept(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError):
                yield
        finally:
            self._writers.discard(writer)
            writer.close()
