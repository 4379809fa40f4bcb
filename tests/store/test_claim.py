"""Claims: however many place servers at once, no host gives out more than it has, and nothing is left over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Demand, Host, Ratio
from kilonova.cloud.server.model import FlavorCopy
from kilonova.cloud.server.placement import Placement, request_for
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx, open_database
from kilonova.wire.node import Hello, Inventory

CLAIMERS = 16
FIELDS = ("vcpus", "memory", "disk")

Sizes = tuple[int, int, int]
sizes = st.tuples(st.integers(1, 8), st.integers(1, 4096), st.integers(0, 40))
rooms = st.tuples(st.integers(1, 24), st.integers(512, 16384), st.integers(1, 120))


def greet(tx: Tx, number: int, room: Sizes) -> Host:
    inventory = Inventory(vcpus=room[0], memory_mb=room[1], disk_gb=room[2], memory_overhead_mb=number)
    hello = Hello(
        protocol=1, host_id=f"host{number}", name=f"host{number}", boot_id="b", incarnation="i", inventory=inventory
    )
    return hosts.greet(tx, hello, Ratio(vcpus=1.0), "nova")


async def place(database: Database, placement: Placement, consumer: str, size: Sizes) -> str | None:
    """As the flow does it: choose among all hosts, claim the first of the best with room, else choose again."""
    flavor = FlavorCopy(id="1", name="f", vcpus=size[0], memory_mb=size[1], root_gb=size[2])
    request = request_for(flavor, zone=None, host=None, exclude=frozenset())

    def claim(tx: Tx, chosen: tuple[str, ...]) -> str | None:
        for host_id in chosen:
            overhead = hosts.get(tx, host_id).memory_overhead
            if hosts.take_claim(tx, host_id, consumer, Demand(size[0], size[1] + overhead, size[2])):
                return host_id
        return None

    while (decision := await placement.choose(request, fresh=True)).chosen:
        taken = await database.write(lambda tx, chosen=decision.chosen: claim(tx, chosen))  # type: ignore[misc]
        if taken:
            return str(taken)
    return None


def check(found: list[Host], placed: dict[str, tuple[str, Sizes]]) -> None:
    """Use is exactly the sum of what was placed, and nowhere above capacity."""
    used: Counter[tuple[str, str]] = Counter()
    overheads = {h.id: h.memory_overhead for h in found}
    for host_id, (vcpus, memory, disk) in placed.values():
        used.update({(host_id, "vcpus"): vcpus, (host_id, "memory"): memory + overheads[host_id]})
        used.update({(host_id, "disk"): disk})
    for host in found:
        for name in FIELDS:
            assert getattr(host, f"{name}_used") == used[host.id, name] <= getattr(host, f"{name}_capacity")


async def claim_all(url: str, demands: list[Sizes], capacities: list[Sizes]) -> None:
    database = await open_database(url, SystemClock())
    await database.write(lambda tx: [greet(tx, n, room) for n, room in enumerate(capacities)])
    left = list(enumerate(demands))
    placed: dict[str, tuple[str, Sizes]] = {}
    refused: list[Sizes] = []

    async def claimer(number: int) -> None:
        placement = Placement(database, SystemClock(), random.Random(number))
        while left:
            n, size = left.pop()
            host_id = await place(database, placement, f"server:{n}", size)
            if host_id is None:
                refused.append(size)
            else:
                placed[f"server:{n}"] = (host_id, size)

    await asyncio.gather(*(claimer(n) for n in range(CLAIMERS)))
    found = await database.read(hosts.list_all)
    check(found, placed)
    for vcpus, memory, disk in refused:
        for host in found:
            fits = host.vcpus_used + vcpus <= host.vcpus_capacity and host.disk_used + disk <= host.disk_capacity
            assert not (fits and host.memory_used + memory + host.memory_overhead <= host.memory_capacity)
    await asyncio.gather(
        *(database.write(lambda tx, c=c: hosts.release(tx, c)) for c in placed for _ in range(2))  # type: ignore[misc]
    )
    check(await database.read(hosts.list_all), {})
    assert await database.read(hosts.miscounted) == []
    await database.close()


@pytest.mark.postgresql
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(demands=st.lists(sizes, min_size=CLAIMERS, max_size=60), capacities=st.lists(rooms, min_size=1, max_size=4))
def test_sixteen_claimers_never_oversell(
    postgresql_server: object, demands: list[Sizes], capacities: list[Sizes]
) -> None:
    async def once() -> None:
        await claim_all(await postgresql_server.fresh(), demands, capacities)  # type: ignore[attr-defined]

    asyncio.run(once())


async def test_claiming_again_counts_once_and_a_host_out_of_service_takes_nothing(database: Database) -> None:
    await database.write(lambda tx: greet(tx, 0, (8, 8192, 80)))
    demand = Demand(2, 512, 10)
    for _ in range(3):
        assert await database.write(lambda tx: hosts.take_claim(tx, "host0", "server:x", demand))
    assert (await database.read(lambda tx: hosts.get(tx, "host0"))).vcpus_used == 2
    await database.write(lambda tx: hosts.set_enabled(tx, "host0", False))
    assert not await database.write(lambda tx: hosts.take_claim(tx, "host0", "server:y", demand))
    await database.write(lambda tx: hosts.set_enabled(tx, "host0", True))
    await database.write(lambda tx: hosts.set_up(tx, "host0", False))
    assert not await database.write(lambda tx: hosts.take_claim(tx, "host0", "server:y", demand))
