"""The metadata service: answers guests at 169.254.169.254 and fe80::a9fe:a9fe what they may read about themselves.

One process serves many networks, whose addresses may be the same: a guest is known by the *listening socket* that it
reached (made by the net driver in that network's namespace, one for each IP version) and its source address. So the
HTTP side is an asyncio protocol over the httptools parser (the one inside uvicorn) with the network in its constructor.
A whole uvicorn server per network would cost megabytes and a task each, and one shared ASGI server would not know on
which of many equal addresses it was reached. There is nothing to await in an answer: a few hundred microseconds a
request, and a network that nobody asks costs two descriptors.

Guests are hostile: a request has a size and a deadline, an address and a network have a number of connections, a
connection has a number of requests, and who does not read what it asked for is cut off.
Sources: RFC 9112; Amazon's "Use the Instance Metadata Service" (tokens); Nova's metadata handler (what answers 404).
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, Protocol

from kilonova.guestdata.document import TEXT, find_page
from kilonova.guestdata.openstack import SEED_BYTES
from kilonova.kit.clock import SECOND, Clock, SystemClock
from kilonova.node.metadata_protocol import Gate, MetadataProtocol, Request, Response
from kilonova.node.metadata_token import TTL_HEADER, TokenMint
from kilonova.wire.guest import GuestSpec
from kilonova.wire.network import NetworkDoc

FindGuest = Callable[[str, str], GuestSpec | None]
"""The guest at (network id, source address); None when there is none. Not to block."""
FindNetwork = Callable[[str], NetworkDoc | None]
SESSION_PATH = "/latest/api/token"
_PASSWORD: Final = re.compile(r"/openstack/[^/]+/password")
PASSWORD_LIMIT: Final = 1020
SESSION_HEADER = "x-aws-ec2-metadata-token"


def _no_network(_: str) -> NetworkDoc | None:
    return None


class Passwords(Protocol):
    """Keeps what guests tell as their passwords."""

    def read(self, server_id: str) -> str:
        """What a guest told; empty when it told nothing."""

    def keep(self, server_id: str, text: str) -> bool:
        """Keep it, unless there is one already; whether it was kept."""


class NoPasswords:
    """Keeps none."""

    def read(self, server_id: str) -> str:
        return ""

    def keep(self, server_id: str, text: str) -> bool:
        return False


class MetadataServer:
    """The service for all networks of a host.

    `find` names the guest that asks. `network` gives the networks of its ports where the node knows them; without, a
    guest reads that it is to use DHCP. `secret` signs session tokens: the same after a restart keeps them valid.
    `patience` is how many seconds a whole request may take to arrive, the next one to begin, an answer to be taken.
    """

    def __init__(
        self,
        find: FindGuest,
        *,
        network: FindNetwork = _no_network,
        passwords: Passwords | None = None,
        secret: bytes | None = None,
        clock: Clock | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        patience: float = 10.0,
    ) -> None:
        self._find = find
        self._network = network
        self._passwords = passwords or NoPasswords()
        self._clock = clock or SystemClock()
        self._random_bytes = random_bytes
        self._patience = patience
        self._mint = TokenMint(secret or random_bytes(32))
        self._servers: dict[str, tuple[list[asyncio.Server], Gate]] = {}

    async def serve(self, network_id: str, *sockets: socket.socket) -> None:
        """Answer a network's guests on bound stream sockets, which are ours from now on. Asking again for a network
        that is served replaces them."""
        await self.stop(network_id)
        gate = Gate(self._patience)
        loop = asyncio.get_running_loop()
        servers: list[asyncio.Server] = []
        self._servers[network_id] = (servers, gate)
        for sock in sockets:
            sock.setblocking(False)
            server = await loop.create_server(
                lambda: MetadataProtocol(gate, lambda source, request: self.answer(network_id, source, request)),
                sock=sock,
                backlog=128,
            )
            servers.append(server)

    async def stop(self, network_id: str) -> None:
        """No longer answer a network: its socket and connections are closed. Nothing happens when it is not served."""
        served = self._servers.pop(network_id, None)
        if served is not None:
            servers, gate = served
            for server in servers:
                server.close()
            for connection in tuple(gate.connections):
                connection.abort()
            for server in servers:
                await server.wait_closed()

    async def close(self) -> None:
        """Stop all."""
        for network_id in tuple(self._servers):
            await self.stop(network_id)

    def answer(self, network_id: str, source: str, request: Request) -> Response:
        """What a request from `source` gets."""
        spec = self._find(network_id, source)
        if spec is None:
            return Response(HTTPStatus.NOT_FOUND)
        if request.method == "PUT" and request.path.rstrip("/") == SESSION_PATH:
            return self._give_token(spec, request.headers)
        is_password = _PASSWORD.fullmatch(request.path.rstrip("/")) is not None
        if request.method == "POST" and is_password:
            return self._keep_password(spec, request.body)
        if request.method not in ("GET", "HEAD"):
            return Response(HTTPStatus.METHOD_NOT_ALLOWED)
        token = request.headers.get(SESSION_HEADER)
        if token is not None and not self._mint.verify(token, spec.server_id, self._now()):
            return Response(HTTPStatus.UNAUTHORIZED)
        if is_password:
            return Response(HTTPStatus.OK, self._passwords.read(spec.server_id).encode(), TEXT)
        networks = {port.network_id: self._network(port.network_id) for port in spec.ports}
        known = {network_id: document for network_id, document in networks.items() if document is not None}
        page = find_page(spec, request.path, known, self._random_bytes(SEED_BYTES))
        if page is None:
            return Response(HTTPStatus.NOT_FOUND)
        return Response(HTTPStatus.OK, page.body, page.content_type)

    def _keep_password(self, spec: GuestSpec, body: bytes) -> Response:
        """What a guest tells as its administrator's password, encrypted by the owner's key: once (Nova's handler)."""
        if len(body) > PASSWORD_LIMIT or not body.isascii():
            return Response(HTTPStatus.BAD_REQUEST)
        if not self._passwords.keep(spec.server_id, body.decode()):
            return Response(HTTPStatus.CONFLICT)
        return Response(HTTPStatus.OK)

    def _give_token(self, spec: GuestSpec, headers: Mapping[str, str]) -> Response:
        """A session token as Amazon gives it: not to who comes through a proxy, and for at most six hours."""
        if "x-forwarded-for" in headers:
            return Response(HTTPStatus.FORBIDDEN)
        wanted = headers.get(TTL_HEADER, "")
        if not (wanted.isascii() and wanted.isdigit() and len(wanted) <= 5 and 1 <= int(wanted) <= TokenMint.LONGEST):
            return Response(HTTPStatus.BAD_REQUEST)
        token = self._mint.make(spec.server_id, int(wanted), self._now())
        return Response(HTTPStatus.OK, token.encode(), TEXT, {TTL_HEADER: wanted})

    def _now(self) -> int:
        return self._clock.now() // SECOND
