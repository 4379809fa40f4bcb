"""Commands and queries on trusts. Policy was asked in the edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kilonova.cloud.identity import store, store_effective, store_epoch, trust_store
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.model import Named, Role, Trust
from kilonova.core.errors import Forbidden, Invalid, NotFound
from kilonova.core.ids import new_hex
from kilonova.kit.db import Database, Tx


class Trusts:
    """What users let one another do."""

    def __init__(self, db: Database, epochs: Epochs, *, new_id: Callable[[], str] = new_hex) -> None:
        self._db = db
        self._epochs = epochs
        self._new_id = new_id

    async def create(self, values: Mapping[str, Any], roles: Sequence[Named]) -> tuple[Trust, Sequence[Role]]:
        """A new one and its roles. Raises NotFound for users, projects or roles that do not exist, or that the trustor
        does not hold on the project; Forbidden for a project without roles; Invalid when it would be over at once."""
        row = {**values, "id": self._new_id()}
        if row.get("project_id") and not roles:
            raise Forbidden(
                "You are not authorized to perform the requested action: At least one role should be specified."
            )
        if roles and not row.get("project_id"):
            raise Invalid("Roles are delegated on a project: expecting to find project_id in trust.")

        def work(tx: Tx) -> tuple[Trust, Sequence[Role]]:
            store.get(tx, "user", row["trustee_user_id"])
            if row.get("expires_at") is not None and row["expires_at"] <= tx.now:
                raise Invalid("Expiration time must not be in the past.")
            chosen = _choose(tx, row["trustor_user_id"], row.get("project_id"), roles)
            trust_store.create(tx, {**row, "roles": [role.id for role in chosen]})
            return trust_store.get(tx, row["id"]), chosen

        return await self._db.write(work)

    async def list(self, where: Mapping[str, str]) -> Sequence[Trust]:
        """Those whose fields equal `where`."""
        return await self._db.read(lambda tx: trust_store.list_trusts(tx, where))

    async def show(self, identifier: str) -> tuple[Trust, Sequence[Role]]:
        """One, also one of which no use is left, and its roles. Raises NotFound."""

        def work(tx: Tx) -> tuple[Trust, Sequence[Role]]:
            trust = trust_store.get(tx, identifier, spent=True)
            return trust, store.list_all(tx, "role", {}, ids=trust.roles)

        return await self._db.read(work)

    async def delete(self, identifier: str) -> None:
        """Remove one; its tokens are void at once. Raises NotFound."""

        def work(tx: Tx) -> None:
            trust = trust_store.get(tx, identifier, spent=True)
            trust_store.remove(tx, identifier)
            for user_id in (trust.trustor_user_id, trust.trustee_user_id):
                self._epochs.bump(tx, store_epoch.user(user_id))

        await self._db.write(work)


def _choose(tx: Tx, trustor_id: str, project_id: str | None, roles: Sequence[Named]) -> Sequence[Role]:
    if project_id is None:
        return []
    store.get(tx, "project", project_id)
    held = store_effective.roles_on(tx, trustor_id, "project", project_id)
    found = []
    for one in roles:
        role = next((r for r in held if r.id == one.id or (one.id is None and r.name == one.name)), None)
        if role is None:
            raise NotFound(f"Could not find role: {one.id or one.name}.")
        found.append(role)
    return found
