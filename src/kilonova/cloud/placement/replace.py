"""Replacing what consumers have, exactly: functions in a transaction, over the stores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace as changed
from typing import Final

from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Demand
from kilonova.cloud.placement import allocation_store as store
from kilonova.cloud.placement import inventory_store, provider_store, vocabulary_store
from kilonova.cloud.placement.inventory_store import Key
from kilonova.cloud.placement.model import (
    DISK,
    HOST_CLASSES,
    MEMORY,
    VCPU,
    Allocation,
    Consumer,
    Provider,
    Servers,
    Wanted,
)
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Tx

_SERVER: Final = "The allocations of a server of this cloud follow the server; they cannot be written."


def replace(tx: Tx, wanted: Mapping[str, Wanted], servers: Servers) -> None:
    """Give each consumer what it shall have instead of what it has: all of it or nothing. One that has nothing then is
    forgotten.

    Raises Conflict (a generation moved on, it does not fit, it is a server's), Invalid (no such provider or class).
    """
    ids = sorted(wanted)
    held = _meet(tx, wanted, servers)
    old = store.of_consumers(tx, ids)
    new = [
        Allocation(who, provider_id, name, amount)
        for who, one in wanted.items()
        for provider_id, amounts in one.amounts.items()
        for name, amount in amounts.items()
    ]
    providers = provider_store.lock(tx, sorted({a.provider_id for a in (*old, *new)}))
    for one in new:
        if one.provider_id not in providers:
            raise Invalid(f"Allocation for resource provider '{one.provider_id}' that does not exist.")
    vocabulary_store.check_classes(
        tx, {a.resource_class for a in new}, "Unable to allocate inventory for consumer: ", keep=True
    )
    _claim(tx, ids, *(_on_hosts(some, providers) for some in (old, new)))
    _count(tx, ids, [a for a in new if not _is_host_class(a, providers)])
    provider_store.bump(tx, sorted(providers))
    _settle(tx, held, {a.consumer_id for a in new})


def remove(tx: Tx, consumer_id: str, servers: Servers) -> None:
    """Take everything from a consumer. Raises NotFound (it has nothing), Conflict (it is a server)."""
    # Locked before it is read: another writer may be moving it to other hosts.
    store.consumers(tx, (consumer_id,), to_change=True)
    old = store.of_consumers(tx, (consumer_id,))
    if not old:
        raise NotFound(f"No allocations for consumer '{consumer_id[:64]}'")
    _refuse_servers(tx, (consumer_id,), servers)
    providers = provider_store.lock(tx, sorted({a.provider_id for a in old}))
    _claim(tx, (consumer_id,), _on_hosts(old, providers), {})
    _count(tx, (consumer_id,), [])
    store.remove_consumers(tx, (consumer_id,))


def _meet(tx: Tx, wanted: Mapping[str, Wanted], servers: Servers) -> list[Consumer]:
    """The consumers as they shall be, locked, each of the generation that its writer knows."""
    _refuse_servers(tx, wanted, servers)
    held = store.consumers(tx, wanted, to_change=True)
    met = []
    for who, one in sorted(wanted.items()):
        known = held.get(who)
        if one.guarded and one.generation != (known.generation if known else None):
            expected = "null" if known is None else known.generation
            got = "null" if one.generation is None else one.generation
            raise Conflict(f"consumer generation conflict - expected {expected} but got {got}", why="concurrent_update")
        if known is None:
            known = Consumer(who, one.project_id, one.user_id, one.type, 0)
            if not store.add_consumer(tx, known):
                raise Conflict("consumer generation conflict - another writer was faster", why="concurrent_update")
        met.append(changed(known, project_id=one.project_id, user_id=one.user_id, type=one.type or known.type))
    return met


def _refuse_servers(tx: Tx, consumer_ids: Iterable[str], servers: Servers) -> None:
    ids = tuple(consumer_ids)
    if servers.owners(tx, ids) or any(c.is_server for c in store.consumers(tx, ids).values()):
        raise Conflict(_SERVER)


def _settle(tx: Tx, held: Sequence[Consumer], having: Collection[str]) -> None:
    """Consumers that have something are a generation further, the others are gone."""
    store.remove_consumers(tx, [one.id for one in held if one.id not in having])
    for one in held:
        if one.id in having:
            store.change_consumer(tx, changed(one, generation=one.generation + 1))


def _count(tx: Tx, consumer_ids: Collection[str], new: Sequence[Allocation]) -> None:
    """Move rows and counters from what the consumers have to `new`. What does not grow is allowed even where a provider
    gave out too much before."""
    delta: dict[Key, int] = {}
    for one in store.clear(tx, consumer_ids):
        delta[_key(one)] = delta.get(_key(one), 0) - one.amount
    stocks = inventory_store.lock(tx, [_key(one) for one in new])
    for one in new:
        stock = stocks.get(_key(one))
        if stock is None:
            raise _refusal(one, "Inventory for", "invalid.")
        if not stock.inventory.takes(one.amount):
            raise _refusal(one, "Unable to create allocation for", _SIZES)
        delta[_key(one)] = delta.get(_key(one), 0) + one.amount
    by_key = {_key(one): one for one in new}
    for key, more in sorted(delta.items()):
        if more < 0:
            inventory_store.give_back(tx, *key, -more)
        elif more and not inventory_store.grow(tx, *key, more):
            raise _refusal(by_key[key], "Unable to create allocation for", _TOO_MUCH)
    store.add(tx, new)


_SIZES: Final = "invalid. The requested amount would violate inventory constraints: min_unit, max_unit or step_size."
_TOO_MUCH: Final = "invalid. The requested amount would exceed the capacity."


def _refusal(one: Allocation, what: str, reason: str) -> Conflict:
    return Conflict(
        f"Unable to allocate inventory: {what} '{one.resource_class}' on resource provider '{one.provider_id}' {reason}"
    )


def _claim(
    tx: Tx, consumer_ids: Collection[str], old: Mapping[Key, list[Allocation]], new: Mapping[Key, list[Allocation]]
) -> None:
    """Move claims on hosts from `old` to `new`, both by (host, consumer)."""
    for host_id, who in sorted({*old, *new}):
        before, after = _demand(old.get((host_id, who), ())), _demand(new.get((host_id, who), ()))
        if before == after:
            continue
        if before is not None:
            hosts.release(tx, store.OTHER + who, host_id)
        if after is None:
            continue
        one, host = new[host_id, who][0], hosts.get(tx, host_id)
        room = (host.vcpus_capacity, host.memory_capacity, host.disk_capacity)
        asked = (after.vcpus, after.memory_mb, after.disk_gb)
        # Compared here first: what is beyond a column's range must not reach it.
        fits = all(amount <= most for amount, most in zip(asked, room, strict=True))
        if not fits or not hosts.take_claim(tx, host_id, store.OTHER + who, after):
            raise _refusal(one, "Unable to create allocation for", _TOO_MUCH)


def _demand(some: Sequence[Allocation]) -> Demand | None:
    if not some:
        return None
    amounts = {a.resource_class: a.amount for a in some}
    return Demand(amounts.get(VCPU, 0), amounts.get(MEMORY, 0), amounts.get(DISK, 0))


def _on_hosts(some: Iterable[Allocation], providers: Mapping[str, Provider]) -> dict[Key, list[Allocation]]:
    found: dict[Key, list[Allocation]] = {}
    for one in some:
        if _is_host_class(one, providers):
            found.setdefault((one.provider_id, one.consumer_id), []).append(one)
    return found


def _is_host_class(one: Allocation, providers: Mapping[str, Provider]) -> bool:
    return one.resource_class in HOST_CLASSES and providers[one.provider_id].is_host


def _key(one: Allocation) -> Key:
    return one.provider_id, one.resource_class
