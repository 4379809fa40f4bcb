"""Inventories: what providers have of each resource class, and how much of it is used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, func, insert, select, tuple_, update

from kilonova.cloud.host.model import Host
from kilonova.cloud.placement.model import DISK, MEMORY, VCPU, Inventory, Stock
from kilonova.cloud.placement.standard import RESOURCE_CLASSES
from kilonova.cloud.placement.table import allocation, inventory
from kilonova.core.errors import Conflict
from kilonova.kit.db import Tx

Key = tuple[str, str]
"""(provider, resource class)."""

_MINE: Final = (
    inventory.c.provider_id == bindparam("which"),
    inventory.c.resource_class == bindparam("kind"),
)
_TAKE: Final = (
    update(inventory)
    .where(*_MINE, inventory.c.used + bindparam("more") <= inventory.c.capacity)
    .where(inventory.c.min_unit <= bindparam("more"), inventory.c.max_unit >= bindparam("more"))
    .where(bindparam("more") % inventory.c.step_size == 0)
    .values(used=inventory.c.used + bindparam("more"))
)
_GROW: Final = (
    update(inventory)
    .where(*_MINE, inventory.c.used + bindparam("more") <= inventory.c.capacity)
    .values(used=inventory.c.used + bindparam("more"))
)
_SHRINK: Final = update(inventory).where(*_MINE).values(used=inventory.c.used - bindparam("less"))


def of_provider(tx: Tx, provider_id: str) -> dict[str, Stock]:
    """What was put here of a provider's inventories, by resource class; those of a host itself are in `of_host`."""
    mine = select(inventory).where(inventory.c.provider_id == provider_id).order_by(inventory.c.resource_class)
    return {r.resource_class: of_row(r) for r in tx.execute(mine)}


def everything(tx: Tx) -> Iterable[Row[Any]]:
    """Every row, as it lies there: `of_row` makes a stock of it."""
    return tx.execute(select(inventory))


def of_host(host: Host) -> dict[str, Stock]:
    """What a host has for servers, as inventories. Its capacity is the host's own figure, not one computed from the
    ratio, which is shown to six digits."""
    figures = {
        VCPU: (host.vcpus_total, host.vcpus_capacity, host.vcpus_used),
        MEMORY: (host.memory_total, host.memory_capacity, host.memory_used),
        DISK: (host.disk_total, host.disk_capacity, host.disk_used),
    }
    return {
        name: Stock(
            Inventory(total, 0, 1, max(capacity, 1), 1, round(capacity / total, 6)), capacity, used, host.updated_at
        )
        for name, (total, capacity, used) in figures.items()
        if total > 0
    }


def of_row(row: Row[Any]) -> Stock:
    """A whole row, whose columns stand in this order, as a stock."""
    _, _, *told, capacity, used, updated_at = tuple(row)
    return Stock(Inventory(*told), capacity, used, updated_at)


def lock(tx: Tx, keys: Collection[Key]) -> dict[Key, Stock]:
    """The stocks of these (their providers are locked), kept from others until the end of `tx`."""
    if not keys:
        return {}
    wanted = tuple_(inventory.c.provider_id, inventory.c.resource_class).in_(sorted(set(keys)))
    held = select(inventory).where(wanted).order_by(inventory.c.provider_id, inventory.c.resource_class)
    return {(r.provider_id, r.resource_class): of_row(r) for r in tx.execute(held.with_for_update())}


def put(tx: Tx, provider_id: str, wanted: Mapping[str, Inventory]) -> None:
    """Give a (locked) provider these inventories, new or changed; what is used of them stays so."""
    held = of_provider(tx, provider_id)
    fresh = []
    for name, one in sorted(wanted.items()):
        values = {**asdict(one), "capacity": one.capacity, "updated_at": tx.now}
        if name in held:
            mine = (inventory.c.provider_id == provider_id, inventory.c.resource_class == name)
            tx.execute(update(inventory).where(*mine).values(**values))
        else:
            fresh.append({"provider_id": provider_id, "resource_class": name, "used": 0, **values})
    if fresh:
        tx.execute(insert(inventory), fresh)


def remove(tx: Tx, provider_id: str, names: Collection[str]) -> None:
    """Take inventories from a provider. Raises Conflict when some of one is used."""
    mine = (inventory.c.provider_id == provider_id, inventory.c.resource_class.in_(tuple(names)))
    tx.execute(delete(inventory).where(*mine, inventory.c.used == 0))
    used = [r.resource_class for r in tx.execute(select(inventory.c.resource_class).where(*mine))]
    left = [name for name in RESOURCE_CLASSES if name in used] + sorted(set(used) - set(RESOURCE_CLASSES))
    if left:
        raise Conflict(
            f"update conflict: Inventory for '{', '.join(left)}' on resource provider '{provider_id}' in use.",
            why="inventory_in_use",
        )


def take(tx: Tx, provider_id: str, resource_class: str, amount: int) -> bool:
    """Use `amount` more; False when it is not there, no size that is given out, or too much. Never oversells, however
    many take at once."""
    return tx.execute(_TAKE, {"which": provider_id, "kind": resource_class, "more": amount}).rowcount == 1


def grow(tx: Tx, provider_id: str, resource_class: str, more: int) -> bool:
    """Use `more` in all, by several consumers whose sizes were checked; False when it is too much."""
    return tx.execute(_GROW, {"which": provider_id, "kind": resource_class, "more": more}).rowcount == 1


def give_back(tx: Tx, provider_id: str, resource_class: str, amount: int) -> None:
    """Use `amount` less."""
    tx.execute(_SHRINK, {"which": provider_id, "kind": resource_class, "less": amount})


def miscounted(tx: Tx) -> list[Key]:
    """Inventories whose use differs from the sum of their allocations. Always empty; the audit proves it."""
    both = (allocation.c.provider_id, allocation.c.resource_class)
    total = select(*both, func.sum(allocation.c.amount).label("used")).group_by(*both).subquery()
    same = (total.c.provider_id == inventory.c.provider_id) & (total.c.resource_class == inventory.c.resource_class)
    off = (
        select(inventory.c.provider_id, inventory.c.resource_class)
        .outerjoin(total, same)
        .where(inventory.c.used != func.coalesce(total.c.used, 0))
    )
    return [(r.provider_id, r.resource_class) for r in tx.execute(off)]
