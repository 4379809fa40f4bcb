"""Commands and queries on the names of resource classes and traits."""

from __future__ import annotations

from collections.abc import Sequence

from kilonova.cloud.placement import vocabulary_store as store
from kilonova.cloud.placement.standard import RESOURCE_CLASSES, TRAITS
from kilonova.core.errors import Invalid
from kilonova.kit.db import Database, Tx


class VocabularyService:
    """The resource classes and traits that there are."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def classes(self) -> Sequence[tuple[str, int]]:
        """Every resource class, and when it was made (0: it is of the standard)."""
        return await self._db.read(store.classes)

    async def show_class(self, name: str) -> int:
        """When it was made. Raises NotFound."""
        return await self._db.read(lambda tx: store.class_age(tx, name))

    async def add_class(self, name: str) -> bool:
        """False when it is there."""
        return await self._db.write(lambda tx: store.add_class(tx, name))

    async def rename_class(self, name: str, new: str) -> None:
        """Raises NotFound, Invalid (of the standard), Conflict (taken)."""
        if name in RESOURCE_CLASSES:
            raise Invalid(f"Cannot update standard resource class {name}")
        await self._db.write(lambda tx: store.rename_class(tx, name, new))

    async def remove_class(self, name: str) -> None:
        """Raises NotFound, Invalid (of the standard), Conflict (in use)."""
        if name in RESOURCE_CLASSES:
            raise Invalid(f"Error in delete resource class: Cannot delete standard resource class {name}.")
        await self._db.write(lambda tx: store.remove_class(tx, name))

    async def traits(self, *, associated: bool | None = None) -> Sequence[tuple[str, int]]:
        """Every trait (those that some provider has, or none has), and when it was made (0: it is of the standard)."""

        def work(tx: Tx) -> Sequence[tuple[str, int]]:
            known = store.traits(tx)
            if associated is None:
                return known
            used = store.associated_traits(tx)
            return [one for one in known if (one[0] in used) == associated]

        return await self._db.read(work)

    async def show_trait(self, name: str) -> int:
        """When it was made. Raises NotFound."""
        return await self._db.read(lambda tx: store.trait_age(tx, name))

    async def add_trait(self, name: str) -> bool:
        """False when it is there."""
        return await self._db.write(lambda tx: store.add_trait(tx, name))

    async def remove_trait(self, name: str) -> None:
        """Raises NotFound, Invalid (of the standard), Conflict (in use)."""
        if name in TRAITS:
            raise Invalid(f"Cannot delete standard trait {name}.")
        await self._db.write(lambda tx: store.remove_trait(tx, name))
