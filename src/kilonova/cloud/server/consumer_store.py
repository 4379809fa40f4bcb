"""Servers as consumers of what hosts have: whose they are, and what a project's servers use in all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import func, literal, select

from kilonova.cloud.host.store import claim
from kilonova.cloud.placement.allocation_store import SERVER, server_consumer
from kilonova.cloud.placement.model import DISK, MEMORY, VCPU, Consumer, Usage
from kilonova.cloud.server.store import server
from kilonova.kit.db import Tx


def owners(tx: Tx, server_ids: Collection[str]) -> Mapping[str, Consumer]:
    """Those of these that are live servers, as consumers."""
    if not server_ids:
        return {}
    columns = (server.c.id, server.c.project_id, server.c.user_id, server.c.fence)
    rows = tx.execute(select(*columns).where(server.c.id.in_(tuple(server_ids))))
    return {r.id: server_consumer(r.id, r.project_id, r.user_id, r.fence) for r in rows}


def usage(tx: Tx, project_id: str, user_id: str | None) -> Usage:
    """What the claims of a project's (and user's) servers sum up to, and how many servers have one."""
    sums = (func.sum(claim.c.vcpus), func.sum(claim.c.memory_mb), func.sum(claim.c.disk_gb))
    joined = select(func.count(func.distinct(server.c.id)), *sums)
    joined = joined.join(claim, claim.c.consumer == literal(SERVER) + server.c.id)
    joined = joined.where(server.c.project_id == project_id)
    if user_id is not None:
        joined = joined.where(server.c.user_id == user_id)
    row = tx.execute(joined).one()
    used: Sequence[int | None] = row[1:]
    return Usage({name: int(n) for name, n in zip((VCPU, MEMORY, DISK), used, strict=True) if n}, row[0])
