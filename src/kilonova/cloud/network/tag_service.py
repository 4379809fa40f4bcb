"""Tags of whatever has them (Networking API reference, "Standard Attributes Tag Extension")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kilonova.cloud.network import (
    floating_store,
    group_store,
    network_store,
    pool_store,
    port_store,
    router_store,
    subnet_store,
)
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import Subnet
from kilonova.core.context import ALL, Context, Scope
from kilonova.core.errors import Invalid, NotFound
from kilonova.kit.db import Tx

MOST: Final = 50


class _Kind(NamedTuple):
    get: Callable[[Tx, Scope, str], Any]
    own: Callable[[Tx, Scope, str], Any]
    lock: Callable[[Tx, str], None]
    change: Callable[[Tx, str, Mapping[str, Any]], None]


def _subnet(tx: Tx, scope: Scope, subnet_id: str) -> Subnet:
    return subnet_store.get(tx, None if scope.is_all else network_store.visible_ids(scope), subnet_id)


def _own_subnet(tx: Tx, scope: Scope, subnet_id: str) -> Subnet:
    return subnet_store.get(tx, None if scope.is_all else network_store.owned_ids(scope), subnet_id)


def _lock_subnet(tx: Tx, subnet_id: str) -> None:
    network_store.lock(tx, subnet_store.get(tx, None, subnet_id).network_id)


_KINDS: Final[Mapping[str, _Kind]] = MappingProxyType(
    {
        "networks": _Kind(network_store.get, network_store.get_own, network_store.lock, network_store.change),
        "subnets": _Kind(_subnet, _own_subnet, _lock_subnet, subnet_store.change),
        "ports": _Kind(port_store.get, port_store.get_own, port_store.lock, port_store.change),
        "routers": _Kind(router_store.get, router_store.get, router_store.lock, router_store.change),
        "floatingips": _Kind(floating_store.get, floating_store.get, floating_store.lock, floating_store.change),
        "subnetpools": _Kind(pool_store.get, pool_store.get_own, pool_store.lock, pool_store.change),
        "security-groups": _Kind(
            group_store.get, group_store.get_own, group_store.lock, lambda tx, i, v: group_store.change(tx, [i], v)
        ),
    }
)
KINDS: Final = tuple(_KINDS)
"""Collections whose members have tags."""


class TagService:
    """Tags. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def get(self, context: Context, kind: str, identifier: str) -> tuple[str, ...]:
        """The tags of one member of the collection `kind`. Raises NotFound."""
        found = await self._ground.db.read(lambda tx: _KINDS[kind].get(tx, sight(context), identifier))
        return tuple(found.tags)

    async def replace(self, context: Context, kind: str, identifier: str, tags: Sequence[str]) -> tuple[str, ...]:
        """Exactly these tags from now on. Raises NotFound, Invalid, Forbidden (a port seen, but not the caller's)."""
        return await self._edit(context, kind, identifier, lambda old: list(tags))

    async def add(self, context: Context, kind: str, identifier: str, tags: Sequence[str]) -> tuple[str, ...]:
        """These tags too; raises as `replace`."""
        return await self._edit(context, kind, identifier, lambda old: [*old, *tags])

    async def remove(self, context: Context, kind: str, identifier: str, tag: str) -> None:
        """Not this tag any more. Raises NotFound, of the tag too."""

        def without(old: tuple[str, ...]) -> list[str]:
            if tag not in old:
                raise NotFound(f"Tag {tag[:64]} could not be found.", why="tag_not_found")
            return [t for t in old if t != tag]

        await self._edit(context, kind, identifier, without)

    async def _edit(
        self, context: Context, kind: str, identifier: str, edit: Callable[[tuple[str, ...]], list[str]]
    ) -> tuple[str, ...]:
        one = _KINDS[kind]

        def work(tx: Tx) -> tuple[str, ...]:
            one.own(tx, sight(context), identifier)
            one.lock(tx, identifier)
            old = one.get(tx, ALL, identifier).tags
            new = sorted(set(edit(old)))
            if len(new) > MOST:
                raise Invalid(f"The number of tags exceed the per-resource limit of {MOST}", why="bad_request")
            if new != list(old):
                one.change(tx, identifier, {"tags": new})
            return tuple(new)

        return await self._ground.db.write(work)
