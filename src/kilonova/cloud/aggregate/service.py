"""Aggregates for operators. A host's zone is that of its aggregates, all of which name the same one or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kilonova.cloud.aggregate import store
from kilonova.cloud.aggregate.model import ZONE, Aggregate
from kilonova.cloud.host import store as hosts
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Database, Tx


class AggregateService:
    """Aggregates of one cloud. Who may see and change them is a question of policy, asked before."""

    def __init__(self, db: Database, new_id: Callable[[], str], default_zone: str = "nova") -> None:
        self._db = db
        self._new_id = new_id
        self._default_zone = default_zone

    async def list(self) -> Sequence[Aggregate]:
        """Every aggregate, the oldest first."""
        return await self._db.read(store.list_all)

    async def get(self, aggregate_id: int) -> Aggregate:
        """One aggregate. Raises NotFound."""
        for one in await self.list():
            if one.id == aggregate_id:
                return one
        raise NotFound(f"Aggregate {aggregate_id} could not be found.")

    async def create(self, name: str, zone: str | None) -> Aggregate:
        """A new one, which is a zone if that is given. Raises Conflict when the name is taken."""
        items = {} if zone is None else {ZONE: zone}
        return await self._db.write(lambda tx: store.add(tx, self._new_id(), name, items))

    async def rename(self, aggregate_id: int, name: str | None, zone: str | None) -> Aggregate:
        """Change the name, the zone, or both; None leaves it. Raises NotFound, Conflict, and as `set_metadata`."""

        def work(tx: Tx) -> Aggregate:
            current = store.lock(tx, aggregate_id)
            items = current.metadata if zone is None else {**current.metadata, ZONE: zone}
            return self._edit(tx, current, name or current.name, items)

        return await self._db.write(work)

    async def set_metadata(self, aggregate_id: int, change: Mapping[str, str | None]) -> Aggregate:
        """Change items; None takes one away. Raises NotFound, Invalid when hosts with servers would change their zone,
        or a host would be in two zones."""

        def work(tx: Tx) -> Aggregate:
            current = store.lock(tx, aggregate_id)
            items = {k: v for k, v in {**current.metadata, **change}.items() if v is not None}
            return self._edit(tx, current, current.name, items)

        return await self._db.write(work)

    async def delete(self, aggregate_id: int) -> None:
        """Raises NotFound, Invalid while it has hosts."""

        def work(tx: Tx) -> None:
            if store.lock(tx, aggregate_id).hosts:
                raise Invalid(f"Cannot remove aggregate {aggregate_id}: it is not empty.")
            store.drop(tx, aggregate_id)

        await self._db.write(work)

    async def add_host(self, aggregate_id: int, name: str) -> Aggregate:
        """Put a host in. Raises NotFound, Conflict when it is there, is in another zone, or has servers in one that it
        would leave."""

        def work(tx: Tx) -> Aggregate:
            current, host_id = store.lock(tx, aggregate_id), _host(tx, name)
            if host_id in current.hosts:
                raise Conflict(f"Aggregate {aggregate_id} already has host {name}.")
            hosts.lock(tx, host_id)
            if current.zone is not None:
                self._enter(tx, current, host_id, current.zone)
            store.add_host(tx, aggregate_id, host_id)
            return store.lock(tx, aggregate_id)

        return await self._db.write(work)

    async def remove_host(self, aggregate_id: int, name: str) -> Aggregate:
        """Take a host out. Raises NotFound, Conflict when it has servers in the zone that it would leave."""

        def work(tx: Tx) -> Aggregate:
            current, host_id = store.lock(tx, aggregate_id), _host(tx, name)
            if host_id not in current.hosts:
                raise NotFound(f"Aggregate {aggregate_id} has no host {name}.")
            hosts.lock(tx, host_id)
            if current.zone is not None:
                self._enter(tx, current, host_id, None)
            store.remove_host(tx, aggregate_id, host_id)
            return store.lock(tx, aggregate_id)

        return await self._db.write(work)

    def _edit(self, tx: Tx, current: Aggregate, name: str, items: Mapping[str, str]) -> Aggregate:
        if items.get(ZONE) != current.zone:
            try:
                for host_id in current.hosts:
                    hosts.lock(tx, host_id)
                    self._enter(tx, current, host_id, items.get(ZONE))
            except Conflict as failure:
                raise Invalid(failure.message) from None
        return store.edit(tx, current, name, items)

    def _enter(self, tx: Tx, current: Aggregate, host_id: str, zone: str | None) -> None:
        """Let a host be in the zone that `current` shall form (None: no zone of its own)."""
        others = {z for number, z in store.zones_of(tx, host_id).items() if number != current.id}
        if zone is not None and others - {zone}:
            raise Conflict(f"Cannot use aggregate {current.id}: a host of it is already in zone {min(others)}.")
        new = zone or next(iter(others), self._default_zone)
        host = hosts.get(tx, host_id)
        if new == host.zone:
            return
        if hosts.claims_on(tx, host_id):
            raise Conflict(
                f"Cannot use aggregate {current.id}: host {host.name} has servers in zone {host.zone}. "
                "Move or delete them first."
            )
        hosts.set_zone(tx, host_id, new)


def _host(tx: Tx, name: str) -> str:
    host_id = hosts.find_named(tx, name)
    if host_id is None:
        raise NotFound(f"Compute host {name} could not be found.")
    return host_id
