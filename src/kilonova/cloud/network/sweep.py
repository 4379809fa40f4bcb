"""What must become true by itself: no port stays for a server that is not there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from kilonova.cloud.network.allocation import Allocation
from kilonova.kit.db import Database, Tx

BATCH: Final = 100


async def release_orphans(
    db: Database, allocation: Allocation, existing: Callable[[Tx, Collection[str]], Collection[str]]
) -> list[str]:
    """Release the ports of servers that do not exist; returns those servers' ids.

    `existing(tx, server_ids)` tells which of these exist; it is asked again in the transaction that releases. A server
    row must be written before its ports are, and deleted in the transaction that releases them or later.
    """

    def look(tx: Tx) -> list[str]:
        named = {server for _, server, _ in allocation.bound_servers(tx)}
        return sorted(named - set(existing(tx, named)))

    gone = await db.read(look)
    for start in range(0, len(gone), BATCH):
        some = gone[start : start + BATCH]

        def release(tx: Tx, some: list[str] = some) -> None:
            alive = existing(tx, some)
            for server_id in some:
                if server_id not in alive:
                    allocation.release(tx, server_id)

        await db.write(release)
    return gone
