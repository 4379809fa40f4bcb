"""Providers: their rows, their trees, their generations, what they are like and which aggregates they are in."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Row, Table, delete, insert, select, update

from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Host
from kilonova.cloud.placement.model import Provider
from kilonova.cloud.placement.table import aggregate, inventory, provider, trait
from kilonova.core.errors import Conflict, NotFound
from kilonova.kit.db import Tx, insert_new


def get(tx: Tx, provider_id: str) -> Provider:
    """One provider. Raises NotFound."""
    found = find(tx, (provider_id,))
    if not found:
        raise missing(provider_id)
    return found[0]


def find(tx: Tx, provider_ids: Collection[str]) -> list[Provider]:
    """Those of these that exist, by id."""
    rows = {r.id: r for r in tx.execute(select(provider).where(provider.c.id.in_(tuple(provider_ids))))}
    own = [of_row(r) for r in rows.values() if r.name is not None]
    unknown = [i for i in provider_ids if i not in rows or rows[i].name is None]
    if unknown:
        own += [of_host(host, rows.get(host.id)) for host in hosts.find(tx, unknown)]
    return sorted(own, key=lambda one: one.id)


def lock(tx: Tx, provider_ids: Collection[str]) -> dict[str, Provider]:
    """Those of these that exist, kept from other writers until the end of `tx`; a host gets its row."""
    found = find(tx, provider_ids)
    for one in found:
        if one.is_host:
            insert_new(tx, provider, _row(one, name=None))
    ids = tuple(one.id for one in found)
    held = tx.execute(select(provider).where(provider.c.id.in_(ids)).order_by(provider.c.id).with_for_update())
    rows = {r.id: r for r in held}
    return {one.id: _renewed(one, rows[one.id]) for one in found if one.id in rows}


def lock_one(tx: Tx, provider_id: str, generation: int | None = None) -> Provider:
    """One provider, locked; still of `generation` where one is given. Raises NotFound, Conflict."""
    held = lock(tx, (provider_id,)).get(provider_id)
    if held is None:
        raise missing(provider_id)
    if generation is not None and held.generation != generation:
        raise Conflict(
            f"resource provider generation conflict - actual: {held.generation}, given: {generation}. "
            "Resource provider's generation already changed. Please update the generation and try again.",
            why="concurrent_update",
        )
    return held


def bump(tx: Tx, provider_ids: Iterable[str]) -> None:
    """These (locked ones) have changed: raise their generations."""
    ids = tuple(provider_ids)
    if ids:
        risen = {"generation": provider.c.generation + 1, "updated_at": tx.now}
        tx.execute(update(provider).where(provider.c.id.in_(ids)).values(**risen))


def add(tx: Tx, new: Provider) -> None:
    """Store a new one. Raises Conflict when its id or name is taken."""
    taken = hosts.named(tx, new.name) or hosts.find(tx, (new.id,))
    if not taken and insert_new(tx, provider, _row(new, name=new.name)):
        return
    same_id = find(tx, (new.id,))
    what = f"uuid: {new.id}" if same_id else f"name: {new.name}"
    raise Conflict(f"Conflicting resource provider {what} already exists.", why="duplicate_name")


def rename(tx: Tx, provider_id: str, name: str) -> None:
    """Give a (locked) provider another name. Raises Conflict when it is taken."""
    same = select(provider.c.id).where(provider.c.name == name, provider.c.id != provider_id)
    if hosts.named(tx, name) or tx.execute(same).first() is not None:
        raise Conflict(f"Conflicting resource provider {name} already exists.", why="duplicate_name")
    tx.execute(update(provider).where(provider.c.id == provider_id).values(name=name, updated_at=tx.now))


def move(tx: Tx, provider_id: str, parent_id: str | None, root_id: str) -> None:
    """Hang a provider with all below it into another tree."""
    below = subtree(tx, provider_id)
    tx.execute(update(provider).where(provider.c.id.in_(below)).values(root_id=root_id, updated_at=tx.now))
    tx.execute(update(provider).where(provider.c.id == provider_id).values(parent_id=parent_id))


def subtree(tx: Tx, provider_id: str) -> list[str]:
    """A provider and all below it."""
    mine = select(provider.c.root_id).where(provider.c.id == provider_id).scalar_subquery()
    rows = tx.execute(select(provider.c.id, provider.c.parent_id).where(provider.c.root_id == mine)).all()
    found = {provider_id}
    while more := {r.id for r in rows if r.parent_id in found} - found:
        found |= more
    return sorted(found)


def has_children(tx: Tx, provider_id: str) -> bool:
    """Whether another provider hangs below it."""
    return tx.execute(select(provider.c.id).where(provider.c.parent_id == provider_id).limit(1)).first() is not None


def remove(tx: Tx, provider_id: str) -> None:
    """Forget a provider that nobody uses, with its traits and aggregates."""
    for table in (trait, aggregate, inventory):
        tx.execute(delete(table).where(table.c.provider_id == provider_id))
    tx.execute(delete(provider).where(provider.c.id == provider_id))


def everything(tx: Tx, known: Iterable[Host]) -> list[Provider]:
    """Every provider: those that were put here and the hosts."""
    found = {r.id: r for r in tx.execute(select(provider))}
    own = [of_row(r) for r in found.values() if r.name is not None]
    return [of_host(host, found.get(host.id)) for host in known] + own


def links(tx: Tx) -> list[tuple[str, str]]:
    """(provider, what must exist for it) of every row: its parent; of what others say about a host, the host. A root
    that was put here needs nothing and is its own row, told with an empty one. For the audit."""
    rows = tx.execute(select(provider.c.id, provider.c.name, provider.c.parent_id))
    return [(r.id, r.parent_id or (r.id if r.name is None else "")) for r in rows]


def traits(tx: Tx, provider_id: str) -> list[str]:
    """The traits of a provider, by name."""
    mine = select(trait.c.trait).where(trait.c.provider_id == provider_id).order_by(trait.c.trait)
    return [r.trait for r in tx.execute(mine)]


def set_traits(tx: Tx, provider_id: str, names: Collection[str]) -> None:
    """Give a (locked) provider these traits and no others."""
    _replace(tx, trait, provider_id, "trait", names)


def aggregates(tx: Tx, provider_id: str) -> list[str]:
    """The aggregates that a provider is in."""
    mine = select(aggregate.c.aggregate_id).where(aggregate.c.provider_id == provider_id)
    return [r.aggregate_id for r in tx.execute(mine.order_by(aggregate.c.aggregate_id))]


def set_aggregates(tx: Tx, provider_id: str, aggregate_ids: Collection[str]) -> None:
    """Put a (locked) provider into these aggregates and no others."""
    _replace(tx, aggregate, provider_id, "aggregate_id", aggregate_ids)


def missing(provider_id: str) -> NotFound:
    """What is said of a provider that does not exist."""
    return NotFound(f"No resource provider with uuid {provider_id[:64]} found")


def of_row(row: Row[Any]) -> Provider:
    """A provider that was put here."""
    return Provider(row.id, row.name, row.parent_id, row.root_id, row.generation, False, row.created_at, row.updated_at)


def of_host(host: Host, row: Row[Any] | None) -> Provider:
    """A host as a provider; `row` is what others have said about it."""
    generation, changed = (0, host.created_at) if row is None else (row.generation, row.updated_at)
    return Provider(host.id, host.name, None, host.id, generation, True, host.created_at, changed)


def _renewed(one: Provider, row: Row[Any]) -> Provider:
    return Provider(
        one.id, one.name, row.parent_id, row.root_id, row.generation, one.is_host, one.created_at, row.updated_at
    )


def _row(one: Provider, *, name: str | None) -> dict[str, Any]:
    return {
        "id": one.id, "name": name, "parent_id": one.parent_id, "root_id": one.root_id,
        "generation": one.generation, "created_at": one.created_at, "updated_at": one.updated_at,
    }  # fmt: skip


def _replace(tx: Tx, table: Table, provider_id: str, column: str, values: Collection[str]) -> None:
    tx.execute(delete(table).where(table.c.provider_id == provider_id))
    if values:
        tx.execute(insert(table), [{"provider_id": provider_id, column: value} for value in sorted(set(values))])
