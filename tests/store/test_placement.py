"""Placement: however many write at once, no provider gives out more than it has, and its counters are its rows."""

from __future__ import annotations

import asyncio
import random

import pytest
from sqlalchemy import select

from kilonova.cloud.audit.rows import check, collect
from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Ratio
from kilonova.cloud.placement import allocation_store, inventory_store, landscape_store, provider_store
from kilonova.cloud.placement import replace as replacing
from kilonova.cloud.placement.model import Allocation, Consumer, Inventory, Wanted
from kilonova.cloud.placement.provider_service import Sieve
from kilonova.cloud.placement.service import PlacementServices
from kilonova.cloud.placement.table import inventory
from kilonova.cloud.server import consumer_store
from kilonova.core.errors import Conflict
from kilonova.core.ids import new_uuid
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx, open_database
from kilonova.wire.node import Hello
from kilonova.wire.node import Inventory as HostInventory

KIND = "CUSTOM_GPU"
WRITERS = 12


@pytest.fixture
def services(database: Database) -> PlacementServices:
    return PlacementServices(database, consumer_store)


async def provider(services: PlacementServices, name: str, total: int) -> str:
    await services.vocabulary.add_class(KIND)
    one = await services.providers.create(name, None, None)
    await services.inventories.add(one.id, KIND, Inventory(total, max_unit=4))
    return one.id


async def greet(database: Database, name: str, vcpus: int = 8) -> str:
    has = HostInventory(vcpus=vcpus, memory_mb=1000, disk_gb=10)
    own = new_uuid()
    hello = Hello(protocol=1, host_id=own, name=name, boot_id="b", incarnation="i", inventory=has)
    await database.write(lambda tx: hosts.greet(tx, hello, Ratio(vcpus=2.0), "nova"))
    return own


def used(tx: Tx) -> dict[str, tuple[int, int]]:
    return {r.provider_id: (r.used, r.capacity) for r in tx.execute(select(inventory))}


@pytest.mark.parametrize("seed", range(3))
async def test_parallel_writers_never_oversell(database: Database, services: PlacementServices, seed: int) -> None:
    """Consumers that grow, shrink, move and go, servers that boot and are deleted: all at once, on few providers."""
    own = [await provider(services, f"p{n}", total) for n, total in enumerate((5, 9))]
    host = await greet(database, "host1")
    chance = random.Random(seed)
    refused = 0

    async def outsider(who: str) -> None:
        nonlocal refused
        for _ in range(6):
            amounts = {one: {KIND: chance.randint(1, 4)} for one in own if chance.random() < 0.7}
            if chance.random() < 0.5:
                amounts[host] = {"VCPU": chance.randint(1, 6)}
            try:
                await services.allocations.replace({who: Wanted(amounts)})
            except Conflict:
                refused += 1

    async def server(who: str) -> None:
        nonlocal refused
        consumer = Consumer(who, "p", "u", "INSTANCE", 0, is_server=True)
        for _ in range(6):
            takes = [(one, KIND, chance.randint(1, 3)) for one in own]
            took = await database.write(lambda tx, takes=takes: allocation_store.take(tx, consumer, takes))  # type: ignore[misc]
            refused += not took
            await database.write(lambda tx: allocation_store.release(tx, who))

    work = [outsider(new_uuid()) for _ in range(WRITERS)] + [server(new_uuid()) for _ in range(WRITERS)]
    await asyncio.gather(*work)
    counted = await database.read(used)
    assert set(counted) == set(own)
    assert all(0 <= some <= most for some, most in counted.values())
    assert await database.read(inventory_store.miscounted) == []
    assert await database.read(hosts.miscounted) == []
    alive = await database.read(lambda tx: hosts.get(tx, host))
    assert alive.vcpus_used <= alive.vcpus_capacity == 16
    assert refused > 0, "nothing was ever scarce: the test proves nothing"


