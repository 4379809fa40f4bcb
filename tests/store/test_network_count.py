"""Parallel commands on everything that is counted: at the end the counters say what there is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from network_world import ADMIN, ANN, Cloud

from kilonova.cloud.network.bootstrap import bootstrap
from kilonova.cloud.network.floating_service import NewFloatingIp
from kilonova.cloud.network.grant_service import NewGrant
from kilonova.cloud.network.model import Listing
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.pool_service import NewPool
from kilonova.cloud.network.port_service import NewPort
from kilonova.cloud.network.subnet_service import NewSubnet
from kilonova.cloud.quota import store as quota
from kilonova.core.errors import Conflict, Invalid, NoCapacity, NotFound, QuotaExceeded
from kilonova.kit.db import Database

LIMITS = {"network": 6, "subnet": 8, "port": 9, "floatingip": 4, "security_group": 3, "subnetpool": 2, "rbac_policy": 3}
FINE = (Conflict, Invalid, NoCapacity, NotFound, QuotaExceeded)


@pytest.fixture
def cloud(database: Database) -> Cloud:
    return Cloud(database)


def _acts(
    cloud: Cloud, dice: random.Random, network: str, pool: str, outside: str
) -> list[Callable[[], Awaitable[Any]]]:
    service = cloud.service

    async def drop(kind: Any) -> None:
        rows = [r for r in await kind.find(ANN, Listing()) if r.project_id == "ann"]
        if rows:
            await kind.delete(ANN, dice.choice(rows).id)

    def grant() -> Awaitable[Any]:
        new = NewGrant(object_type="network", object_id=network, action="access_as_shared", target=dice.choice("pqrst"))
        return service.grants.create(ANN, new)

    return [
        lambda: service.networks.create_all(ANN, [NewNetwork()] * dice.randint(1, 3)),
        lambda: service.subnets.create(ANN, NewSubnet(network_id=network, pool_id=pool)),
        lambda: service.ports.create_all(ANN, [NewPort(network_id=network)] * dice.randint(1, 3)),
        lambda: service.floating_ips.create(ANN, NewFloatingIp(network_id=outside)),
        lambda: service.groups.create(ANN, "g"),
        lambda: service.subnet_pools.create_all(ANN, [NewPool(prefixes=["10.0.0.0/8"])]),
        grant,
        *(
            lambda kind=kind: drop(kind)  # type: ignore[misc]
            for kind in (
                service.subnets, service.ports, service.floating_ips, service.groups, service.subnet_pools,
                service.grants,
            )
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
async def test_counters_are_exact(cloud: Cloud, seed: int) -> None:
    dice = random.Random(seed)
    await bootstrap(cloud.ground, ADMIN)
    (outside,) = await cloud.service.networks.find(ANN, Listing({"external": (True,)}))
    kept = await cloud.service.networks.create(ANN, NewNetwork())
    new = NewPool(prefixes=["10.64.0.0/10"], default_prefixlen=26)
    (pool,) = await cloud.service.subnet_pools.create_all(ANN, [new])
    await cloud.service.limits.set("ann", LIMITS)
    acts = _acts(cloud, dice, kept.id, pool.id, outside.id)

    async def lane() -> None:
        for _ in range(14):
            try:
                await dice.choice(acts)()
            except FINE:
                continue

    await asyncio.gather(*(lane() for _ in range(6)))
    assert await cloud.db.read(quota.recount) == []
    use = await cloud.use("ann")
    service = cloud.service
    for name, kind in (
        ("network", service.networks), ("subnet", service.subnets), ("port", service.ports),
        ("floatingip", service.floating_ips), ("security_group", service.groups), ("subnetpool", service.subnet_pools),
        ("rbac_policy", service.grants),
    ):  # fmt: skip
        rows: list[Any] = [r for r in await kind.find(ANN, Listing()) if r.project_id == "ann"]  # type: ignore[attr-defined]
        if name == "port":
            rows = [r for r in rows if r.device_owner != "network:dhcp"]
        if name == "security_group":
            rows = [r for r in rows if not r.is_default]
        assert use.get(name, 0) == len(rows) <= LIMITS[name], name
    cidrs = [s.cidr for s in await service.subnets.find(ANN, Listing({"pool_id": (pool.id,)}))]
    assert len(cidrs) == len(set(cidrs))
