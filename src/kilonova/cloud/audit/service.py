"""The doctor: asks rows and nodes, and names every orphan. Reports only what is still wrong at a second look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from kilonova.cloud.audit.model import Finding
from kilonova.cloud.audit.rows import Rows, check, collect
from kilonova.cloud.audit.world import check_host
from kilonova.core.errors import Failure
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database, Tx
from kilonova.wire.node import World

Bound = Callable[[Tx], Iterable[tuple[str, str]]]


class Asking(Protocol):
    """Who can ask a node what it really has."""

    async def world(self, host_id: str) -> World: ...


class Documents(Protocol):
    """Who knows which networks, routers and ports there are."""

    def existing(self, tx: Tx) -> Mapping[str, Collection[str]]: ...


class Audit:
    """Checks the whole cloud."""

    def __init__(
        self, db: Database, nodes: Asking, networks: Documents, bound_ports: Bound, clock: Clock, patience: float = 2.0
    ) -> None:
        self._db = db
        self._nodes = nodes
        self._networks = networks
        self._bound_ports = bound_ports
        self._clock = clock
        self._patience = patience

    async def run(self) -> list[Finding]:
        """Everything wrong that is wrong at two looks: what is on its way is not a finding."""
        first = await self.look()
        if not first:
            return []
        await self._clock.sleep(self._patience)
        again = set(await self.look())
        return [f for f in first if f in again]

    async def look(self) -> list[Finding]:
        """Everything that does not agree at this moment."""

        def work(tx: Tx) -> tuple[Rows, Mapping[str, Collection[str]]]:
            return collect(tx, self._bound_ports(tx)), self._networks.existing(tx)

        # Worlds first: what is made meanwhile is then in the rows, and what is removed is seen at the second look.
        host_ids = [h.id for h in (await self._db.read(lambda tx: collect(tx, ()))).hosts.values() if h.up]
        worlds = await asyncio.gather(*(self._world(h) for h in host_ids))
        rows, existing = await self._db.read(work)
        found = list(check(rows))
        for host_id, world in zip(host_ids, worlds, strict=True):
            if isinstance(world, World):
                found += check_host(rows, world, existing)
            else:
                found.append(Finding("host", host_id, rows.hosts[host_id].name, world, "Look at its node's log."))
        for debt in rows.debts:
            if debt.host_id not in rows.hosts:
                found.append(Finding("debt", debt.server_id, debt.host_id, "its host does not exist", "Report this."))
        return sorted(found)

    async def _world(self, host_id: str) -> World | str:
        try:
            return await self._nodes.world(host_id)
        except Failure as failure:
            return failure.message
