"""A caller that costs little: HTTP/1.1 on kept connections, nothing parsed but status, length and what is asked for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import msgspec

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TOKEN: Final = re.compile(rb"\r\nx-subject-token: *(\S+)", re.IGNORECASE)
VERSION: Final = "compute 2.79"


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, the head as it came, and the body."""

    status: int
    head: bytes
    body: bytes

    def json(self) -> Any:
        """The document."""
        return msgspec.json.decode(self.body)


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._end: tuple[int, int] | None = None
        self._waiting: asyncio.Future[Reply] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the daemon hung up"))

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._end is None:
            cut = self._data.find(b"\r\n\r\n")
            if cut < 0:
                return
            length = _LENGTH.search(self._data, 0, cut)
            self._end = (cut, cut + 4 + (int(length[1]) if length else 0))
        cut, end = self._end
        if len(self._data) >= end and self._waiting is not None and not self._waiting.done():
            reply = Reply(int(self._data[9:12]), self._data[:cut], self._data[cut + 4 : end])
            self._data, self._end = self._data[end:], None
            self._waiting.set_result(reply)

    async def ask(self, request: bytes) -> Reply:
        """Send the bytes of a request and wait for the answer."""
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Caller:
    """Some connections with one token; as many requests run at once as there are connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: asyncio.Queue[_Connection] = asyncio.Queue()
        self.token = ""
        self.project_id = ""

    @classmethod
    async def sign_in(cls, port: int, user: str, password: str, connections: int) -> Self:
        """Get a token for the user's own project."""
        caller = cls(port)
        await caller.connect(connections)
        reply = await caller.ask(caller.request("POST", "/identity/v3/auth/tokens", login(user, password)))
        if reply.status != 201:
            raise RuntimeError(f"no token: {reply.status} {reply.body.decode()}")
        found = _TOKEN.search(reply.head)
        assert found is not None
        caller.token = found[1].decode()
        caller.project_id = reply.json()["token"]["project"]["id"]
        return caller

    async def connect(self, connections: int) -> None:
        """Open connections."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
            self._idle.put_nowait(connection)

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
        """The bytes of a request."""
        lines = {"host": f"127.0.0.1:{self._port}", "openstack-api-version": VERSION, **(headers or {})}
        if self.token:
            lines["x-auth-token"] = self.token
        data = b"" if body is None else msgspec.json.encode(body)
        if body is not None:
            lines |= {"content-type": "application/json", "content-length": str(len(data))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data

    async def ask(self, request: bytes) -> Reply:
        """Send a prepared request on a free connection."""
        connection = await self._idle.get()
        try:
            return await connection.ask(request)
        finally:
            self._idle.put_nowait(connection)

    async def get(self, path: str) -> Any:
        """A document. Raises RuntimeError unless the answer is 200."""
        return (await self._expect(200, "GET", path)).json()

    async def post(self, path: str, body: Any, status: int = 202) -> Any:
        """Do something; answers the document, None without one."""
        reply = await self._expect(status, "POST", path, body)
        return reply.json() if reply.body else None

    async def _expect(self, status: int, method: str, path: str, body: Any = None) -> Reply:
        reply = await self.ask(self.request(method, path, body))
        if reply.status != status:
            raise RuntimeError(f"{method} {path}: {reply.status} {reply.body.decode()[:500]}")
        return reply

    async def gauges(self) -> dict[str, float]:
        """What /metrics says, plain gauges only."""
        reply = await self._expect(200, "GET", "/metrics")
        lines = (
            line.split() for line in reply.body.decode().splitlines() if line[:1] not in ("#", "") and "{" not in line
        )
        return {fields[0]: float(fields[1]) for fields in lines}

    def close(self) -> None:
        """Hang up."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


async def probe(port: int, path: str) -> int:
    """The status of one GET on a connection of its own, 0 when nobody answers."""
    caller = Caller(port)
    try:
        await caller.connect(1)
        return (await caller.ask(caller.request("GET", path))).status
    except OSError:
        return 0
    finally:
        caller.close()


def login(user: str, password: str) -> dict[str, Any]:
    """The body that asks for a token by password, scoped to the project of the user's name."""
    domain = {"name": "Default"}
    who = {"name": user, "password": password, "domain": domain}
    identity = {"methods": ["password"], "password": {"user": who}}
    return {"auth": {"identity": identity, "scope": {"project": {"name": user, "domain": domain}}}}
