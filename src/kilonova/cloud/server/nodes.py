"""Speaking to nodes: hints that desired state changed, and questions to a running one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from kilonova.core.errors import Conflict, Failure, Invalid, NotFound, Unavailable
from kilonova.kit.bus import Bus
from kilonova.kit.db import Tx
from kilonova.wire.guest import GuestSpec
from kilonova.wire.node import Answer, Ask, ConsoleKind, Diagnostics, Nudge, World

_FAILURES: Final[Mapping[str, type[Failure]]] = {
    "no_such_guest": NotFound,
    "not_running": Conflict,
    "no_agent": Conflict,
    "no_console": Invalid,
}
"""What the codes of drivers mean to who asked; all others are Unavailable."""


class Nodes:
    """The control plane's voice towards nodes."""

    def __init__(self, bus: Bus, patience: float = 10.0) -> None:
        self._bus = bus
        self._patience = patience

    def nudge(self, tx: Tx, host_id: str, spec: GuestSpec) -> None:
        """Once this transaction is durable, tell the host of a guest's new spec. Losing the hint costs seconds."""
        data = msgspec.msgpack.encode(Nudge(guests=(spec,)))
        tx.after_commit(lambda: self._bus.wake(f"node.{host_id}", data))

    async def console(self, host_id: str, server_id: str, limit: int) -> str:
        """The end of a guest's console, at most `limit` bytes. Raises Unavailable when the node does not answer."""
        return (await self._ask(host_id, Ask(question="console", server_id=server_id, limit=limit))).text

    async def world(self, host_id: str) -> World:
        """What really exists on a host. Raises Unavailable when the node does not answer."""
        world = (await self._ask(host_id, Ask(question="world"))).world
        if world is None:
            raise Unavailable("The node does not tell what it has")
        return world

    async def diagnose(self, host_id: str, server_id: str) -> Diagnostics:
        """What a running guest used. Raises Conflict for one that does not run, Unavailable."""
        found = (await self._ask(host_id, Ask(question="diagnose", server_id=server_id))).diagnostics
        if found is None:
            raise Unavailable("The node does not tell what the guest used")
        return found

    async def console_address(self, host_id: str, server_id: str, kind: ConsoleKind) -> str:
        """Where a running guest's console is reached on its host. Raises Conflict when it does not run, Invalid when it
        has no console of that kind."""
        return (await self._ask(host_id, Ask(question="connect", server_id=server_id, kind=kind))).text

    async def set_password(self, host_id: str, server_id: str, user: str, password: str) -> None:
        """Change a user's password inside a running guest. Raises Conflict when its agent does not do it."""
        await self._ask(host_id, Ask(question="set_password", server_id=server_id, user=user, secret=password))

    async def interrupt(self, host_id: str, server_id: str) -> None:
        """Send a running guest a non-maskable interrupt. Raises Conflict for one that does not run, Unavailable."""
        await self._ask(host_id, Ask(question="interrupt", server_id=server_id))

    async def _ask(self, host_id: str, question: Ask) -> Answer:
        data = await self._bus.call(f"node.{host_id}.ask", msgspec.msgpack.encode(question), self._patience)
        answer = msgspec.msgpack.decode(data, type=Answer)
        if answer.error:
            raise _FAILURES.get(answer.code, Unavailable)(answer.error)
        return answer
