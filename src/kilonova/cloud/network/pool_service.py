"""Commands and queries on subnet pools and address scopes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from kilonova.cloud.network import pool, pool_store, sharing
from kilonova.cloud.network.address import parse_prefix, without
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import Listing
from kilonova.cloud.network.network_service import target_project
from kilonova.cloud.network.pool_model import AddressScope, SubnetPool
from kilonova.cloud.quota import store as quota
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, Forbidden, Invalid, NotFound
from kilonova.kit.db import Tx

MOST_SCOPES: Final = 100
"""A project's address scopes; the Networking API has no quota for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPool:
    """A subnet pool asked for; prefix lengths None: /8 to /32 (IPv4) or /64 to /128 (IPv6), the shortest by default."""

    prefixes: Sequence[str]
    name: str = ""
    description: str = ""
    scope_id: str | None = None
    default_prefixlen: int | None = None
    min_prefixlen: int | None = None
    max_prefixlen: int | None = None
    default_quota: int | None = None
    is_default: bool = False
    shared: bool = False
    project_id: str | None = None


class SubnetPoolService:
    """Subnet pools. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create_all(self, context: Context, news: Sequence[NewPool]) -> list[SubnetPool]:
        """Make pools, all or none. Raises Invalid, Forbidden, NotFound (address scope), Conflict, QuotaExceeded."""
        owners = [target_project(context, new.project_id) for new in news]
        if any(new.shared or new.is_default for new in news) and not context.is_admin:
            raise Forbidden("Only an administrator makes a pool shared or default.", why="policy_not_authorized")

        def work(tx: Tx) -> list[SubnetPool]:
            return [self._insert(tx, context, owner, new) for owner, new in zip(owners, news, strict=True)]

        return await self._ground.db.write(work)

    async def update(self, context: Context, pool_id: str, values: Mapping[str, Any]) -> SubnetPool:
        """Set any member of `NewPool` but `shared` and the project.

        Raises NotFound, Invalid (also when a prefix would go), Conflict, Forbidden.
        """
        if values.get("is_default") and not context.is_admin:
            raise Forbidden("Only an administrator makes a pool default.", why="policy_not_authorized")

        def work(tx: Tx) -> SubnetPool:
            pool_store.lock(tx, pool_id)
            old = pool_store.get_own(tx, sight(context), pool_id)
            given = dict(values)
            if "prefixes" in given:
                _check_scope_owner(tx, context, old)
                given["prefixes"] = _grown(old, given["prefixes"])
            new = replace(old, **given)
            pool.check_bounds(new)
            if {"scope_id", "prefixes"} & given.keys():
                pool.check_scope(tx, sight(context), new)
            if new.is_default and not old.is_default:
                _check_default(tx, new)
            columns = {**given, **({"prefixes": list(new.prefixes)} if "prefixes" in given else {})}
            pool_store.change(tx, pool_id, columns)
            return pool_store.get(tx, sight(context), pool_id)

        return await self._ground.db.write(work)

    async def add_prefixes(self, context: Context, pool_id: str, texts: Sequence[str]) -> SubnetPool:
        """Prefixes more. Raises NotFound, Invalid, Conflict (overlap in the address scope)."""
        checked = pool.check_prefixes(texts)
        return await self._edit(context, pool_id, lambda old, taken: pool.check_prefixes([*old, *checked]))

    async def remove_prefixes(self, context: Context, pool_id: str, texts: Sequence[str]) -> SubnetPool:
        """Prefixes less. Raises NotFound, Invalid (nothing would be left), Conflict while a subnet comes from them."""
        gone = pool.check_prefixes(texts)

        def less(old: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
            holes = [parse_prefix(g) for g in gone]
            if any(parse_prefix(t).overlaps(h) for t in taken for h in holes):
                raise Conflict(
                    f"Prefixes {list(gone)} of subnet pool {pool_id} have existing allocations.",
                    why="illegal_subnet_pool_update",
                )
            return pool.check_prefixes(without(old, gone))

        return await self._edit(context, pool_id, less)

    async def delete(self, context: Context, pool_id: str) -> None:
        """Delete a pool. Raises NotFound, Invalid while subnets come from it (as Neutron answers)."""

        def work(tx: Tx) -> None:
            pool_store.lock(tx, pool_id)
            pool_store.get_own(tx, sight(context), pool_id)
            if pool_store.taken(tx, pool_id):
                raise Invalid(
                    "Unable to delete subnet pool: Subnet pool has existing allocations.",
                    why="subnet_pool_delete_error",
                )
            sharing.forget(tx, pool_id)
            pool_store.remove(tx, pool_id)
            quota.refund(tx, f"subnetpool:{pool_id}")

        await self._ground.db.write(work)

    async def get(self, context: Context, pool_id: str) -> SubnetPool:
        """One pool that the caller may see. Raises NotFound."""
        return await self._ground.db.read(lambda tx: pool_store.get(tx, sight(context), pool_id))

    async def find(self, context: Context, listing: Listing) -> list[SubnetPool]:
        """A page of the pools that the caller may see."""
        return await self._ground.db.read(lambda tx: pool_store.find(tx, sight(context), listing))

    async def _edit(
        self, context: Context, pool_id: str, edit: Callable[[Sequence[str], Sequence[str]], tuple[str, ...]]
    ) -> SubnetPool:
        """Other prefixes; `edit` gets those that are there, and those of the subnets that come from them."""

        def work(tx: Tx) -> SubnetPool:
            pool_store.lock(tx, pool_id)
            old = pool_store.get_own(tx, sight(context), pool_id)
            _check_scope_owner(tx, context, old)
            prefixes = edit(old.prefixes, [cidr for _, cidr in pool_store.taken(tx, pool_id)])
            pool.check_scope(tx, sight(context), replace(old, prefixes=prefixes))
            if any(parse_prefix(p).version != old.ip_version for p in prefixes):
                raise Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", why="prefix_version_mismatch")
            pool_store.change(tx, pool_id, {"prefixes": list(prefixes)})
            return pool_store.get(tx, sight(context), pool_id)

        return await self._ground.db.write(work)

    def _insert(self, tx: Tx, context: Context, owner: str, new: NewPool) -> SubnetPool:
        prefixes = pool.check_prefixes(new.prefixes)
        version: Literal[4, 6] = parse_prefix(prefixes[0]).version
        low = pool.SHORTEST[version] if new.min_prefixlen is None else new.min_prefixlen
        row = SubnetPool(
            id=self._ground.new_id(), project_id=owner, name=new.name, description=new.description, ip_version=version,
            scope_id=new.scope_id, prefixes=prefixes,
            default_prefixlen=low if new.default_prefixlen is None else new.default_prefixlen, min_prefixlen=low,
            max_prefixlen=pool.LONGEST[version] if new.max_prefixlen is None else new.max_prefixlen,
            default_quota=new.default_quota, is_default=new.is_default, tags=(), revision=1, created_at=tx.now,
            updated_at=tx.now, shared=new.shared,
        )  # fmt: skip
        pool.check_bounds(row)
        pool.check_scope(tx, sight(context), row)
        if row.is_default:
            _check_default(tx, row)
        quota.charge(tx, owner, f"subnetpool:{row.id}", {"subnetpool": 1})
        pool_store.add(tx, row)
        if new.shared:
            sharing.share(tx, self._ground, pool_store.POOL, row.id, owner)
        return row


class AddressScopeService:
    """Address scopes. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(
        self,
        context: Context,
        name: str,
        ip_version: Literal[4, 6],
        shared: bool = False,
        project_id: str | None = None,
    ) -> AddressScope:
        """Make an address scope. Raises QuotaExceeded, and Forbidden for a shared one without being administrator."""
        owner = target_project(context, project_id)
        _check_sharer(context, shared)

        def work(tx: Tx) -> AddressScope:
            row = AddressScope(self._ground.new_id(), owner, name, ip_version, tx.now, shared)
            quota.refuse_beyond("address_scope", MOST_SCOPES, pool_store.count_scopes(tx, owner))
            pool_store.add_scope(tx, row)
            if shared:
                sharing.share(tx, self._ground, pool_store.SCOPE, row.id, owner)
            return row

        return await self._ground.db.write(work)

    async def update(self, context: Context, scope_id: str, values: Mapping[str, Any]) -> AddressScope:
        """Set `name`, or make it `shared`, which it then stays. Raises NotFound, Forbidden, Invalid."""
        _check_sharer(context, bool(values.get("shared")))

        def work(tx: Tx) -> AddressScope:
            old = self._locked(tx, context, scope_id)
            if "name" in values:
                pool_store.rename_scope(tx, scope_id, values["name"])
            if old.shared and values.get("shared") is False:
                raise Invalid(
                    f"Unable to update address scope {scope_id} : Shared address scope can't be unshared",
                    why="address_scope_update_error",
                )
            if values.get("shared"):
                sharing.share(tx, self._ground, pool_store.SCOPE, scope_id, old.project_id)
            return pool_store.get_scope(tx, ALL, scope_id)

        return await self._ground.db.write(work)

    async def delete(self, context: Context, scope_id: str) -> None:
        """Delete an address scope. Raises NotFound, Conflict while a pool is in it."""

        def work(tx: Tx) -> None:
            self._locked(tx, context, scope_id)
            if pool_store.in_scope(tx, scope_id):
                raise Conflict(
                    f"Unable to complete operation on address scope {scope_id}. There are one or more subnet pools in "
                    "use on the address scope",
                    why="address_scope_in_use",
                )
            sharing.forget(tx, scope_id)
            pool_store.remove_scope(tx, scope_id)

        await self._ground.db.write(work)

    async def get(self, context: Context, scope_id: str) -> AddressScope:
        """One address scope that the caller may see. Raises NotFound."""
        return await self._ground.db.read(lambda tx: pool_store.get_scope(tx, sight(context), scope_id))

    async def find(self, context: Context, listing: Listing) -> list[AddressScope]:
        """A page of the address scopes that the caller may see."""
        return await self._ground.db.read(lambda tx: pool_store.find_scopes(tx, sight(context), listing))

    def _locked(self, tx: Tx, context: Context, scope_id: str) -> AddressScope:
        pool_store.lock_scope(tx, scope_id)
        found = pool_store.get_scope(tx, sight(context), scope_id)
        if not context.is_admin and found.project_id != context.project_id:
            raise NotFound(f"Address scope {scope_id} could not be found", why="address_scope_not_found")
        return found


