"""How many addresses networks have, and how many are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kilonova.cloud.network import network_store, subnet_store, usage_store
from kilonova.cloud.network.address import parse_address, parse_prefix
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import Listing, Network, Subnet
from kilonova.core.context import Context
from kilonova.kit.db import Tx


@dataclass(frozen=True, slots=True)
class SubnetAvailability:
    """One subnet's: `total` addresses in its pools, or in its prefix where it has none; `used` ones taken."""

    id: str
    name: str
    cidr: str
    ip_version: int
    total: int
    used: int


@dataclass(frozen=True, slots=True)
class Availability:
    """One network's, by subnet."""

    id: str
    name: str
    project_id: str
    subnets: tuple[SubnetAvailability, ...]


class AvailabilityService:
    """Queries on how full networks are."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def find(self, context: Context, listing: Listing) -> list[Availability]:
        """A page of networks; filtered by `ip_version` only those with such subnets, and only these."""
        filters = dict(listing.filters)
        versions = filters.pop("ip_version", None)

        def work(tx: Tx) -> list[Availability]:
            rows = network_store.find(tx, sight(context), replace(listing, filters=filters))
            return _assemble(tx, rows, versions)

        return await self._ground.db.read(work)

    async def get(self, context: Context, network_id: str) -> Availability:
        """One network's. Raises NotFound."""

        def work(tx: Tx) -> Availability:
            return _assemble(tx, [network_store.get(tx, sight(context), network_id)], None)[0]

        return await self._ground.db.read(work)


def _assemble(tx: Tx, rows: Sequence[Network], versions: Sequence[int] | None) -> list[Availability]:
    subnets = subnet_store.of_networks(tx, [r.id for r in rows])
    used = usage_store.addresses_used(tx, [s.id for found in subnets.values() for s in found])
    answer = []
    for row in rows:
        mine = [s for s in subnets.get(row.id, ()) if versions is None or s.ip_version in versions]
        if mine or versions is None:
            parts = tuple(
                SubnetAvailability(s.id, s.name, s.cidr, s.ip_version, _total(s), used.get(s.id, 0)) for s in mine
            )
            answer.append(Availability(row.id, row.name, row.project_id, parts))
    return answer


def _total(row: Subnet) -> int:
    if not row.pools:
        return parse_prefix(row.cidr).num_addresses
    return sum(int(parse_address(p.end)) - int(parse_address(p.start)) + 1 for p in row.pools)
