"""What a subnet pool must be, and how a prefix is cut from it. Works inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilonova.cloud.network import pool_store, subnet_store
from kilonova.cloud.network.address import Prefix, disjoint, first_free, parse_any_prefix, parse_prefix
from kilonova.cloud.network.model import Network
from kilonova.cloud.network.pool_model import SubnetPool
from kilonova.core.context import ALL, Scope
from kilonova.core.errors import Conflict, Invalid, QuotaExceeded
from kilonova.kit.db import Tx

SHORTEST: Final = {4: 8, 6: 64}
LONGEST: Final = {4: 32, 6: 128}
UNIT: Final = {4: 32, 6: 64}
"""The prefix length that a pool's quota counts in."""


def check_prefixes(texts: Sequence[str]) -> tuple[str, ...]:
    """Prefixes of one IP version, joined where they touch. Raises Invalid."""
    prefixes = [_masked(text) for text in texts]
    if not prefixes:
        raise Invalid("Invalid input for prefixes. Reason: at least one prefix is needed.", why="http_bad_request")
    if len({p.version for p in prefixes}) > 1:
        raise Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", why="prefix_version_mismatch")
    return disjoint([str(p) for p in prefixes])


def check_bounds(pool: SubnetPool) -> None:
    """Raises Invalid when the prefix lengths contradict one another."""
    longest = LONGEST[pool.ip_version]
    low, high, usual = pool.min_prefixlen, pool.max_prefixlen, pool.default_prefixlen
    for name, value in (("min_prefixlen", low), ("max_prefixlen", high), ("default_prefixlen", usual)):
        if not 1 <= value <= longest:
            raise _bounds(f"{name}={value}, it must be from 1 to {longest}")
    if low > high:
        raise _bounds(f"min_prefixlen={low}, max_prefixlen={high}")
    if not low <= usual <= high:
        raise _bounds(f"default_prefixlen={usual} is not from min_prefixlen={low} to max_prefixlen={high}")


def check_scope(tx: Tx, scope: Scope, pool: SubnetPool) -> None:
    """Whether a pool may be in its address scope, which is locked. Raises NotFound, Invalid, Conflict (overlap)."""
    if pool.scope_id is None:
        return
    pool_store.lock_scope(tx, pool.scope_id)
    found = pool_store.get_scope(tx, scope, pool.scope_id)
    if found.ip_version != pool.ip_version:
        raise Invalid(
            f"Illegal subnetpool association: subnetpool {pool.id} cannot associate with address scope {found.id} "
            f"because subnetpool ip_version is not {found.ip_version}.",
            why="illegal_subnet_pool_ip_version_association",
        )
    mine = [parse_prefix(p) for p in pool.prefixes]
    for other in pool_store.in_scope(tx, found.id):
        if other.id != pool.id and any(parse_prefix(p).overlaps(m) for p in other.prefixes for m in mine):
            raise Conflict(
                "Failed to associate address scope: subnetpools within an address scope must have unique prefixes.",
                why="address_scope_prefix_conflict",
            )


def cut(
    tx: Tx, scope: Scope, network: Network, pool_id: str, version: int, length: int | None, cidr: str | None
) -> Prefix:
    """A prefix for a subnet of `network` from a pool: this one, one of this length, or one of the usual length.

    Locks the pool. Raises NotFound, Invalid, Conflict (none is left, or that one is taken), QuotaExceeded.
    """
    pool_store.lock(tx, pool_id)
    pool = pool_store.get(tx, scope, pool_id)
    if pool.ip_version != version:
        raise Invalid(f"Cannot allocate IPv{version} subnet from IPv{pool.ip_version} subnet pool", why="bad_request")
    _check_affinity(tx, network, pool)
    wanted = None if cidr is None else parse_prefix(cidr, version)
    length = wanted.prefixlen if wanted else pool.default_prefixlen if length is None else length
    _check_length(pool, length)
    rows = pool_store.taken(tx, pool_id)
    taken = [parse_prefix(c) for _, c in rows]
    _check_quota(pool, [parse_prefix(c) for project, c in rows if project == network.project_id], length)
    prefixes = [parse_prefix(p) for p in pool.prefixes]
    if wanted is None:
        found = first_free(prefixes, taken, length)
        if found is None:
            raise _none("Insufficient prefix space to allocate subnet size /" + str(length))
        return found
    if not any(_within(wanted, p) for p in prefixes) or any(t.overlaps(wanted) for t in taken):
        raise _none("Cannot allocate requested subnet from the available set of prefixes")
    return wanted


def _masked(text: str) -> Prefix:
    """A prefix, of which the bits of hosts do not count."""
    return parse_prefix(str(parse_any_prefix(text)))


def _check_affinity(tx: Tx, network: Network, pool: SubnetPool) -> None:
    """Subnets of one version in a network come from one pool, or from pools of one address scope."""
    for other in subnet_store.of_network(tx, network.id):
        if other.ip_version != pool.ip_version or other.pool_id == pool.id:
            continue
        theirs = None if other.pool_id is None else pool_store.get(tx, ALL, other.pool_id).scope_id
        if theirs is None or theirs != pool.scope_id:
            raise Invalid(
                "Subnets hosted on the same network must be allocated from the same subnet pool.",
                why="network_subnet_pool_affinity_error",
            )


def _check_length(pool: SubnetPool, length: int) -> None:
    if length < pool.min_prefixlen:
        raise Invalid(
            f"Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {pool.min_prefixlen}.",
            why="min_prefix_subnet_allocation_error",
        )
    if length > pool.max_prefixlen:
        raise Invalid(
            f"Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {pool.max_prefixlen}.",
            why="max_prefix_subnet_allocation_error",
        )


def _check_quota(pool: SubnetPool, mine: Sequence[Prefix], length: int) -> None:
    if pool.default_quota is None:
        return
    unit = UNIT[pool.ip_version]
    used = sum(_units(p.prefixlen, unit) for p in mine)
    if used + _units(length, unit) > pool.default_quota:
        raise QuotaExceeded(
            "Per-tenant subnet pool prefix quota exceeded.",
            resource="subnetpool", limit=pool.default_quota, used=used, requested=_units(length, unit),
        )  # fmt: skip


def _units(length: int, unit: int) -> int:
    return 1 << max(0, unit - length)


def _within(inner: Prefix, outer: Prefix) -> bool:
    return outer.prefixlen <= inner.prefixlen and outer.overlaps(inner)


def _bounds(reason: str) -> Invalid:
    return Invalid(f"Illegal prefix bounds: {reason}.", why="illegal_subnet_pool_prefix_bounds")


def _none(reason: str) -> Conflict:
    return Conflict(f"Failed to allocate subnet: {reason}.", why="subnet_allocation_error")
