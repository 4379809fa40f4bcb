"""Commands and queries on grants (Neutron's RBAC policies)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from kilonova.cloud.network import address_group_store, grant_store, group_store, network_store, pool_store, sharing
from kilonova.cloud.network.grant_store import EVERYONE, EXTERNAL
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import Grant, Listing
from kilonova.cloud.network.network_service import target_project
from kilonova.cloud.network.pool_model import SubnetPool
from kilonova.cloud.network.usage_store import ACTIONS
from kilonova.cloud.quota import store as quota
from kilonova.core.context import ALL, Context, Scope
from kilonova.core.errors import Conflict, Forbidden, Invalid
from kilonova.kit.db import Tx

_KINDS: Final[Mapping[str, tuple[Callable[[Tx, Scope, str], Any], Callable[[Tx, str], None]]]] = MappingProxyType(
    {
        network_store.KIND: (network_store.get, network_store.lock),
        group_store.KIND: (group_store.get, group_store.lock),
        address_group_store.KIND: (address_group_store.get, address_group_store.lock),
        pool_store.POOL: (pool_store.get, pool_store.lock),
        pool_store.SCOPE: (pool_store.get_scope, pool_store.lock_scope),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGrant:
    """A grant asked for; `target`: a project, or `*` for every one."""

    object_type: str
    object_id: str
    action: str
    target: str
    project_id: str | None = None


class GrantService:
    """Grants. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(self, context: Context, new: NewGrant) -> Grant:
        """Grant something of the caller's own. Raises NotFound, Invalid, Forbidden, Conflict (it exists),
        QuotaExceeded."""
        project_id = target_project(context, new.project_id)
        if new.action not in ACTIONS.get(new.object_type, ()):
            allowed = sorted(ACTIONS.get(new.object_type, ()))
            raise Invalid(
                f"Invalid action '{new.action[:64]}' for object type '{new.object_type[:64]}'. Valid actions: "
                f"{allowed}",
                why="rbac_policy_invalid_action",
            )
        _check_external(context, new.action)

        def work(tx: Tx) -> Grant:
            found = self._own(tx, context, new.object_type, new.object_id)
            if new.object_type == pool_store.POOL:
                _check_reach(tx, found, new.target)
            row = Grant(
                self._ground.new_id(), project_id, new.object_type, new.object_id, new.action, new.target, tx.now
            )
            quota.charge(tx, project_id, f"rbac_policy:{row.id}", {"rbac_policy": 1})
            if not grant_store.add(tx, row):
                raise _exists()
            sharing.settle(tx, self._ground, row.object_type, row.object_id)
            return row

        return await self._ground.db.write(work)

    async def update(self, context: Context, grant_id: str, values: Mapping[str, Any]) -> Grant:
        """Set `target`. Raises NotFound, Forbidden, Conflict (who loses it uses the object, or the new one has it)."""

        def work(tx: Tx) -> Grant:
            old = self._locked(tx, context, grant_id)
            target = values.get("target", old.target)
            if target != old.target:
                others = grant_store.of(tx, old.object_id, old.action)
                if any(g.target == target for g in others):
                    raise _exists()
                if target != EVERYONE:
                    sharing.check_unused(tx, old, self._owner(tx, old), target)
                grant_store.retarget(tx, grant_id, target)
                sharing.settle(tx, self._ground, old.object_type, old.object_id)
            return grant_store.get(tx, ALL, grant_id)

        return await self._ground.db.write(work)

    async def delete(self, context: Context, grant_id: str) -> None:
        """Revoke a grant. Raises NotFound, Forbidden, Conflict while a project that has it uses the object."""

        def work(tx: Tx) -> None:
            old = self._locked(tx, context, grant_id)
            sharing.check_unused(tx, old, self._owner(tx, old))
            sharing.forget_one(tx, grant_id)
            sharing.settle(tx, self._ground, old.object_type, old.object_id)

        await self._ground.db.write(work)

    async def get(self, context: Context, grant_id: str) -> Grant:
        """One grant of the caller's project. Raises NotFound."""
        return await self._ground.db.read(lambda tx: grant_store.get(tx, sight(context), grant_id))

    async def find(self, context: Context, listing: Listing) -> list[Grant]:
        """A page of the project's grants."""
        return await self._ground.db.read(lambda tx: grant_store.find(tx, sight(context), listing))

    def _own(self, tx: Tx, context: Context, object_type: str, object_id: str) -> Any:
        get, lock = _KINDS[object_type]
        lock(tx, object_id)
        found = get(tx, sight(context), object_id)
        if not context.is_admin and found.project_id != context.project_id:
            raise Invalid(
                "Invalid input for operation: Only admins can manipulate policies on objects they do not own.",
                why="invalid_input",
            )
        return found

    def _owner(self, tx: Tx, row: Grant) -> str:
        get, _ = _KINDS[row.object_type]
        return str(get(tx, ALL, row.object_id).project_id)

    def _locked(self, tx: Tx, context: Context, grant_id: str) -> Grant:
        found = grant_store.get(tx, sight(context), grant_id)
        _, lock = _KINDS[found.object_type]
        lock(tx, found.object_id)
        _check_external(context, found.action)
        return grant_store.get(tx, ALL, grant_id)


def _check_external(context: Context, action: str) -> None:
    if action == EXTERNAL and not context.is_admin:
        raise Forbidden("Only an administrator says for whom a network is external.", why="policy_not_authorized")


def _check_reach(tx: Tx, row: SubnetPool, target: str) -> None:
    """Raises Invalid when who shall have a pool has not its address scope."""
    if row.scope_id is None or pool_store.get_scope(tx, ALL, row.scope_id).project_id == target:
        return
    if not {g.target for g in grant_store.of(tx, row.scope_id)} & {EVERYONE, target}:
        raise Invalid(
            f"Subnet pool {row.id} cannot be shared with {target[:64]}, who has no access to its address scope "
            f"{row.scope_id}.",
            why="bad_request",
        )


def _exists() -> Conflict:
    return Conflict("An RBAC policy already exists with those values.", why="duplicate_rbac_policy")
