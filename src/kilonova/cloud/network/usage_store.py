"""Which projects use an object that somebody else owns, and how full networks are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Select, func, select, union

from kilonova.cloud.network.address_group_store import KIND as ADDRESS_GROUP
from kilonova.cloud.network.address_store import address
from kilonova.cloud.network.floating_store import floating_ip
from kilonova.cloud.network.grant_store import EXTERNAL, SHARED
from kilonova.cloud.network.group_store import KIND as GROUP
from kilonova.cloud.network.group_store import rule
from kilonova.cloud.network.listing_store import chunks
from kilonova.cloud.network.model import OWNER_DHCP, OWNER_FLOATING
from kilonova.cloud.network.network_store import KIND as NETWORK
from kilonova.cloud.network.pool_store import POOL, SCOPE, subnet_pool
from kilonova.cloud.network.port_store import membership, port
from kilonova.cloud.network.router_store import router
from kilonova.cloud.network.subnet_store import subnet
from kilonova.kit.db import Tx


def _ports(network_id: str) -> Select[Any]:
    query = select(port.c.project_id).where(port.c.network_id == network_id)
    return query.where(port.c.device_owner.not_in((OWNER_DHCP, OWNER_FLOATING)))


def _outside(network_id: str) -> Select[Any]:
    routers = select(router.c.project_id).where(router.c.gateway_network_id == network_id)
    floating = select(floating_ip.c.project_id).where(floating_ip.c.network_id == network_id)
    return select(union(routers, floating).subquery().c.project_id)


def _members(group_id: str) -> Select[Any]:
    inside = select(membership.c.port_id).where(membership.c.group_id == group_id)
    members = select(port.c.project_id).where(port.c.id.in_(inside))
    referring = select(rule.c.project_id).where(rule.c.remote_group == group_id)
    return select(union(members, referring).subquery().c.project_id)


_USERS: Final[Mapping[tuple[str, str], Callable[[str], Select[Any]]]] = MappingProxyType(
    {
        (NETWORK, SHARED): _ports,
        (NETWORK, EXTERNAL): _outside,
        (GROUP, SHARED): _members,
        (ADDRESS_GROUP, SHARED): lambda i: select(rule.c.project_id).where(rule.c.remote_addresses == i),
        (POOL, SHARED): lambda i: select(subnet.c.project_id).where(subnet.c.pool_id == i),
        (SCOPE, SHARED): lambda i: select(subnet_pool.c.project_id).where(subnet_pool.c.scope_id == i),
    }
)
ACTIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {kind: frozenset(a for k, a in _USERS if k == kind) for kind, _ in _USERS}
)
"""What may be granted, by kind of object."""


def users(tx: Tx, object_type: str, object_id: str, action: str) -> set[str]:
    """Projects that use an object in the way that `action` allows."""
    return set(tx.execute(_USERS[object_type, action](object_id).distinct()).scalars())


def addresses_used(tx: Tx, subnet_ids: list[str]) -> dict[str, int]:
    """How many addresses are taken, by subnet."""
    found: dict[str, int] = {}
    for some in chunks(subnet_ids):
        query = select(address.c.subnet_id, func.count().label("used")).where(address.c.subnet_id.in_(some))
        found.update((r.subnet_id, int(r.used)) for r in tx.execute(query.group_by(address.c.subnet_id)))
    return found
