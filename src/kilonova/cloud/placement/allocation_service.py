"""Commands and queries on who uses what."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kilonova.cloud.placement import allocation_store as store
from kilonova.cloud.placement import candidate, inventory_service, landscape_store, provider_store, vocabulary_store
from kilonova.cloud.placement import replace as replacing
from kilonova.cloud.placement.candidate import Candidate, Wish
from kilonova.cloud.placement.landscape import Landscape
from kilonova.cloud.placement.model import INSTANCE, Allocation, Consumer, Inventory, Provider, Servers, Usage, Wanted
from kilonova.core.errors import Invalid
from kilonova.kit.db import Database, Tx


@dataclass(frozen=True, slots=True)
class Share:
    """Allocations, with the providers and consumers that they name by id."""

    allocations: Sequence[Allocation]
    providers: Mapping[str, Provider]
    consumers: Mapping[str, Consumer]


class AllocationService:
    """The allocations of one cloud. Who may ask and change is a question of policy, asked before."""

    def __init__(self, db: Database, servers: Servers) -> None:
        self._db = db
        self._servers = servers

    async def of_consumer(self, consumer_id: str) -> Share:
        """What a consumer has; nothing for one that nobody knows."""

        def work(tx: Tx) -> Share:
            found = store.of_consumers(tx, (consumer_id,))
            providers = {p.id: p for p in provider_store.find(tx, sorted({a.provider_id for a in found}))}
            return Share(found, providers, self._consumers(tx, found))

        return await self._db.read(work)

    async def of_provider(self, provider_id: str) -> Share:
        """Who has what of a provider. Raises NotFound."""

        def work(tx: Tx) -> Share:
            one = provider_store.get(tx, provider_id)
            found = store.of_provider(tx, provider_id)
            return Share(found, {one.id: one}, self._consumers(tx, found))

        return await self._db.read(work)

    async def replace(self, wanted: Mapping[str, Wanted]) -> None:
        """Give each consumer what it shall have: all of it or nothing. Raises as `replace.replace`."""
        await self._db.write(lambda tx: replacing.replace(tx, wanted, self._servers))

    async def remove(self, consumer_id: str) -> None:
        """Take everything from a consumer. Raises NotFound, Conflict (it is a server)."""
        await self._db.write(lambda tx: replacing.remove(tx, consumer_id, self._servers))

    async def reshape(
        self, inventories: Mapping[str, tuple[int, Mapping[str, Inventory]]], wanted: Mapping[str, Wanted]
    ) -> None:
        """Change inventories (each with the generation that its writer knows) and who uses them, at once. Raises
        Invalid, Conflict."""

        def work(tx: Tx) -> None:
            known = {p.id for p in provider_store.find(tx, sorted(inventories))}
            if unknown := sorted(set(inventories) - known):
                reason = f"No resource provider with uuid {unknown[0]} found"
                raise Invalid(
                    f"Resource provider {unknown[0]} in inventories not found: {reason}", why="provider_not_found"
                )
            provider_store.lock(tx, sorted(inventories))
            held = {i: provider_store.lock_one(tx, i, inventories[i][0]) for i in sorted(inventories)}
            first = [i for i in held if inventories[i][1]]
            for provider_id in first:
                inventory_service.put_all(tx, held[provider_id], inventories[provider_id][1], keep=True)
            provider_store.bump(tx, first)
            if wanted:
                replacing.replace(tx, wanted, self._servers)
            for provider_id, one in held.items():
                inventory_service.put_all(tx, one, inventories[provider_id][1])
            provider_store.bump(tx, sorted(held))

        await self._db.write(work)

    async def usages(self, project_id: str, user_id: str | None) -> Mapping[str | None, Usage]:
        """What a project (and user) uses, by the consumers' type."""

        def work(tx: Tx) -> Mapping[str | None, Usage]:
            found = store.usage(tx, project_id, user_id)
            servers = self._servers.usage(tx, project_id, user_id)
            if servers.consumers:
                found[INSTANCE] = _sum(found.get(INSTANCE, Usage()), servers)
            return found

        return await self._db.read(work)

    async def candidates(self, wish: Wish) -> tuple[Landscape, Sequence[Candidate]]:
        """Every way to satisfy a wish, in the landscape as it was. Raises Invalid (no such class or trait)."""

        def work(tx: Tx) -> Landscape:
            asked = {name for group in wish.groups for name in group.resources}
            vocabulary_store.check_classes(tx, asked, vocabulary_store.ASKED)
            named = {*wish.root_required, *wish.root_forbidden}
            for group in wish.groups:
                named.update(group.forbidden, *group.required)
            if unknown := vocabulary_store.unknown_traits(tx, named):
                raise Invalid(f"No such trait(s): {', '.join(unknown)[:255]}.")
            return landscape_store.load(tx)

        land = await self._db.read(work)
        return land, await asyncio.to_thread(candidate.search, land, wish)

    def _consumers(self, tx: Tx, found: Sequence[Allocation]) -> Mapping[str, Consumer]:
        """Who they are: consumers with a row, and servers. One that is neither is told as what it is: unknown."""
        ids = sorted({a.consumer_id for a in found})
        known = store.consumers(tx, ids)
        return {**known, **self._servers.owners(tx, [i for i in ids if i not in known or known[i].is_server])}


def _sum(one: Usage, other: Usage) -> Usage:
    names = {*one.amounts, *other.amounts}
    amounts = {name: one.amounts.get(name, 0) + other.amounts.get(name, 0) for name in names}
    return Usage(amounts, one.consumers + other.consumers)
