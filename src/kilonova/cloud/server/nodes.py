"""Speaking to nodes: hints that desired state changed, and questions to a running one."""

from __future__ import annotations

import msgspec

from kilonova.core.errors import Failure, NotFound, Unavailable
from kilonova.kit.bus import Bus
from kilonova.kit.db import Tx
from kilonova.wire.guest import GuestSpec
from kilonova.wire.node import Answer, Ask, Nudge, World


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

    async def _ask(self, host_id: str, question: Ask) -> Answer:
        data = await self._bus.call(f"node.{host_id}.ask", msgspec.msgpack.encode(question), self._patience)
        answer = msgspec.msgpack.decode(data, type=Answer)
        if answer.error:
            failure: type[Failure] = NotFound if answer.error.startswith("no such") else Unavailable
            raise failure(answer.error)
        return answer
