"""Limits and use of a project, to read and to set."""

from __future__ import annotations

from collections.abc import Mapping

from kilonova.cloud.quota import store
from kilonova.cloud.quota.model import DEFAULTS, Use
from kilonova.core.errors import Invalid
from kilonova.kit.db import Database, Tx


class QuotaService:
    """Quotas of one cloud. Who may see or set whose is a question of policy, asked before."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def uses(self, project_id: str) -> Mapping[str, Use]:
        """Limit and use of every resource."""
        return await self._db.read(lambda tx: store.uses(tx, project_id, DEFAULTS))

    async def set(self, project_id: str, limits: Mapping[str, int], *, force: bool = False) -> Mapping[str, Use]:
        """Set a project's own limits (-1: none). Raises Invalid for one below the present use unless forced."""

        def work(tx: Tx) -> Mapping[str, Use]:
            uses = store.uses(tx, project_id, DEFAULTS)
            for resource, limit in sorted(limits.items()):
                used = uses[resource].used
                if 0 <= limit < used and not force:
                    raise Invalid(
                        f"Quota limit {limit} for {resource} must be greater than or equal to already used and "
                        f"reserved {used}."
                    )
                store.set_limit(tx, project_id, resource, limit)
            return store.uses(tx, project_id, DEFAULTS)

        return await self._db.write(work)

    async def defaults(self) -> Mapping[str, int]:
        """The limits of a project that has none of its own."""
        return await self._db.read(store.defaults)

    async def set_defaults(self, limits: Mapping[str, int]) -> Mapping[str, int]:
        """Set limits (-1: none) of every project that has none of its own; they may lie below what one uses."""

        def work(tx: Tx) -> Mapping[str, int]:
            for resource, limit in sorted(limits.items()):
                store.set_limit(tx, store.DEFAULT_CLASS, resource, limit)
            return store.defaults(tx)

        return await self._db.write(work)

    async def reset(self, project_id: str) -> None:
        """Go back to the defaults."""
        await self._db.write(lambda tx: store.reset_limits(tx, project_id))
