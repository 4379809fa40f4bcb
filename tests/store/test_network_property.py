"""Whatever is allocated and released in whatever order: nothing collides, nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kilonova.cloud.network import address_store, port_store
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.model import Listing, NicRequest, Pool, WantedIp
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.port_service import NewPort
from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.network.subnet_service import NewSubnet
from kilonova.cloud.quota import store as quota
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, Invalid, NoCapacity, NotFound
from kilonova.core.ids import new_uuid
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, open_database

ANN = Context("ann", "ann", frozenset({"member"}), "req-1")
NUMBER = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("port"), st.none() | st.integers(2, 13)),
        st.tuples(st.just("delete"), NUMBER),
        st.tuples(st.just("boot"), NUMBER),
        st.tuples(st.just("release"), NUMBER),
        st.tuples(st.just("readdress"), NUMBER),
    ),
    max_size=30,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=3))
def test_addresses_are_exact(sqlite_template: Path, lanes: list[list[tuple[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(sqlite_template, f"{place}/test.db")
        asyncio.run(_run(f"sqlite:///{place}/test.db", lanes))


async def _run(url: str, lanes: Sequence[Sequence[tuple[str, Any]]]) -> None:
    db = await open_database(url, SystemClock())
    try:
        numbers = itertools.count(1)
        ground = Ground(db, new_uuid, lambda: f"fa:16:3e:{next(numbers).to_bytes(3).hex(':')}", lambda change: None)
        cloud = NetworkServices(ground)
        network = await cloud.networks.create(ANN, NewNetwork())
        pools = [Pool("10.0.0.2", "10.0.0.5"), Pool("10.0.0.8", "10.0.0.11")]
        new = NewSubnet(network_id=network.id, cidr="10.0.0.0/28", pools=pools, enable_dhcp=False)
        subnet = await cloud.subnets.create(ANN, new)
        await asyncio.gather(*(_walk(db, cloud, network.id, lane, n) for n, lane in enumerate(lanes)))
        ports = await db.read(lambda tx: port_store.find(tx, ALL, Listing()))
        taken = [f.address for p in ports for f in p.fixed_ips]
        assert len(taken) == len(set(taken)) == await db.read(lambda tx: address_store.count(tx, subnet.id))
        use = await cloud.limits.get("ann")
        assert use["port"].used == len(ports)
        for server in {p.device_id for p in ports if p.device_id}:
            await db.write(lambda tx, server=server: cloud.allocation.release(tx, server))  # type: ignore[misc]
        for port in await cloud.ports.find(ANN, Listing()):
            await cloud.ports.delete(ANN, port.id)
        await cloud.networks.delete(ANN, network.id)
        assert await db.read(quota.recount) == []
        assert await db.read(lambda tx: quota.consumers(tx, "port:")) == []
    finally:
        await db.close()


async def _walk(
    db: Database, cloud: NetworkServices, network_id: str, steps: Sequence[tuple[str, Any]], lane: int
) -> None:
    for act, value in steps:
        try:
            if act == "release":
                await db.write(lambda tx, value=value: cloud.allocation.release(tx, f"s{lane}-{value}"))  # type: ignore[misc]
            else:
                await _step(cloud, network_id, act, value, f"s{lane}-{value}")
        except (NoCapacity, Conflict, Invalid, NotFound):
            # Full, taken, out of the prefix, or another lane was faster: all fine, as long as it is exact.
            continue


async def _step(cloud: NetworkServices, network_id: str, act: str, value: Any, server_id: str) -> None:
    if act == "port":
        wanted = None if value is None else [WantedIp(None, f"10.0.0.{value}")]
        await cloud.ports.create(ANN, NewPort(network_id=network_id, fixed_ips=wanted))
    elif act == "boot":
        nics = await cloud.allocation.check(ANN, [NicRequest(network_id=network_id)] * 2, ())
        made = {}
        for _ in range(2):
            made[len(made)] = await cloud.allocation.allocate(
                lambda tx: None, project_id="ann", server_id=server_id, host_id="h", hostname="", nics=nics
            )
        assert made[0] == made[1]
    else:
        ports = await cloud.ports.find(ANN, Listing({"device_id": ("",)}))
        if value < len(ports) and act == "delete":
            await cloud.ports.delete(ANN, ports[value].id)
        elif value < len(ports):
            await cloud.ports.update(ANN, ports[value].id, {"fixed_ips": [WantedIp(None, f"10.0.0.{value + 2}")]})
