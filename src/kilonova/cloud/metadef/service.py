"""Commands and queries on metadata definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kilonova.cloud.metadef import entry_store, store
from kilonova.cloud.metadef.model import (
    RESOURCE_TYPES,
    Contents,
    Entries,
    Entry,
    Filter,
    Kind,
    Namespace,
    NamespaceSpec,
    Page,
    ResourceType,
)
from kilonova.core.context import ALL, Context, Scope
from kilonova.core.errors import Forbidden
from kilonova.core.ids import NewId, new_uuid
from kilonova.kit.db import Database, Tx


class MetadefService:
    """The catalog of one cloud. Who may do what by role is the edge's question; whose a namespace is, ours: everybody
    sees public ones, the project that owns one may change it, administrators see and may change all."""

    def __init__(self, db: Database, new_id: NewId = new_uuid) -> None:
        self._db = db
        self._new_id = new_id

    async def bootstrap(self) -> None:
        """Make known what a cloud has that metadata can be put on; definitions are the operator's to add."""
        await self._db.write(lambda tx: entry_store.know_resource_types(tx, RESOURCE_TYPES))

    async def create(self, context: Context, wanted: NamespaceSpec, entries: Entries) -> Contents:
        """A new namespace with what it holds. Raises Conflict (a name is taken), Forbidden (another's), TooLarge."""
        owner = _owner(context, wanted)
        namespace_id = self._new_id()

        def work(tx: Tx) -> Contents:
            new = _namespace(namespace_id, owner, wanted, tx.now, tx.now)
            store.add(tx, new)
            for kind, some in entries.items():
                _add(tx, new, kind, some)
            return Contents(new, entry_store.everything(tx, [new])[new.id])

        return await self._db.write(work)

    async def get(self, context: Context, name: str) -> Namespace:
        """One namespace that the caller may see. Raises NotFound."""
        return await self._db.read(lambda tx: store.get(tx, _scope(context), name))

    async def describe(self, context: Context, name: str) -> Contents:
        """A namespace and all that it holds. Raises NotFound."""

        def work(tx: Tx) -> Contents:
            space = store.get(tx, _scope(context), name)
            return Contents(space, entry_store.everything(tx, [space])[space.id])

        return await self._db.read(work)

    async def list(self, context: Context, wanted: Filter, window: Page) -> Sequence[Contents]:
        """One page, of what they hold only the associations. Raises NotFound (marker)."""

        def work(tx: Tx) -> list[Contents]:
            spaces = store.page(tx, _scope(context), wanted, window)
            held = entry_store.everything(tx, spaces, ("association",))
            return [Contents(space, held[space.id]) for space in spaces]

        return await self._db.read(work)

    async def update(self, context: Context, name: str, wanted: NamespaceSpec) -> Namespace:
        """Replace all that is said of a namespace itself. Raises NotFound, Forbidden, Conflict (name taken)."""
        owner = _owner(context, wanted)

        def work(tx: Tx) -> Namespace:
            old = _owned(tx, context, name)
            new = _namespace(old.id, owner, wanted, old.created_at, tx.now)
            store.change(tx, new)
            return new

        return await self._db.write(work)

    async def delete(self, context: Context, name: str) -> None:
        """Delete it with all that it holds. Raises NotFound, Forbidden (not the caller's, protected)."""
        await self._db.write(lambda tx: store.remove(tx, _unprotected(tx, context, name)))

    async def list_entries(self, context: Context, name: str, kind: Kind, window: Page) -> Sequence[Entry]:
        """One page of what a namespace holds. Raises NotFound (the namespace, the marker)."""
        return await self._db.read(lambda tx: entry_store.page(tx, store.get(tx, _scope(context), name), kind, window))

    async def get_entry(self, context: Context, name: str, kind: Kind, entry: str) -> Entry:
        """One of what it holds. Raises NotFound."""
        return await self._db.read(lambda tx: entry_store.get(tx, store.get(tx, _scope(context), name), kind, entry))

    async def add(
        self, context: Context, name: str, kind: Kind, new: Sequence[Entry], *, instead: bool = False
    ) -> Sequence[Entry]:
        """Put new ones into a namespace, or `instead` of all that it has of the kind. Raises NotFound, Forbidden,
        Conflict (a name is taken), TooLarge."""

        def work(tx: Tx) -> Sequence[Entry]:
            space = _owned(tx, context, name)
            if instead:
                entry_store.clear(tx, space, kind)
            return _add(tx, space, kind, new)

        return await self._db.write(work)

    async def change(self, context: Context, name: str, kind: Kind, entry: str, new: Entry) -> Entry:
        """Replace one, its name too. Raises NotFound, Forbidden, Conflict (the new name is taken), TooLarge."""

        def work(tx: Tx) -> Entry:
            space = _owned(tx, context, name)
            old = entry_store.get(tx, space, kind, entry)
            changed = replace(new, created_at=old.created_at, updated_at=tx.now)
            entry_store.change(tx, space, kind, entry, changed)
            return changed

        return await self._db.write(work)

    async def remove(self, context: Context, name: str, kind: Kind, entry: str) -> None:
        """Delete one. Raises NotFound, Forbidden (not the caller's, protected)."""
        await self._db.write(lambda tx: entry_store.remove(tx, _unprotected(tx, context, name), kind, entry))

    async def clear(self, context: Context, name: str, kind: Kind) -> None:
        """Delete all of a kind. Raises NotFound, Forbidden (not the caller's, protected)."""
        await self._db.write(lambda tx: entry_store.clear(tx, _unprotected(tx, context, name), kind))

    async def resource_types(self) -> Sequence[ResourceType]:
        """All that are known."""
        return await self._db.read(entry_store.resource_types)


def _scope(context: Context) -> Scope:
    return ALL if context.is_admin else context.scope


def _owner(context: Context, wanted: NamespaceSpec) -> str:
    owner = wanted.owner or context.project_id
    if not owner or (owner != context.project_id and not context.is_admin):
        raise Forbidden("You are not permitted to have a namespace owned by another project.")
    return owner


def _owned(tx: Tx, context: Context, name: str) -> Namespace:
    """A namespace that the caller may change, locked. Raises NotFound when he may not see it either, else Forbidden."""
    space = store.get(tx, _scope(context), name, to_change=True)
    if not context.is_admin and space.owner != context.project_id:
        raise Forbidden(f"You are not permitted to change namespace {name}.")
    return space


def _unprotected(tx: Tx, context: Context, name: str) -> Namespace:
    space = _owned(tx, context, name)
    if space.protected:
        raise Forbidden(f"Namespace {name} is protected: neither it nor what it holds can be deleted.")
    return space


def _namespace(namespace_id: str, owner: str, wanted: NamespaceSpec, created_at: int, updated_at: int) -> Namespace:
    return Namespace(
        id=namespace_id,
        name=wanted.name,
        owner=owner,
        display_name=wanted.display_name,
        description=wanted.description,
        visibility=wanted.visibility,
        protected=wanted.protected,
        created_at=created_at,
        updated_at=updated_at,
    )


def _add(tx: Tx, space: Namespace, kind: Kind, new: Sequence[Entry]) -> Sequence[Entry]:
    if kind == "association":
        entry_store.know_resource_types(tx, sorted({one.name for one in new}))
    stamped = [replace(one, created_at=tx.now, updated_at=tx.now) for one in new]
    entry_store.add(tx, space, kind, stamped)
    return stamped
