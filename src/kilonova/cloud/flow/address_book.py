"""What a server's row says of its NICs, kept as the network has it: addresses, floating IPs, security groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from kilonova.cloud.network.model import Change, NicsTold
from kilonova.cloud.server import store
from kilonova.cloud.server.nic import view_of
from kilonova.cloud.server.phase import resting
from kilonova.core.context import ALL
from kilonova.core.errors import NotFound
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database, Tx
from kilonova.kit.log import Logger

MOST: Final = 100
UNTIL_READY: Final = 5.0
log = Logger(__name__)


class Network(Protocol):
    """The part of the network service that this needs."""

    def told(self, tx: Tx, server_ids: Sequence[str]) -> Mapping[str, NicsTold]:
        """What there is to say of servers' NICs."""

    def servers_of(self, tx: Tx, port_ids: Sequence[str]) -> list[str]:
        """The servers that have these ports."""

    def bound_servers(self, tx: Tx) -> list[tuple[str, str, bool]]:
        """Every NIC as (port, server, whether it was made for that server)."""


class AddressBook:
    """Hears of changes of ports (`notify` is a `Ground`'s), gathers them for `pause` seconds, and writes those rows
    that say something else. What a crash made it miss, it finds when it starts, a page at a time."""

    def __init__(self, db: Database, clock: Clock, network: Network, pause: float = 0.2) -> None:
        self._db = db
        self._clock = clock
        self._network = network
        self._pause = pause
        self._ports: set[str] = set()
        self._heard = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def notify(self, change: Change) -> None:
        """A port changed, durably."""
        if change.kind == "port":
            self._ports.add(change.id)
            self._heard.set()

    async def start(self) -> None:
        """Begin to listen."""
        self._tasks = [
            asyncio.create_task(self._run(), name="address-book"),
            asyncio.create_task(self._catch_up(), name="address-book-start"),
        ]

    async def stop(self) -> None:
        """Listen no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._heard.wait()
            await self._clock.sleep(self._pause)
            self._heard.clear()
            ports, self._ports = sorted(self._ports), set()
            for some in _pages(ports):
                await self._refresh(partial(self._servers_of, some))

    def _servers_of(self, ports: Sequence[str], tx: Tx) -> list[str]:
        return self._network.servers_of(tx, ports)

    async def _catch_up(self) -> None:
        await self._clock.sleep(UNTIL_READY)
        bound = await self._db.read(self._network.bound_servers)
        for some in _pages(sorted({server_id for _, server_id, _ in bound})):
            await self._refresh(partial(_given, some))
            await self._clock.sleep(self._pause)

    async def _refresh(self, which: Callable[[Tx], Sequence[str]]) -> None:
        try:
            server_ids = await self._db.read(which)
            for server_id in await self._db.read(partial(self._outdated, server_ids)):
                await self._db.write(partial(self._correct, server_id))
        except Exception:
            # Whatever it was, the next change is to be heard.
            log.exception("addresses of servers may be out of date")

    def _outdated(self, server_ids: Sequence[str], tx: Tx) -> list[str]:
        told = self._network.told(tx, server_ids)
        return [one for one in server_ids if self._differs(tx, one, told.get(one))]

    def _differs(self, tx: Tx, server_id: str, told: NicsTold | None) -> dict[str, Any]:
        """The columns that say something else. Nothing while the server is made: its flow says it all."""
        try:
            server = store.get(tx, ALL, server_id)
        except NotFound:
            return {}
        if resting(server.phase) == "building" or server.host_id is None:
            return {}
        nics = tuple(view_of(nic) for nic in told.nics) if told else ()
        groups = told.groups if told else server.security_groups
        values = {"nics": nics, "security_groups": groups}
        return {name: value for name, value in values.items() if getattr(server, name) != value}

    def _correct(self, server_id: str, tx: Tx) -> None:
        try:
            store.lock(tx, ALL, server_id)
        except NotFound:
            return
        told = self._network.told(tx, [server_id])
        if columns := self._differs(tx, server_id, told.get(server_id)):
            store.edit(tx, ALL, server_id, **columns)


def _given(server_ids: Sequence[str], tx: Tx) -> Sequence[str]:
    return server_ids


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + MOST] for start in range(0, len(ids), MOST))
