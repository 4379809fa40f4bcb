"""The names of resource classes and traits that people made themselves; those of the standard are not stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sqlalchemy import Table, delete, select, update

from kilonova.cloud.placement.standard import RESOURCE_CLASSES, TRAITS
from kilonova.cloud.placement.table import allocation, custom_class, custom_trait, inventory, trait
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Tx, insert_new

ASKED: Final = "Invalid resource class in resources parameter: "


def classes(tx: Tx) -> list[tuple[str, int]]:
    """Every resource class and when it was made or renamed (0: it is of the standard)."""
    return [(name, 0) for name in RESOURCE_CLASSES] + _own(tx, custom_class)


def traits(tx: Tx) -> list[tuple[str, int]]:
    """Every trait and when it was made (0: it is of the standard)."""
    return [(name, 0) for name in TRAITS] + _own(tx, custom_trait)


def class_age(tx: Tx, name: str, *, to_change: bool = False) -> int:
    """When a resource class was made or renamed (0: it is of the standard). Raises NotFound."""
    return _age(tx, custom_class, RESOURCE_CLASSES, name, "resource class", to_change=to_change)


def trait_age(tx: Tx, name: str, *, to_change: bool = False) -> int:
    """When a trait was made (0: it is of the standard). Raises NotFound."""
    return _age(tx, custom_trait, TRAITS, name, "trait(s):", to_change=to_change)


def add_class(tx: Tx, name: str) -> bool:
    """Make a resource class; False when it is there."""
    return insert_new(tx, custom_class, {"name": name, "updated_at": tx.now})


def add_trait(tx: Tx, name: str) -> bool:
    """Make a trait; False when it is there."""
    return insert_new(tx, custom_trait, {"name": name, "updated_at": tx.now})


def check_classes(tx: Tx, names: Iterable[str], where: str = "", *, keep: bool = False) -> None:
    """Raises Invalid (beginning with `where`) when one of these is no resource class. `keep`: they stay until the end
    of `tx`."""
    if unknown := sorted(set(names) - set(RESOURCE_CLASSES) - _known(tx, custom_class, names, keep=keep)):
        raise Invalid(f"{where}No such resource class {', '.join(unknown)[:255]}.")


def unknown_traits(tx: Tx, names: Collection[str], *, keep: bool = False) -> list[str]:
    """Those of these that are no traits. `keep`: the others stay until the end of `tx`."""
    return sorted(set(names) - set(TRAITS) - _known(tx, custom_trait, names, keep=keep))


def associated_traits(tx: Tx) -> set[str]:
    """The traits that some provider has."""
    return {r.trait for r in tx.execute(select(trait.c.trait).distinct())}


def rename_class(tx: Tx, name: str, new: str) -> None:
    """Raises NotFound, Conflict (the new name is taken)."""
    class_age(tx, name, to_change=True)
    if new != name and _known(tx, custom_class, (new,)):
        raise Conflict(f"Resource class already exists: {new}")
    tx.execute(update(custom_class).where(custom_class.c.name == name).values(name=new, updated_at=tx.now))
    for table in (inventory, allocation):
        tx.execute(update(table).where(table.c.resource_class == name).values(resource_class=new))


def remove_class(tx: Tx, name: str) -> None:
    """Raises NotFound, Conflict (some provider has an inventory of it)."""
    class_age(tx, name, to_change=True)
    if tx.execute(select(inventory.c.provider_id).where(inventory.c.resource_class == name).limit(1)).first():
        raise Conflict(
            f"Error in delete resource class: Cannot delete resource class {name}. Class is in use in inventory."
        )
    tx.execute(delete(custom_class).where(custom_class.c.name == name))


def remove_trait(tx: Tx, name: str) -> None:
    """Raises NotFound, Conflict (some provider has it)."""
    trait_age(tx, name, to_change=True)
    if tx.execute(select(trait.c.provider_id).where(trait.c.trait == name).limit(1)).first():
        raise Conflict(f"The trait {name} is in use by a resource provider.")
    tx.execute(delete(custom_trait).where(custom_trait.c.name == name))


def _own(tx: Tx, table: Table) -> list[tuple[str, int]]:
    return [(r.name, r.updated_at) for r in tx.execute(select(table).order_by(table.c.name))]


def _age(tx: Tx, table: Table, standard: Collection[str], name: str, noun: str, *, to_change: bool = False) -> int:
    if name in standard:
        return 0
    statement = select(table).where(table.c.name == name)
    row = tx.execute(statement.with_for_update() if to_change else statement).one_or_none()
    if row is None:
        raise NotFound(f"No such {noun} {name[:255]}.")
    return int(row.updated_at)


def _known(tx: Tx, table: Table, names: Iterable[str], *, keep: bool = False) -> set[str]:
    statement = select(table.c.name).where(table.c.name.in_(tuple(names)))
    return {r.name for r in tx.execute(statement.with_for_update(read=True) if keep else statement)}
