"""A network without a network: a product driver for simulated hosts, microseconds a call, scriptable."""

from __future__ import annotations

from collections import Counter
from socket import socket

from kilonova.kit.clock import Clock, SystemClock
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.name import check_id
from kilonova.node.driver.net.port import NetWorld, PortDevice
from kilonova.node.driver.virt.fake import FakeScript
from kilonova.wire.network import AddressSetDoc, NetworkDoc, PortDoc, RouterDoc


class FakeNet:
    """The net port in memory. It wants no rules (`filters` is false) but takes them.

    `script` says how the host misbehaves, by method name of this port; `calls` counts. What exists lies in `world`,
    which outlives the driver: a second driver on the same world is the host's daemon restarted.
    """

    filters = False

    def __init__(
        self,
        *,
        script: FakeScript | None = None,
        world: FakeWorld | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.script = script or FakeScript()
        self.calls: Counter[str] = Counter()
        self._clock = clock or SystemClock()
        self._world = world if world is not None else FakeWorld()

    async def start(self) -> None:
        """See the port."""
        await self._play("start")

    async def close(self) -> None:
        """See the port."""
        await self._play("close")

    async def apply_network(self, doc: NetworkDoc) -> None:
        """See the port."""
        await self._play("apply_network")
        self._world.networks[check_id(doc.network_id)] = doc

    async def remove_network(self, network_id: str) -> None:
        """See the port."""
        await self._play("remove_network")
        self._world.networks.pop(check_id(network_id), None)

    async def apply_router(self, doc: RouterDoc) -> None:
        """See the port."""
        await self._play("apply_router")
        legs = [*doc.interfaces, *([doc.external] if doc.external else [])]
        if any(leg.network_id not in self._world.networks for leg in legs):
            raise DriverError("driver", "a network of the router is not on this host yet", retryable=True)
        self._world.routers[check_id(doc.router_id)] = doc

    async def remove_router(self, router_id: str) -> None:
        """See the port."""
        await self._play("remove_router")
        self._world.routers.pop(check_id(router_id), None)

    async def apply_port(self, doc: PortDoc) -> PortDevice:
        """See the port."""
        await self._play("apply_port")
        network = self._world.networks.get(doc.network_id)
        if network is None:
            raise DriverError("driver", "the port's network is not on this host yet", retryable=True)
        self._world.ports[check_id(doc.port_id)] = doc
        return PortDevice("", "", network.mtu)

    async def remove_port(self, port_id: str) -> None:
        """See the port."""
        await self._play("remove_port")
        self._world.ports.pop(check_id(port_id), None)

    async def apply_address_set(self, doc: AddressSetDoc) -> None:
        """See the port."""
        await self._play("apply_address_set")
        self._world.groups[check_id(doc.group_id)] = doc

    async def remove_address_set(self, group_id: str) -> None:
        """See the port."""
        await self._play("remove_address_set")
        self._world.groups.pop(check_id(group_id), None)

    async def metadata_sockets(self, network_id: str) -> tuple[socket, ...]:
        """See the port."""
        await self._play("metadata_sockets")
        return ()

    async def world(self) -> NetWorld:
        """See the port."""
        await self._play("world")
        here = self._world
        return NetWorld(frozenset(here.networks), frozenset(here.routers), frozenset(here.ports))

    async def clean(self) -> None:
        """See the port."""
        await self._play("clean")
        for things in (self._world.networks, self._world.routers, self._world.ports, self._world.groups):
            things.clear()

    async def _play(self, method: str) -> None:
        self.calls[method] += 1
        if delay := self.script.delays.get(method):
            await self._clock.sleep(delay)
        self.script.check(method)


class FakeWorld:
    """What exists on a simulated host; it outlives the driver."""

    def __init__(self) -> None:
        self.networks: dict[str, NetworkDoc] = {}
        self.routers: dict[str, RouterDoc] = {}
        self.ports: dict[str, PortDoc] = {}
        self.groups: dict[str, AddressSetDoc] = {}
