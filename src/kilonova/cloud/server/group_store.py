"""Server groups: all their SQL. Who is in one is a column of the server; where those are is told by claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, Row, String, Table, and_, delete, insert, select, update

from kilonova.cloud.host import store as hosts
from kilonova.cloud.server.demand import HERE, MOVING
from kilonova.cloud.server.model import Group
from kilonova.cloud.server.store import server
from kilonova.core.context import Scope
from kilonova.core.errors import NotFound
from kilonova.kit.db import Tx, metadata

group = Table(
    "server_group",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("policy", String(32), nullable=False),
    Column("most", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("server_group_page", "project_id", "created_at", "id"),
)
_FIELDS: Final = ("id", "project_id", "user_id", "name", "policy", "most", "created_at")


def add(tx: Tx, new: Group) -> None:
    """A new group."""
    tx.execute(insert(group).values(**{name: getattr(new, name) for name in _FIELDS}))


def get(tx: Tx, scope: Scope, group_id: str, *, lock: bool = False) -> Group:
    """One group with its members. Raises NotFound."""
    query = _visible(scope).where(group.c.id == group_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"Instance group {group_id} could not be found.")
    return _groups(tx, [row])[0]


def page(tx: Tx, scope: Scope, limit: int, offset: int) -> list[Group]:
    """Groups with their members, the oldest first."""
    query = _visible(scope).order_by(group.c.created_at, group.c.id).limit(limit).offset(offset)
    return _groups(tx, tx.execute(query).all())


def remove(tx: Tx, scope: Scope, group_id: str) -> None:
    """Forget a group; its servers stay. Raises NotFound."""
    get(tx, scope, group_id, lock=True)
    tx.execute(update(server).where(server.c.group_id == group_id).values(group_id=None))
    tx.execute(delete(group).where(group.c.id == group_id))


def occupied(tx: Tx, group_id: str, without: str) -> Counter[str]:
    """How many servers of a group, but one, each host has, or will have, or has for their way back."""
    members = [one for one in _members(tx, [group_id]).get(group_id, ()) if one != without]
    consumers = [kind + one for kind in (HERE, MOVING) for one in members]
    pairs = {(c.host_id, c.consumer.partition(":")[2]) for c in hosts.claims_of(tx, consumers)} if consumers else set()
    return Counter(host_id for host_id, _ in pairs)


def hosts_of(tx: Tx, project_id: str, server_ids: Sequence[str]) -> list[str]:
    """The hosts of a project's servers, as far as they are on any."""
    query = select(server.c.host_id).where(
        and_(server.c.id.in_(tuple(server_ids)), server.c.project_id == project_id, server.c.host_id.is_not(None))
    )
    return list(tx.execute(query).scalars())


def _visible(scope: Scope) -> Any:
    query = select(group)
    return query if scope.is_all else query.where(group.c.project_id == scope.project_id)


def _members(tx: Tx, group_ids: Sequence[str]) -> dict[str, list[str]]:
    query = select(server.c.id, server.c.group_id).where(server.c.group_id.in_(tuple(group_ids)))
    alive = server.c.phase.not_like("%.deleting")
    found: dict[str, list[str]] = {}
    for row in tx.execute(query.where(alive).order_by(server.c.created_at, server.c.id)):
        found.setdefault(row.group_id, []).append(row.id)
    return found


def _groups(tx: Tx, rows: Sequence[Row[Any]]) -> list[Group]:
    members = _members(tx, [row.id for row in rows]) if rows else {}
    return [Group(**row._asdict(), members=tuple(members.get(row.id, ()))) for row in rows]
