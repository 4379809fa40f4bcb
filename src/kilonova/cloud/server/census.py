"""How the cloud is doing, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Host
from kilonova.cloud.server import store
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import store as operations


@dataclass(frozen=True, slots=True)
class Numbers:
    """Hosts, live servers by phase, operations under way, and guests that hosts still have to clear."""

    hosts: Sequence[Host]
    servers: Mapping[str, int]
    operations: int
    debts: int


class Census:
    """Counts on demand; a question of operators, not of the hot path."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def take(self) -> Numbers:
        """The numbers of one moment."""

        def work(tx: Tx) -> Numbers:
            phases = Counter(phase for phase, _ in store.ids(tx).values())
            return Numbers(hosts.list_all(tx), dict(phases), len(operations.live(tx)), len(hosts.debts(tx)))

        return await self._db.read(work)
