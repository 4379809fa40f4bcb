"""A host of the small cloud: what exists on it outlives its agent, and its drivers' calls can be interfered with."""

from __future__ import annotations

import asyncio
import inspect
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kilonova.core.ids import new_uuid
from kilonova.node.agent import Agent, Drivers, Identity
from kilonova.node.driver.block.fake import FakeBlock
from kilonova.node.driver.net.fake import FakeNet, FakeWorld
from kilonova.node.driver.virt.fake import FakeVirt
from kilonova.node.journal import Journal

if TYPE_CHECKING:
    from world import World


class Tapped:
    """A driver whose calls can be listened to, and end even when the caller is cancelled, as real ones do."""

    def __init__(self, inner: Any, port: str, host: Host) -> None:
        self._inner, self._port, self._host = inner, port, host

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute

        async def call(*arguments: Any) -> Any:
            await self._host.tap(f"{self._port}.{name}", "before")
            result = await attribute(*arguments)
            await self._host.tap(f"{self._port}.{name}", "after")
            return result

        async def through(*arguments: Any) -> Any:
            task = asyncio.ensure_future(call(*arguments))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait({task})
                raise

        return through


class FilteredNet(FakeNet):
    """A simulated network that takes documents as a real one does."""

    filters = True


@dataclass
class Host:
    """One host: what exists on it outlives its agent."""

    world: World
    id: str
    place: Path
    networks: FakeWorld = field(default_factory=FakeWorld)
    agent: Agent | None = None

    async def start(self) -> None:
        self._grave: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        drivers = Drivers(
            Tapped(FakeVirt(state_dir=self.place / "virt"), "virt", self),
            Tapped(FilteredNet(world=self.networks), "net", self),
            Tapped(FakeBlock(state_dir=self.place / "block"), "block", self),
        )
        journal = Journal(self.place / "journal")
        identity = Identity(self.id, self.place.name, "boot", new_uuid())
        chance = random.Random(self.world.seed)
        self.agent = Agent(
            identity, drivers, journal, self.world.bus, self.world.clock, chance, rhythm=self.world.rhythm
        )
        await self.agent.start()

    async def tap(self, call: str, point: str) -> None:
        if self.world.tap is not None:
            await self.world.tap(self, call, point)

    async def die(self) -> None:
        """To be awaited within a call: the process ends here."""
        await asyncio.shield(self._grave)

    async def kill(self) -> None:
        """The agent's process is gone; its journal, its guests and disks stay."""
        agent, self.agent = self.agent, None
        if agent is not None:
            self._grave.cancel()
            await agent.stop()
