"""A cloud's networks on a test's database."""

from __future__ import annotations

import itertools
from typing import Any

from kilonova.cloud.network import document_store
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.model import Change, CheckedNics, Network, Subnet
from kilonova.cloud.network.network_service import NewNetwork
from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.network.subnet_service import NewSubnet
from kilonova.core.context import Context
from kilonova.core.ids import new_uuid
from kilonova.kit.db import Database, Tx
from kilonova.wire.node import Docs, Version


def context(project: str, *, admin: bool = False) -> Context:
    roles = frozenset({"admin", "member"} if admin else {"member"})
    return Context(user_id=f"u-{project}", project_id=project, roles=roles, request_id="req-1", is_admin=admin)


ADMIN = context("ops", admin=True)
ANN = context("ann")
BEN = context("ben")


class Cloud:
    """The services on one database, and the hints that they gave."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.hints: list[Change] = []
        numbers = itertools.count(1)
        self.ground = Ground(db, new_uuid, lambda: f"fa:16:3e:{next(numbers).to_bytes(3).hex(':')}", self.hints.append)
        self.service = NetworkServices(self.ground)

    async def network(self, who: Context = ANN, cidr: str = "10.1.0.0/24", **facts: Any) -> tuple[Network, Subnet]:
        made = await self.service.networks.create(who, NewNetwork(name="n", **facts))
        subnet = await self.service.subnets.create(who, NewSubnet(network_id=made.id, cidr=cidr))
        return made, subnet

    async def boot(self, who: Context, server: str, host: str = "h1", requests: Any = None) -> CheckedNics:
        nics = await self.service.allocation.check(who, requests, (), 1)
        await self.service.allocation.allocate(
            lambda tx: None, project_id=who.project_id or "", server_id=server, host_id=host, hostname="g", nics=nics
        )
        return nics

    async def held(self, host: str) -> tuple[dict[tuple[str, str], int], Docs]:
        def work(tx: Tx) -> tuple[list[Version], Docs]:
            versions = document_store.versions(tx, host)
            return versions, document_store.documents(tx, host, versions)

        versions, docs = await self.db.read(work)
        return {(v.kind, v.id): v.version for v in versions}, docs

    async def use(self, project: str) -> dict[str, int]:
        return {name: use.used for name, use in (await self.service.limits.get(project)).items() if use.used}


def flat(docs: Docs) -> dict[str, Any]:
    return {
        **{p.port_id: p for p in docs.ports},
        **{n.network_id: n for n in docs.networks},
        **{r.router_id: r for r in docs.routers},
        **{a.group_id: a for a in docs.address_sets},
    }
