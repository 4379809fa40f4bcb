"""Commands and queries on who belongs to which group. Policy was asked in the edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kilonova.cloud.identity import store, store_epoch, store_group
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.model import Group, User
from kilonova.core.errors import NotFound
from kilonova.kit.db import Database, Tx


class Groups:
    """Memberships. Each change raises the user's epoch in its own transaction."""

    def __init__(self, db: Database, epochs: Epochs) -> None:
        self._db = db
        self._epochs = epochs

    async def add(self, group_id: str, user_id: str) -> None:
        """Let a user belong to a group; again does nothing. Raises NotFound."""

        def work(tx: Tx) -> None:
            store.hold(tx, "group", group_id)
            store.hold(tx, "user", user_id)
            if store_group.add(tx, group_id, user_id):
                self._epochs.bump(tx, store_epoch.user(user_id))

        await self._db.write(work)

    async def check(self, group_id: str, user_id: str) -> None:
        """Nothing, if the user belongs to the group. Raises NotFound."""

        def work(tx: Tx) -> None:
            _check(tx, group_id, user_id)
            if not store_group.is_member(tx, group_id, user_id):
                raise NotFound(f"User {user_id!r} not found in group {group_id!r}.")

        await self._db.read(work)

    async def leave(self, group_id: str, user_id: str) -> None:
        """End a membership. Raises NotFound."""

        def work(tx: Tx) -> None:
            _check(tx, group_id, user_id)
            store_group.leave(tx, group_id, user_id)
            self._epochs.bump(tx, store_epoch.user(user_id))

        await self._db.write(work)

    async def users(
        self, group_id: str, where: Mapping[str, Any], *, marker: str | None = None, limit: int = 10_000
    ) -> Sequence[User]:
        """The users of a group, filtered and paged as `Directory.list` does. Raises NotFound."""

        def work(tx: Tx) -> Sequence[User]:
            store.get(tx, "group", group_id)
            return store_group.list_users(tx, group_id, where, marker, limit)

        return await self._db.read(work)

    async def groups_of(
        self, user_id: str, where: Mapping[str, Any], *, marker: str | None = None, limit: int = 10_000
    ) -> Sequence[Group]:
        """The groups of a user, filtered and paged as `Directory.list` does. Raises NotFound."""

        def work(tx: Tx) -> Sequence[Group]:
            store.get(tx, "user", user_id)
            return store_group.list_groups(tx, user_id, where, marker, limit)

        return await self._db.read(work)


def _check(tx: Tx, group_id: str, user_id: str) -> None:
    store.get(tx, "group", group_id)
    store.get(tx, "user", user_id)
