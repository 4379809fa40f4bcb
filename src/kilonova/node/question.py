"""What a node answers at once: console output, what really exists, and what is done to a guest that runs."""

from __future__ import annotations

import msgspec

from kilonova.node.driver.block.port import BlockDriver
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.port import NetDriver
from kilonova.node.driver.virt.port import Virt
from kilonova.wire.node import Answer, Ask, World


class Questions:
    """Answers Ask with Answer."""

    def __init__(self, host_id: str, virt: Virt, net: NetDriver, block: BlockDriver) -> None:
        self._host_id = host_id
        self._virt = virt
        self._net = net
        self._block = block

    async def answer(self, data: bytes) -> bytes:
        """A driver's error is an answer too: its code and public text."""
        try:
            answer = await self._answer(msgspec.msgpack.decode(data, type=Ask))
        except DriverError as error:
            answer = Answer(code=error.code, error=error.message)
        return msgspec.msgpack.encode(answer)

    async def _answer(self, ask: Ask) -> Answer:
        match ask.question:
            case "console":
                raw = await self._virt.console_output(ask.server_id, ask.limit)
                return Answer(text=raw.decode("utf-8", "replace"))
            case "diagnose":
                return Answer(diagnostics=await self._virt.diagnose(ask.server_id))
            case "connect":
                return Answer(text=await self._virt.console_address(ask.server_id, ask.kind))
            case "set_password":
                await self._virt.set_password(ask.server_id, ask.user, ask.secret)
            case "interrupt":
                await self._virt.interrupt(ask.server_id)
            case "world":
                return Answer(world=await self._world())
        return Answer()

    async def _world(self) -> World:
        """Asked of hypervisor, disks and kernel."""
        guests = {g.server_id: g.state for g in await self._virt.list()}
        net = await self._net.world()
        return World(
            host_id=self._host_id,
            guests=dict(guests),
            disks=await self._block.list(),
            networks=tuple(sorted(net.networks)),
            routers=tuple(sorted(net.routers)),
            ports=tuple(sorted(net.ports)),
            strays=net.strays,
        )
