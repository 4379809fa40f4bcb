"""Server groups: servers that shall share a host, or shall not."""

from __future__ import annotations

from collections.abc import Callable

from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import group_store
from kilonova.cloud.server.model import Group
from kilonova.core.context import Context, Scope
from kilonova.kit.db import Database, Tx

_CONSUMER = "server_group:"


class ServerGroups:
    """Groups of a scope."""

    def __init__(self, db: Database, new_id: Callable[[], str]) -> None:
        self._db = db
        self._new_id = new_id

    async def create(self, context: Context, name: str, policy: str, most: int) -> Group:
        """A new group of the caller's project. Raises QuotaExceeded."""

        def work(tx: Tx) -> Group:
            project = context.project_id or ""
            new = Group(self._new_id(), project, context.user_id, name, policy, most, tx.now)
            quota.charge(tx, project, _CONSUMER + new.id, {"server_groups": 1})
            group_store.add(tx, new)
            return new

        return await self._db.write(work)

    async def get(self, scope: Scope, group_id: str) -> Group:
        """Raises NotFound."""
        return await self._db.read(lambda tx: group_store.get(tx, scope, group_id))

    async def page(self, scope: Scope, limit: int, offset: int) -> list[Group]:
        """The oldest first."""
        return await self._db.read(lambda tx: group_store.page(tx, scope, limit, offset))

    async def delete(self, scope: Scope, group_id: str) -> None:
        """Its servers stay. Raises NotFound."""

        def work(tx: Tx) -> None:
            found = group_store.get(tx, scope, group_id, lock=True)
            quota.refund(tx, _CONSUMER + found.id)
            group_store.remove(tx, scope, found.id)

        await self._db.write(work)