def _check_sharer(context: Context, shared: bool) -> None:
    if shared and not context.is_admin:
        raise Forbidden("Only an administrator makes an address scope shared.", why="policy_not_authorized")


def _check_scope_owner(tx: Tx, context: Context, row: SubnetPool) -> None:
    """Raises Invalid when the prefixes of a pool in another project's address scope would change."""
    if row.scope_id is None or context.is_admin:
        return
    if pool_store.get_scope(tx, ALL, row.scope_id).project_id != context.project_id:
        raise Invalid(
            "Illegal subnetpool update : Subnetpool prefixes cannot be updated while in another project's address "
            "scope.",
            why="illegal_subnet_pool_update",
        )


def _grown(old: SubnetPool, texts: Sequence[str]) -> tuple[str, ...]:
    """Other prefixes that hold at least what was there. Raises Invalid."""
    new = pool.check_prefixes(texts)
    after = [parse_prefix(p) for p in new]
    for text in old.prefixes:
        prefix = parse_prefix(text)
        if not any(a.overlaps(prefix) and a.prefixlen <= prefix.prefixlen for a in after):
            raise Invalid(
                "Illegal subnetpool update : Existing prefixes must be a subset of the new prefixes.",
                why="illegal_subnet_pool_prefix_update",
            )
    return new


def _check_default(tx: Tx, row: SubnetPool) -> None:
    other = pool_store.default_id(tx, row.ip_version)
    if other is not None and other != row.id:
        raise Invalid(
            "Invalid input for operation: A default subnetpool for this IP family has already been set. Only one "
            "default may exist per IP family.",
            why="invalid_input",
        )
