"""Commands and queries on what providers have.

What a host gives to servers (VCPU, MEMORY_MB, DISK_GB) is what it reported and what the cloud's ratios make of it: it
may be written back as it is, and is refused when it differs. Everything else on a host's provider is its writers'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kilonova.cloud.host import store as hosts
from kilonova.cloud.placement import inventory_store as store
from kilonova.cloud.placement import provider_store, vocabulary_store
from kilonova.cloud.placement.model import HOST_CLASSES, Inventory, Provider, Stock
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Database, Tx


@dataclass(frozen=True, slots=True)
class Holding:
    """A provider and what it has, by resource class."""

    provider: Provider
    stocks: Mapping[str, Stock]


class InventoryService:
    """The inventories of one cloud. Who may ask and change is a question of policy, asked before."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def show(self, provider_id: str) -> Holding:
        """What a provider has, and how much of it is used. Raises NotFound."""
        return await self._db.read(lambda tx: holding(tx, provider_store.get(tx, provider_id)))

    async def put_all(self, provider_id: str, wanted: Mapping[str, Inventory], generation: int | None) -> Holding:
        """Give it these inventories and no others. Raises NotFound, Invalid (class), Conflict (generation, in use, a
        host's own)."""

        def work(tx: Tx) -> Holding:
            held = provider_store.lock_one(tx, provider_id, generation)
            put_all(tx, held, wanted)
            provider_store.bump(tx, (provider_id,))
            return holding(tx, provider_store.get(tx, provider_id))

        return await self._db.write(work)

    async def add(self, provider_id: str, name: str, wanted: Inventory) -> Holding:
        """Give it one more. Raises NotFound, Invalid, Conflict (it has one of this class)."""

        def work(tx: Tx) -> Holding:
            held = provider_store.lock_one(tx, provider_id)
            if name in holding(tx, held).stocks:
                raise Conflict(
                    f"Update conflict: there is an inventory of class {name} already.", why="concurrent_update"
                )
            return _put_one(tx, held, name, wanted)

        return await self._db.write(work)

    async def put(self, provider_id: str, name: str, wanted: Inventory, generation: int) -> Holding:
        """Change one. Raises NotFound, Invalid (it has none), Conflict (generation, a host's own)."""

        def work(tx: Tx) -> Holding:
            held = provider_store.lock_one(tx, provider_id, generation)
            if name not in holding(tx, held).stocks:
                raise Invalid(
                    f"No inventory record with resource class for resource provider {provider_id}: "
                    f"No inventory of class {name} found."
                )
            return _put_one(tx, held, name, wanted)

        return await self._db.write(work)

    async def remove(self, provider_id: str, name: str) -> None:
        """Take one from it. Raises NotFound, Conflict (in use, a host's own)."""

        def work(tx: Tx) -> None:
            held = provider_store.lock_one(tx, provider_id)
            if name not in holding(tx, held).stocks:
                raise NotFound(f"No inventory of class {name[:255]} found for delete")
            _refuse_own(held, name)
            store.remove(tx, provider_id, (name,))
            provider_store.bump(tx, (provider_id,))

        await self._db.write(work)


def holding(tx: Tx, provider: Provider) -> Holding:
    """What a provider has; a host's own inventories are read from the host."""
    own = store.of_host(hosts.get(tx, provider.id)) if provider.is_host else {}
    return Holding(provider, {**own, **store.of_provider(tx, provider.id)})


def put_all(tx: Tx, held: Provider, wanted: Mapping[str, Inventory], *, keep: bool = False) -> None:
    """Give a (locked) provider these inventories and (unless `keep`) no others. Raises Invalid, Conflict."""
    vocabulary_store.check_classes(tx, wanted, "Unknown resource class in inventory: ", keep=True)
    others = dict(wanted)
    if held.is_host:
        own = store.of_host(hosts.get(tx, held.id))
        for name in HOST_CLASSES:
            given = others.pop(name, None)
            if (own[name].inventory if name in own else None) != given:
                raise Conflict(_OWN.format(name=name, provider=held.id))
    if not keep:
        gone = set(store.of_provider(tx, held.id)) - set(others)
        store.remove(tx, held.id, sorted(gone))
    store.put(tx, held.id, others)


_OWN = "Inventory of class {name} of resource provider {provider} is a host's own: the host reports it, others cannot."


def _put_one(tx: Tx, held: Provider, name: str, wanted: Inventory) -> Holding:
    _refuse_own(held, name)
    vocabulary_store.check_classes(tx, (name,), keep=True)
    store.put(tx, held.id, {name: wanted})
    provider_store.bump(tx, (held.id,))
    return holding(tx, provider_store.get(tx, held.id))


def _refuse_own(held: Provider, name: str) -> None:
    if held.is_host and name in HOST_CLASSES:
        raise Conflict(_OWN.format(name=name, provider=held.id))