async def test_one_generation_is_used_once(services: PlacementServices) -> None:
    own = await provider(services, "p", 100)
    who = new_uuid()
    await services.allocations.replace({who: Wanted({own: {KIND: 1}}, guarded=True)})
    wanted = {who: Wanted({own: {KIND: 2}}, generation=1, guarded=True)}
    ends = await asyncio.gather(*(services.allocations.replace(wanted) for _ in range(8)), return_exceptions=True)
    assert sum(end is None for end in ends) == 1
    assert {end.facts["why"] for end in ends if isinstance(end, Conflict)} == {"concurrent_update"}
    put = services.inventories.put_all(own, {KIND: Inventory(7)}, 3)
    again = services.inventories.put_all(own, {KIND: Inventory(8)}, 3)
    ends = await asyncio.gather(put, again, return_exceptions=True)
    assert sum(isinstance(end, Conflict) for end in ends) == 1


async def test_an_inventory_is_not_taken_away_under_its_users(database: Database, services: PlacementServices) -> None:
    own = await provider(services, "p", 4)
    consumers = {new_uuid(): Wanted({own: {KIND: 1}}) for _ in range(4)}
    takers = (services.allocations.replace({who: one}) for who, one in consumers.items())
    ends = await asyncio.gather(services.inventories.remove(own, KIND), *takers, return_exceptions=True)
    taken = sum(end is None for end in ends[1:])
    stocks = (await services.inventories.show(own)).stocks
    assert (ends[0] is None) == (taken == 0)
    assert taken == (stocks[KIND].used if stocks else 0)
    assert await database.read(inventory_store.miscounted) == []


@pytest.mark.postgresql
async def test_a_removal_takes_what_there_is_by_then(postgresql_url: str) -> None:
    """Another writer moves the consumer to another host while the removal waits for it."""
    database = await open_database(postgresql_url, SystemClock())
    services = PlacementServices(database, consumer_store)
    one, two, who = await greet(database, "host1"), await greet(database, "host2"), new_uuid()
    there = {host: {who: Wanted({host: {"VCPU": 1}}, "p", "u", None, None, guarded=False)} for host in (one, two)}
    await services.allocations.replace(there[one])
    moved = asyncio.Event()

    def move(tx: Tx) -> None:
        replacing.replace(tx, there[two], consumer_store)
        moved.set()
        tx.connection.exec_driver_sql("SELECT pg_sleep(0.2)")  # keeps the consumer locked

    async def remove() -> None:
        await moved.wait()
        await services.allocations.remove(who)

    await asyncio.gather(database.write(move), remove())
    assert await database.read(lambda tx: [len(hosts.claims_on(tx, host)) for host in (one, two)]) == [0, 0]
    await database.close()


async def test_what_is_too_much_may_shrink(services: PlacementServices) -> None:
    own, who = await provider(services, "p", 4), new_uuid()
    await services.allocations.replace({who: Wanted({own: {KIND: 4}})})
    held = await services.inventories.show(own)
    await services.inventories.put(own, KIND, Inventory(1, max_unit=4), held.provider.generation)
    await services.allocations.replace({who: Wanted({own: {KIND: 3}})})
    with pytest.raises(Conflict, match="exceed the capacity"):
        await services.allocations.replace({who: Wanted({own: {KIND: 4}})})


async def test_a_server_takes_all_or_nothing(database: Database, services: PlacementServices) -> None:
    rich, poor = await provider(services, "rich", 9), await provider(services, "poor", 1)
    consumer = Consumer(new_uuid(), "p", "u", "INSTANCE", 0, is_server=True)
    take = lambda *takes: database.write(lambda tx: allocation_store.take(tx, consumer, takes))  # noqa: E731
    assert not await take((rich, KIND, 2), (poor, KIND, 2))
    assert await database.read(used) == {rich: (0, 9), poor: (0, 1)}
    assert await database.read(allocation_store.consumer_ids) == {}
    for _ in range(2):
        assert await take((rich, KIND, 2), (poor, KIND, 1))
    assert await database.read(used) == {rich: (2, 9), poor: (1, 1)}
    with pytest.raises(Conflict, match="server"):
        await services.allocations.remove(consumer.id)
    for _ in range(2):
        await database.write(lambda tx: allocation_store.release(tx, consumer.id))
    assert await database.read(used) == {rich: (0, 9), poor: (0, 1)}


