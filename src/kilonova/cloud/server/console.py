"""Remote consoles: a token for one connection to what a server's guest shows on its screen or serial port."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kilonova.cloud.server import console_store, store
from kilonova.cloud.server.console_store import ConsoleToken
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.phase import resting
from kilonova.core.context import ALL, Scope
from kilonova.core.errors import Conflict, NotFound
from kilonova.kit.clock import SECOND
from kilonova.kit.db import Database, Tx
from kilonova.wire.node import ConsoleKind

LIFE_SECONDS: Final = 600
_ABSENT: Final = "The requested console token could not be found, or has been used."


@dataclass(frozen=True, slots=True)
class Line:
    """Where a console is reached: `address` is a URL that whoever runs on the host can open (`unix:/path`)."""

    server_id: str
    host_name: str
    kind: ConsoleKind
    address: str


class Consoles:
    """Gives and takes tokens. `new_token` makes one that nobody guesses."""

    def __init__(self, db: Database, nodes: Nodes, new_token: Callable[[], str]) -> None:
        self._db = db
        self._nodes = nodes
        self._new_token = new_token

    async def open(self, scope: Scope, server_id: str, kind: ConsoleKind) -> str:
        """A token for one connection within ten minutes. Raises NotFound, Conflict when there is no guest to show,
        Invalid when it has no console of that kind, Unavailable."""
        server = await self._db.read(lambda tx: store.get(tx, scope, server_id))
        if server.host_id is None or resting(server.phase) == "building":
            raise Conflict(f"Instance {server.id} is not ready")
        await self._nodes.console_address(server.host_id, server.id, kind)
        token = self._new_token()

        def work(tx: Tx) -> None:
            made = ConsoleToken(server.id, server.fence, kind, tx.now + LIFE_SECONDS * SECOND)
            console_store.add(tx, _digest(token), made)

        await self._db.write(work)
        return token

    async def show(self, token: str) -> Line:
        """Where a token leads; it can be used still. Raises NotFound."""
        return await self._line(console_store.find, token)

    async def connect(self, token: str) -> Line:
        """Where a token leads, once. Raises NotFound."""
        return await self._line(console_store.take, token)

    async def sweep(self) -> None:
        """Forget tokens that nobody used."""
        await self._db.write(console_store.forget)

    async def _line(self, look: Callable[[Tx, str], ConsoleToken | None], token: str) -> Line:
        def work(tx: Tx) -> tuple[Server, ConsoleToken]:
            found = look(tx, _digest(token))
            if found is None:
                raise NotFound(_ABSENT)
            server = store.get(tx, ALL, found.server_id)
            if server.fence != found.fence or server.host_id is None:
                raise NotFound(_ABSENT)
            return server, found

        server, found = await self._db.write(work)
        kind: ConsoleKind = "vnc" if found.kind == "vnc" else "serial"
        address = await self._nodes.console_address(server.host_id or "", server.id, kind)
        return Line(server.id, server.host_name, kind, address)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
