"""Allocations and their consumers. What a consumer has of a host itself is a claim, and is read from there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, delete, func, insert, literal, select, update

from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Claim
from kilonova.cloud.placement import inventory_store, provider_store
from kilonova.cloud.placement.model import DISK, INSTANCE, MEMORY, VCPU, Allocation, Consumer, Usage
from kilonova.cloud.placement.table import allocation, consumer
from kilonova.core.errors import Conflict
from kilonova.kit.db import Tx, insert_new

SERVER: Final = "server:"
OTHER: Final = "consumer:"
"""How the claim of a consumer that is no server begins."""

_CLAIMED: Final = {VCPU: hosts.claim.c.vcpus, MEMORY: hosts.claim.c.memory_mb, DISK: hosts.claim.c.disk_gb}

Take = tuple[str, str, int]
"""(provider, resource class, amount)."""


def of_consumers(tx: Tx, consumer_ids: Collection[str]) -> list[Allocation]:
    """Everything that these have, hosts included."""
    mine = select(allocation).where(allocation.c.consumer_id.in_(tuple(consumer_ids)))
    claims = hosts.claims_of(tx, [kind + i for kind in (SERVER, OTHER) for i in consumer_ids])
    return [*_read(tx.execute(mine)), *_as_allocations(claims)]


def of_provider(tx: Tx, provider_id: str) -> list[Allocation]:
    """Everything that anybody has of a provider."""
    mine = select(allocation).where(allocation.c.provider_id == provider_id)
    return [*_read(tx.execute(mine)), *_as_allocations(hosts.claims_on(tx, provider_id))]


def is_used(tx: Tx, provider_id: str) -> bool:
    """Whether anybody has something of a provider that is no host."""
    return tx.execute(select(allocation.c.amount).where(allocation.c.provider_id == provider_id)).first() is not None


def consumers(tx: Tx, consumer_ids: Collection[str], *, to_change: bool = False) -> dict[str, Consumer]:
    """Those of these that have a row, by id; `to_change` keeps them from others until the end of `tx`."""
    found = select(consumer).where(consumer.c.id.in_(tuple(consumer_ids))).order_by(consumer.c.id)
    return {r.id: _consumer(r) for r in tx.execute(found.with_for_update() if to_change else found)}


def add_consumer(tx: Tx, new: Consumer) -> bool:
    """Store a consumer; False when it is there."""
    return insert_new(tx, consumer, {**_values(new), "id": new.id, "is_server": new.is_server, "updated_at": tx.now})


def change_consumer(tx: Tx, changed: Consumer) -> None:
    """Whose it is, of what type, and its generation (of a locked one)."""
    tx.execute(update(consumer).where(consumer.c.id == changed.id).values(**_values(changed), updated_at=tx.now))


def remove_consumers(tx: Tx, consumer_ids: Collection[str]) -> None:
    """Forget consumers that have nothing."""
    tx.execute(delete(consumer).where(consumer.c.id.in_(tuple(consumer_ids))))


def clear(tx: Tx, consumer_ids: Collection[str]) -> list[Allocation]:
    """Drop the rows of these consumers and answer them; the inventories are the caller's to count."""
    gone = delete(allocation).where(allocation.c.consumer_id.in_(tuple(consumer_ids)))
    return _read(tx.execute(gone.returning(*allocation.c)))


def add(tx: Tx, new: Sequence[Allocation]) -> None:
    """Store rows whose amounts the inventories have given."""
    if new:
        values = [
            {"consumer_id": a.consumer_id, "provider_id": a.provider_id, "resource_class": a.resource_class,
             "amount": a.amount, "created_at": tx.now}
            for a in new
        ]  # fmt: skip
        tx.execute(insert(allocation), values)


def take(tx: Tx, owner: Consumer, takes: Sequence[Take]) -> bool:
    """Let a server have all of this, or (False) nothing of it. Having it already changes nothing. Raises Conflict when
    somebody else made a consumer of this id."""
    if not add_consumer(tx, owner):
        if not consumers(tx, (owner.id,))[owner.id].is_server:
            raise Conflict(f"Consumer {owner.id} is somebody else's")
        return True
    provider_store.bump(tx, provider_store.lock(tx, sorted({p for p, _, _ in takes})))
    for done, (provider_id, name, amount) in enumerate(sorted(takes)):
        if not inventory_store.take(tx, provider_id, name, amount):
            for other in sorted(takes)[:done]:
                inventory_store.give_back(tx, *other)
            remove_consumers(tx, (owner.id,))
            return False
    add(tx, [Allocation(owner.id, *one) for one in takes])
    return True