async def test_names_in_use_stay(services: PlacementServices) -> None:
    own = await provider(services, "p", 1)
    await services.vocabulary.add_trait("CUSTOM_A")
    await services.providers.set_traits(own, ["CUSTOM_A"], None)
    for removal in (services.vocabulary.remove_class(KIND), services.vocabulary.remove_trait("CUSTOM_A")):
        with pytest.raises(Conflict):
            await removal
    await services.vocabulary.rename_class(KIND, "CUSTOM_CARD")
    assert set((await services.inventories.show(own)).stocks) == {"CUSTOM_CARD"}
    await services.providers.delete(own)
    await services.vocabulary.remove_class("CUSTOM_CARD")
    await services.vocabulary.remove_trait("CUSTOM_A")


async def test_everything_is_read_at_once(database: Database, services: PlacementServices) -> None:
    host = await greet(database, "host1")
    child = await services.providers.create("child", None, host)
    await services.vocabulary.add_trait("CUSTOM_A")
    await services.providers.set_traits(host, ["CUSTOM_A", "HW_CPU_X86_AVX"], 0)
    await services.providers.set_aggregates(child.id, [new_uuid()], None, noticed=True)
    await database.write(lambda tx: hosts.set_enabled(tx, host, False))
    land = await database.read(landscape_store.load)
    assert land.places[host].traits == {"CUSTOM_A", "HW_CPU_X86_AVX", "COMPUTE_STATUS_DISABLED"}
    assert {name: stock.capacity for name, stock in land.places[host].stocks.items()} == {
        "VCPU": 16, "MEMORY_MB": 1000, "DISK_GB": 10,
    }  # fmt: skip
    assert [p.id for p in land.trees[host]] == [host, child.id]
    assert len(land.places[child.id].aggregates) == 1
    listed = await services.providers.list(Sieve(required=(frozenset({"CUSTOM_A"}),), resources={"VCPU": 16}))
    assert [one.id for one in listed] == [host]
    assert (await services.providers.traits(host))[1] == sorted(land.places[host].traits)


async def test_the_audit_names_what_belongs_to_nobody(database: Database, services: PlacementServices) -> None:
    own, host = await provider(services, "p", 4), await greet(database, "host1")
    await services.allocations.replace({new_uuid(): Wanted({own: {KIND: 1}, host: {"VCPU": 2}})})
    look = lambda: database.read(lambda tx: list(check(collect(tx, ()))))  # noqa: E731
    assert await look() == []
    gone, nowhere, unknown = new_uuid(), new_uuid(), new_uuid()
    server = Consumer(gone, "p", "u", "INSTANCE", 0, is_server=True)
    await database.write(lambda tx: allocation_store.take(tx, server, [(own, KIND, 1)]))
    lost = [Allocation(unknown, own, KIND, 1), Allocation(gone, nowhere, KIND, 1)]
    await database.write(lambda tx: allocation_store.add(tx, lost))
    child = await services.providers.create("child", None, own)
    await database.write(lambda tx: provider_store.move(tx, child.id, nowhere, nowhere))
    assert {(one.kind, one.id, one.problem) for one in await look()} == {
        ("allocation", gone, "its server does not exist"),
        ("allocation", gone, f"its provider {nowhere} does not exist"),
        ("allocation", unknown, "its consumer does not exist"),
        ("inventory", own, f"the use of {KIND} is not the sum of its allocations"),
        ("provider", child.id, f"its parent {nowhere} does not exist"),
    }
