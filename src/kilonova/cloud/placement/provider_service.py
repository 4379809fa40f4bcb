"""Commands and queries on providers: the things themselves, their traits and their aggregates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from kilonova.cloud.host import store as hosts
from kilonova.cloud.placement import allocation_store, landscape_store, vocabulary_store
from kilonova.cloud.placement import inventory_store as inventories
from kilonova.cloud.placement import provider_store as store
from kilonova.cloud.placement.landscape import Landscape, Place
from kilonova.cloud.placement.model import DISABLED, Provider
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.core.ids import NewId
from kilonova.kit.db import Database, Tx


@dataclass(frozen=True, slots=True)
class Sieve:
    """Which providers to list. `required`: one trait of each set; `member_of`: one aggregate of each; `resources`: what
    they must be able to give now."""

    name: str | None = None
    id: str | None = None
    in_tree: str | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()
    member_of: tuple[frozenset[str], ...] = ()
    not_member_of: frozenset[str] = frozenset()

    def passes(self, place: Place, land: Landscape) -> bool:
        """Whether a provider is one of them."""
        one = place.provider
        if self.in_tree is not None:
            near = land.places.get(self.in_tree)
            if near is None or near.root_id != one.root_id:
                return False
        return (
            self.name in (None, one.name)
            and self.id in (None, one.id)
            and place.is_like(self.required, self.forbidden)
            and place.is_member(self.member_of)
            and not (self.not_member_of & place.aggregates)
            and all(place.has(name, amount) for name, amount in self.resources.items())
        )


class ProviderService:
    """The providers of one cloud. Who may ask and change is a question of policy, asked before."""

    def __init__(self, db: Database, new_id: NewId) -> None:
        self._db = db
        self._new_id = new_id

    async def list(self, sieve: Sieve) -> Sequence[Provider]:
        """Those that pass, by name. Raises Invalid (no such class or trait)."""

        def work(tx: Tx) -> Landscape:
            vocabulary_store.check_classes(tx, sieve.resources, vocabulary_store.ASKED)
            named = {name for some in (*sieve.required, sieve.forbidden) for name in some}
            if unknown := vocabulary_store.unknown_traits(tx, named):
                raise Invalid(f'Invalid trait(s) in "required" parameter: No such trait(s): {", ".join(unknown)}.')
            return landscape_store.load(tx)

        land = await self._db.read(work)
        return sorted((p.provider for p in land.places.values() if sieve.passes(p, land)), key=lambda one: one.name)

    async def get(self, provider_id: str) -> Provider:
        """One. Raises NotFound."""
        return await self._db.read(lambda tx: store.get(tx, provider_id))

    async def create(self, name: str, provider_id: str | None, parent_id: str | None) -> Provider:
        """A new one, the root of a tree or below another. Raises Conflict (id or name taken), Invalid (no parent)."""
        own = provider_id or self._new_id()

        def work(tx: Tx) -> Provider:
            root_id = (
                own
                if parent_id is None
                else _root_below(tx, parent_id, own, f'Unable to create resource provider "{name}", {own}')
            )
            new = Provider(own, name, parent_id, root_id, 0, False, tx.now, tx.now)
            store.add(tx, new)
            return new

        return await self._db.write(work)

    async def update(
        self, provider_id: str, name: str, *, parent: tuple[str | None] | None = None, may_move: bool = False
    ) -> Provider:
        """Rename it, and hang it below `parent` where that is given. One that has a parent keeps it unless `may_move`.

        Raises NotFound, Conflict (name taken; a host keeps its own), Invalid (the parent is none, or below it).
        """

        def work(tx: Tx) -> Provider:
            held = store.lock_one(tx, provider_id)
            if held.is_host:
                if name != held.name or parent not in (None, (None,)):
                    raise Conflict(f"Resource provider {provider_id} is a host of this cloud: its name and place stay.")
                return held
            if parent is not None and parent[0] != held.parent_id:
                _move(tx, held, parent[0], may_move)
            if name != held.name:
                store.rename(tx, provider_id, name)
            return store.get(tx, provider_id)

        return await self._db.write(work)

    async def delete(self, provider_id: str) -> None:
        """Raises NotFound, Conflict (it has children, or is used, or is a host)."""

        def work(tx: Tx) -> None:
            held = store.lock(tx, (provider_id,)).get(provider_id)
            if held is None:
                raise NotFound(f"No resource provider with uuid {provider_id[:64]} found for delete")
            if store.has_children(tx, provider_id):
                raise Conflict(
                    f"Unable to delete parent resource provider {provider_id}: It has child resource providers.",
                    why="cannot_delete_parent",
                )
            if held.is_host or allocation_store.is_used(tx, provider_id):
                reason = "It is a host of this cloud." if held.is_host else "Resource provider has allocations."
                raise Conflict(f"Unable to delete resource provider {provider_id}: {reason}", why="provider_in_use")
            inventories.remove(tx, provider_id, list(inventories.of_provider(tx, provider_id)))
            store.remove(tx, provider_id)

        await self._db.write(work)

    async def traits(self, provider_id: str) -> tuple[Provider, Sequence[str]]:
        """It, and its traits by name. Raises NotFound."""

        def work(tx: Tx) -> tuple[Provider, Sequence[str]]:
            one = store.get(tx, provider_id)
            seen = {DISABLED} if one.is_host and not hosts.get(tx, provider_id).enabled else set()
            return one, sorted({*store.traits(tx, provider_id), *seen})

        return await self._db.read(work)

    async def set_traits(
        self, provider_id: str, names: Collection[str], generation: int | None
    ) -> tuple[Provider, Sequence[str]]:
        """Give it these and no others. Raises NotFound, Conflict (generation), Invalid (no such trait)."""

        def change(tx: Tx, held: Provider) -> None:
            if unknown := vocabulary_store.unknown_traits(tx, names, keep=True):
                raise Invalid(f"No such trait {', '.join(unknown)[:255]}")
            store.set_traits(tx, provider_id, set(names) - ({DISABLED} if held.is_host else set()))

        await self._change(provider_id, generation, change)
        return await self.traits(provider_id)

    async def aggregates(self, provider_id: str) -> tuple[Provider, Sequence[str]]:
        """It, and the ids of its aggregates. Raises NotFound."""
        return await self._db.read(lambda tx: (store.get(tx, provider_id), store.aggregates(tx, provider_id)))

    async def set_aggregates(
        self, provider_id: str, ids: Collection[str], generation: int | None, *, noticed: bool
    ) -> tuple[Provider, Sequence[str]]:
        """Put it into these and no others; `noticed`: its generation rises (since 1.19). Raises NotFound, Conflict."""

        def change(tx: Tx, _: Provider) -> None:
            store.set_aggregates(tx, provider_id, ids)

        await self._change(provider_id, generation, change, noticed=noticed)
        return await self.aggregates(provider_id)

    async def _change(
        self, provider_id: str, generation: int | None, change: Callable[[Tx, Provider], None], *, noticed: bool = True
    ) -> None:
        def work(tx: Tx) -> None:
            change(tx, store.lock_one(tx, provider_id, generation))
            if noticed:
                store.bump(tx, (provider_id,))

        await self._db.write(work)


def _root_below(tx: Tx, parent_id: str, provider_id: str, said: str) -> str:
    """The root of the tree into which a provider comes; the parent stays meanwhile. Raises Invalid, beginning with
    `said`."""
    parent = store.lock(tx, (parent_id,)).get(parent_id) if parent_id != provider_id else None
    if parent is None:
        reason = "parent provider UUID cannot be same as UUID." if parent_id == provider_id else (
            "parent provider UUID does not exist."
        )  # fmt: skip
        raise Invalid(f"{said}: {reason}")
    return parent.root_id


def _move(tx: Tx, held: Provider, parent_id: str | None, may_move: bool) -> None:
    if held.parent_id is not None and not may_move:
        what = "un-parenting a provider" if parent_id is None else "re-parenting a provider"
        raise Invalid(f"Unable to save resource provider {held.id}: {what} is not currently allowed.")
    if parent_id is None:
        store.move(tx, held.id, None, held.id)
        return
    said = f"Unable to save resource provider {held.id}"
    if parent_id != held.id:
        # Both trees are held, so that two moves at once cannot make a ring of them.
        store.lock(tx, (held.root_id, _root_below(tx, parent_id, held.id, said)))
    if parent_id in store.subtree(tx, held.id):
        raise Invalid(f"{said}: creating loop in the provider tree is not allowed.")
    store.move(tx, held.id, parent_id, store.get(tx, parent_id).root_id)