def release(tx: Tx, server_id: str) -> None:
    """Give back what a server has beside its claim; a second release does nothing."""
    for one in sorted(clear(tx, (server_id,)), key=_place):
        inventory_store.give_back(tx, one.provider_id, one.resource_class, one.amount)
    remove_consumers(tx, (server_id,))


def usage(tx: Tx, project_id: str, user_id: str | None) -> dict[str | None, Usage]:
    """What a project's (and user's) consumers have beside claims, and how many they are, by their type. Servers are not
    counted: they have a claim, and are counted there."""
    whose = [consumer.c.project_id == project_id]
    if user_id is not None:
        whose.append(consumer.c.user_id == user_id)
    joined = select(consumer.c.type, allocation.c.resource_class, func.sum(allocation.c.amount).label("used"))
    joined = joined.join(allocation, allocation.c.consumer_id == consumer.c.id).where(*whose)
    amounts: dict[str | None, dict[str, int]] = {}
    for row in tx.execute(joined.group_by(consumer.c.type, allocation.c.resource_class)):
        amounts.setdefault(row.type, {})[row.resource_class] = int(row.used)
    counted = select(consumer.c.type, consumer.c.is_server, func.count().label("many")).where(*whose)
    numbers: dict[str | None, int] = {}
    for row in tx.execute(counted.group_by(consumer.c.type, consumer.c.is_server)):
        numbers[row.type] = numbers.get(row.type, 0) + (0 if row.is_server else row.many)
    _count_claims(tx, whose, amounts)
    return {kind: Usage(amounts.get(kind, {}), many) for kind, many in numbers.items()}


def owners_of_rows(tx: Tx) -> list[tuple[str, str, bool]]:
    """(consumer, provider, whether it is a server) of every allocation, for the audit."""
    joined = select(allocation.c.consumer_id, allocation.c.provider_id, consumer.c.is_server)
    rows = tx.execute(joined.outerjoin(consumer, consumer.c.id == allocation.c.consumer_id).distinct())
    return [(r.consumer_id, r.provider_id, bool(r.is_server)) for r in rows]


def consumer_ids(tx: Tx) -> dict[str, bool]:
    """Every consumer with a row, and whether it is a server; for the audit."""
    return {r.id: r.is_server for r in tx.execute(select(consumer.c.id, consumer.c.is_server))}


def _count_claims(tx: Tx, whose: Sequence[ColumnElement[bool]], amounts: dict[str | None, dict[str, int]]) -> None:
    """Add what consumers that are no servers have of hosts."""
    sums = [func.sum(column).label(name) for name, column in _CLAIMED.items()]
    joined = select(consumer.c.type, *sums).join(hosts.claim, hosts.claim.c.consumer == literal(OTHER) + consumer.c.id)
    for row in tx.execute(joined.where(*whose).group_by(consumer.c.type)):
        kind = amounts.setdefault(row.type, {})
        for name in _CLAIMED:
            if used := int(getattr(row, name) or 0):
                kind[name] = kind.get(name, 0) + used


def _as_allocations(claims: Iterable[Claim]) -> list[Allocation]:
    found = []
    for one in claims:
        who = one.consumer.partition(":")[2]
        for name, amount in ((VCPU, one.vcpus), (MEMORY, one.memory_mb), (DISK, one.disk_gb)):
            if amount:
                found.append(Allocation(who, one.host_id, name, amount, one.created_at))
    return found


def _place(one: Allocation) -> tuple[str, str]:
    return one.provider_id, one.resource_class


def _read(rows: Iterable[Row[Any]]) -> list[Allocation]:
    return [Allocation(r.consumer_id, r.provider_id, r.resource_class, r.amount, r.created_at) for r in rows]


def _values(one: Consumer) -> dict[str, Any]:
    return {"project_id": one.project_id, "user_id": one.user_id, "type": one.type, "generation": one.generation}


def _consumer(row: Row[Any]) -> Consumer:
    return Consumer(row.id, row.project_id, row.user_id, row.type, row.generation, row.is_server)


def server_consumer(server_id: str, project_id: str, user_id: str, fence: int) -> Consumer:
    """A server as a consumer: its generation is its fence, which rises when it leaves a host."""
    return Consumer(server_id, project_id, user_id, INSTANCE, fence, is_server=True)
