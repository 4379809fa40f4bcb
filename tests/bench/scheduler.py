"""Choosing among many hosts, and placing with the claim in the database."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.bench.figure import Figure, percentile

from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Demand, Host, Ratio
from kilonova.cloud.scheduler.choose import choose
from kilonova.cloud.scheduler.filters import Request
from kilonova.cloud.scheduler.snapshot import Snapshot
from kilonova.cloud.server.model import FlavorCopy
from kilonova.cloud.server.placement import Placement
from kilonova.core.ids import new_uuid
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx, metadata, open_database
from kilonova.wire import PROTOCOL
from kilonova.wire.node import Hello, Inventory

GROUP = "scheduler"
MANY = 10_000
CHOICES = 300
HOSTS = 1_000
PLACEMENTS = 3_000
WORKERS = 32
WANTED = Request(2, 4096, 20)
FLAVOR = FlavorCopy(id="1", name="bench", vcpus=2, memory_mb=4096, root_gb=20)


async def measure() -> AsyncIterator[Figure]:
    """Pure choices over 10,000 hosts; then choice and claim over 1,000, by many at once, on SQLite."""
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        db = await open_database(f"sqlite:///{place}/bench.db", SystemClock())
        try:
            await db.write(lambda tx: metadata.create_all(tx.connection))
            await db.write(lambda tx: _greet(tx, MANY))
            yield _choose(await db.read(hosts.list_all))
        finally:
            await db.close()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        yield await _place(Path(place))


def _choose(known: list[Host]) -> Figure:
    snapshot, chance = Snapshot(known), random.Random(1)
    walls, before = [], time.process_time()
    for _ in range(CHOICES):
        began = time.perf_counter()
        decision = choose(snapshot, WANTED, chance)
        walls.append(time.perf_counter() - began)
        assert len(decision.chosen) == 8
    wall, cpu = percentile(walls, 0.5) * 1e3, (time.process_time() - before) / CHOICES * 1e3
    return Figure(GROUP, "choose one of 10,000 hosts", wall, "ms", 2, cpu=cpu, wall=wall, note=f"p50 of {CHOICES}")


async def _place(place: Path) -> Figure:
    clock = SystemClock()
    db = await open_database(f"sqlite:///{place}/bench.db", clock)
    try:
        await db.write(lambda tx: metadata.create_all(tx.connection))
        await db.write(lambda tx: _greet(tx, HOSTS))
        placement = Placement(db, clock, random.Random(1))
        began, before = time.perf_counter(), time.process_time()
        share = PLACEMENTS // WORKERS
        await asyncio.gather(*(_claim_some(db, placement, share) for _ in range(WORKERS)))
        wall, cpu = time.perf_counter() - began, time.process_time() - before
        done = len(await db.read(hosts.claims))
        assert done == share * WORKERS
        assert not await db.read(hosts.miscounted)
    finally:
        await db.close()
    return Figure(
        GROUP, "placements with the claim, 1,000 hosts", done / wall, "/s", 500, at_least=True,
        cpu=cpu / done * 1e3, wall=wall / done * 1e3, note=f"{done:,} by {WORKERS} at once, SQLite",
    )  # fmt: skip


async def _claim_some(db: Database, placement: Placement, count: int) -> None:
    for _ in range(count):
        decision = await placement.choose(WANTED)
        consumer = f"server:{new_uuid()}"

        def claim(tx: Tx, chosen: tuple[str, ...] = decision.chosen, consumer: str = consumer) -> str:
            for host_id in chosen:
                overhead = hosts.get(tx, host_id).memory_overhead
                demand = Demand(WANTED.vcpus, WANTED.memory_mb + overhead, WANTED.disk_gb)
                if hosts.take_claim(tx, host_id, consumer, demand):
                    return host_id
            raise RuntimeError("every chosen host was taken")

        placement.taken(await db.write(claim), FLAVOR)


def _greet(tx: Tx, count: int) -> None:
    for i in range(count):
        inventory = Inventory(vcpus=64, memory_mb=(128 + i % 7 * 32) * 1024, disk_gb=2000)
        hello = Hello(
            protocol=PROTOCOL, host_id=new_uuid(), name=f"host-{i}", boot_id="b", incarnation="i", inventory=inventory
        )
        hosts.greet(tx, hello, Ratio(), "nova")
