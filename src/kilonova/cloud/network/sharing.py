"""What granting and revoking mean. Works inside the caller's transaction, who holds the object's lock."""

from __future__ import annotations

from kilonova.cloud.network import grant_store, network_store, usage_store
from kilonova.cloud.network.grant_store import EVERYONE, EXTERNAL, SHARED
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.model import Change, Grant
from kilonova.cloud.quota import store as quota
from kilonova.core.errors import Conflict
from kilonova.kit.db import Tx


def share(tx: Tx, ground: Ground, object_type: str, object_id: str, owner: str, action: str = SHARED) -> None:
    """Let every project have it; again does nothing."""
    grant_store.add(tx, Grant(ground.new_id(), owner, object_type, object_id, action, EVERYONE, tx.now))


def unshare(tx: Tx, object_type: str, object_id: str, owner: str, action: str = SHARED) -> None:
    """Let no longer every project have it. Raises Conflict while one uses it that has no grant of its own."""
    for one in grant_store.of(tx, object_id, action):
        if one.target == EVERYONE:
            check_unused(tx, one, owner)
            forget_one(tx, one.id)


def forget_one(tx: Tx, grant_id: str) -> None:
    """Delete a grant and refund it."""
    grant_store.remove(tx, grant_id)
    quota.refund(tx, f"rbac_policy:{grant_id}")


def forget(tx: Tx, object_id: str) -> None:
    """An object is going: so do its grants."""
    for grant_id in grant_store.remove_of(tx, object_id):
        quota.refund(tx, f"rbac_policy:{grant_id}")


def settle(tx: Tx, ground: Ground, object_type: str, object_id: str) -> None:
    """Let a network's columns say what its grants say."""
    if object_type != network_store.KIND:
        return
    grants = grant_store.of(tx, object_id)
    values = {
        "shared": any(g.action == SHARED and g.target == EVERYONE for g in grants),
        "external": any(g.action == EXTERNAL for g in grants),
    }
    network_store.change(tx, object_id, values)
    ground.tell(tx, Change("network", object_id))


def check_unused(tx: Tx, gone: Grant, owner: str, instead: str | None = None) -> None:
    """Raises Conflict when a project that has `gone` uses the object, and no other grant lets it (nor one to the
    project `instead`, which is about to be)."""
    left = {g.target for g in grant_store.of(tx, gone.object_id, gone.action) if g.id != gone.id}
    left |= set() if instead is None else {instead}
    if EVERYONE in left:
        return
    using = usage_store.users(tx, gone.object_type, gone.object_id, gone.action) - left - {owner, ""}
    if gone.target != EVERYONE:
        using &= {gone.target}
    if gone.action == EXTERNAL and gone.target == EVERYONE and not left:
        # A network that is external for nobody is external no more, also for its owner.
        using = usage_store.users(tx, gone.object_type, gone.object_id, gone.action)
    if using:
        raise Conflict(
            f"RBAC policy on object {gone.object_id} cannot be removed because other objects depend on it.\n"
            f"Details: {gone.object_type} {gone.object_id} is in use by {len(using)} projects",
            why="rbac_policy_in_use",
        )
