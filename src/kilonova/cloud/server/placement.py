"""Where a server could go: the scheduler over a cache of all hosts."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from kilonova.cloud.aggregate import store as aggregates
from kilonova.cloud.host import store as hosts
from kilonova.cloud.placement import landscape_store
from kilonova.cloud.placement.demand import Offers, offers, wish_of
from kilonova.cloud.scheduler.choose import choose
from kilonova.cloud.scheduler.filters import Request, Wish
from kilonova.cloud.scheduler.snapshot import Snapshot
from kilonova.cloud.server.model import FlavorCopy, Server
from kilonova.cloud.server.wish import wishes_of
from kilonova.core.decision import Decision
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.db import Database

OVERLAP: Final = 2 * SECOND


class Placement:
    """Chooses hosts. The arrays are refreshed for changed hosts each second; the claim is the truth."""

    def __init__(self, db: Database, clock: Clock, chance: random.Random) -> None:
        self._db = db
        self._clock = clock
        self._chance = chance
        self._snapshot = Snapshot()
        self._fresh_until = 0

    async def choose(self, request: Request, *, fresh: bool = False) -> Decision:
        """The best hosts and the reasons against the others; `fresh` re-reads what changed first."""
        if fresh or self._clock.now() >= self._fresh_until:
            await self._refresh()
        decision = choose(self._snapshot, request, self._chance)
        if not decision.chosen and not fresh:
            return await self.choose(request, fresh=True)
        return decision

    async def wishes(self, server: Server) -> tuple[Wish, ...]:
        """What a server asks for beside room; nothing is read for one that asks for nothing."""
        if server.group_id is None and not server.hints:
            return ()
        return await self._db.read(lambda tx: wishes_of(tx, server))

    async def offers(self, flavor: FlavorCopy) -> Offers | None:
        """Which hosts can give what the flavor asks for beside its sizes; None (and nothing is read) when it asks for
        nothing. Raises Invalid when its extra specs make no sense."""
        if (wish := wish_of(flavor.extra_specs)) is None:
            return None
        land = await self._db.read(lambda tx: landscape_store.load(tx, with_hosts=False))
        return await asyncio.to_thread(offers, land, wish)

    def taken(self, host_id: str, flavor: FlavorCopy) -> None:
        """A claim was made here: take it off the cache until the next refresh, so that choices spread."""
        self._snapshot.deduct(host_id, flavor.vcpus, flavor.memory_mb, flavor.root_gb + flavor.ephemeral_gb)

    async def _refresh(self) -> None:
        since = self._snapshot.version - OVERLAP
        changed, gathered = await self._db.read(lambda tx: (hosts.changed_since(tx, since), aggregates.list_all(tx)))
        self._snapshot.update(changed)
        self._snapshot.gather((one.metadata, one.hosts) for one in gathered)
        self._fresh_until = self._clock.now() + SECOND


def request_for(
    flavor: FlavorCopy, *, zone: str | None, host: str | None, exclude: frozenset[str], offered: Offers | None = None
) -> Request:
    """What a flavor asks of a host; disk as root, ephemeral and swap rounded up. `offered`: who can give the rest."""
    disk = flavor.root_gb + flavor.ephemeral_gb + -(-flavor.swap_mb // 1024)
    among, miss = (None, "") if offered is None else (frozenset(offered.ways), offered.nearest)
    return Request(flavor.vcpus, flavor.memory_mb, disk, zone=zone, host=host, exclude=exclude, among=among, miss=miss)
