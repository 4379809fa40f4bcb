"""Hosts for operators: see them, take them out of scheduling, and the zones that they form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kilonova.cloud.host import store
from kilonova.cloud.host.model import Host
from kilonova.core.errors import NotFound
from kilonova.kit.db import Database, Tx

_GUEST: Final = "server:"

SOME: Final = 200
"""More hosts than these are read all at once rather than by id."""


@dataclass(frozen=True, slots=True)
class HostView:
    """A host and how many servers have a claim on it."""

    host: Host
    servers: int


class HostService:
    """Hosts of one cloud. Who may ask and change is a question of policy, asked before."""

    def __init__(self, db: Database, default_zone: str = "nova") -> None:
        self._db = db
        self._default_zone = default_zone

    async def list(self) -> Sequence[HostView]:
        """Every host, by name."""

        def work(tx: Tx) -> list[HostView]:
            servers = Counter(host_id for host_id, consumer in store.claims(tx) if consumer.startswith(_GUEST))
            return [HostView(host, servers[host.id]) for host in store.list_all(tx)]

        return await self._db.read(work)

    async def states(self, host_ids: Collection[str] | None = None) -> Mapping[str, Host]:
        """Every host (those of `host_ids` only) by id, without counting what runs there."""

        def work(tx: Tx) -> Sequence[Host]:
            if host_ids is None or len(host_ids) > SOME:
                return store.list_all(tx)
            return store.find(tx, host_ids)

        return {host.id: host for host in await self._db.read(work)}

    async def find(self, name: str) -> Host:
        """The host of this name or id. Raises NotFound."""
        for host in await self._db.read(store.list_all):
            if name in (host.name, host.id):
                return host
        raise NotFound(f"Compute host {name[:255]} could not be found.")

    async def zones(self) -> Mapping[str, bool]:
        """The availability zones by name, and whether any host of each takes servers now. The zone that hosts are in
        unless told otherwise is always there."""
        zones = {self._default_zone: False}
        for host in await self._db.read(store.list_all):
            zones[host.zone] = zones.get(host.zone, False) or (host.up and host.enabled)
        return zones

    async def enable(self, host_id: str) -> Host:
        """Let the scheduler choose it again. Raises NotFound."""
        return await self._change(host_id, lambda tx: store.set_enabled(tx, host_id, True))

    async def disable(self, host_id: str, reason: str = "") -> Host:
        """Let the scheduler choose it no more; what runs there stays. Raises NotFound."""
        return await self._change(host_id, lambda tx: store.set_enabled(tx, host_id, False, reason))

    async def force_down(self, host_id: str, forced: bool) -> Host:
        """Say that it is down, because it was shut off for good, or that what is heard of it counts again. Raises
        NotFound."""
        return await self._change(host_id, lambda tx: store.force_down(tx, host_id, forced))

    async def _change(self, host_id: str, change: Callable[[Tx], None]) -> Host:
        def work(tx: Tx) -> Host:
            store.get(tx, host_id)
            change(tx)
            return store.get(tx, host_id)

        return await self._db.write(work)
