"""Commands and queries on address groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

from kilonova.cloud.network import address_group_store, group_store, sharing
from kilonova.cloud.network.address import parse_any_prefix
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import AddressGroup, Change, Listing
from kilonova.cloud.network.network_service import target_project
from kilonova.cloud.quota import store as quota
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Tx

MOST: Final = 1000
MOST_GROUPS: Final = 100
"""A project's address groups; the Networking API has no quota for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAddressGroup:
    """An address group asked for."""

    name: str = ""
    description: str = ""
    addresses: Sequence[str] = ()
    project_id: str | None = None


class AddressGroupService:
    """Address groups. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(self, context: Context, new: NewAddressGroup) -> AddressGroup:
        """Make an address group. Raises Invalid for what is no address or prefix, QuotaExceeded."""
        project_id = target_project(context, new.project_id)
        addresses = tuple(sorted({_prefix(text) for text in new.addresses}, key=_order))

        def work(tx: Tx) -> AddressGroup:
            row = AddressGroup(
                id=self._ground.new_id(), project_id=project_id, name=new.name, description=new.description,
                addresses=addresses, revision=1, created_at=tx.now, updated_at=tx.now,
            )  # fmt: skip
            quota.refuse_beyond("address_group", MOST_GROUPS, address_group_store.count(tx, project_id))
            address_group_store.add(tx, row)
            return row

        return await self._ground.db.write(work)

    async def update(self, context: Context, group_id: str, values: Mapping[str, Any]) -> AddressGroup:
        """Set `name` or `description`. Raises NotFound."""

        def work(tx: Tx) -> AddressGroup:
            address_group_store.get_own(tx, sight(context), group_id)
            address_group_store.change(tx, group_id, values)
            return address_group_store.get(tx, sight(context), group_id)

        return await self._ground.db.write(work)

    async def add(self, context: Context, group_id: str, texts: Sequence[str]) -> AddressGroup:
        """Add addresses; what is there already stays. Raises NotFound, Invalid."""
        return await self._edit(context, group_id, {_prefix(t) for t in texts}, set())

    async def take(self, context: Context, group_id: str, texts: Sequence[str]) -> AddressGroup:
        """Take addresses away. Raises NotFound (also of an address that is not there), Invalid."""
        return await self._edit(context, group_id, set(), {normal(t) for t in texts})

    async def delete(self, context: Context, group_id: str) -> None:
        """Delete a group. Raises NotFound, Conflict while a rule refers to it."""

        def work(tx: Tx) -> None:
            address_group_store.lock(tx, group_id)
            address_group_store.get_own(tx, sight(context), group_id)
            if group_store.addressed(tx, group_id):
                raise Conflict(
                    f"Address group {group_id} is in use on one or more security group rules.",
                    why="address_group_in_use",
                )
            sharing.forget(tx, group_id)
            address_group_store.remove(tx, group_id)

        await self._ground.db.write(work)

    async def get(self, context: Context, group_id: str) -> AddressGroup:
        """One group that the caller may see. Raises NotFound."""
        return await self._ground.db.read(lambda tx: address_group_store.get(tx, sight(context), group_id))

    async def find(self, context: Context, listing: Listing) -> list[AddressGroup]:
        """A page of the groups that the caller may see."""
        return await self._ground.db.read(lambda tx: address_group_store.find(tx, sight(context), listing))

    async def _edit(self, context: Context, group_id: str, more: set[str], less: set[str]) -> AddressGroup:
        def work(tx: Tx) -> AddressGroup:
            address_group_store.lock(tx, group_id)
            old = address_group_store.get_own(tx, sight(context), group_id)
            missing = sorted(less - set(old.addresses))
            if missing:
                raise NotFound(
                    f"Addresses {missing[:16]} not found in the address group {group_id}.",
                    why="address_group_addresses_not_found",
                )
            addresses = sorted((set(old.addresses) | more) - less, key=_order)
            if len(addresses) > MOST:
                raise Invalid(f"An address group holds at most {MOST} addresses.", why="invalid_input")
            address_group_store.change(tx, group_id, {"addresses": addresses})
            self._ground.tell(tx, Change("addresses", group_id))
            return address_group_store.get(tx, ALL, group_id)

        return await self._ground.db.write(work)


def _prefix(text: str) -> str:
    if "/" not in text:
        raise Invalid(f"'{text[:64]}' is not a recognized CIDR, '{normal(text)}' is recommended", why="invalid_input")
    return normal(text)


def normal(text: str) -> str:
    """An address or prefix as a prefix in its shortest form. Raises Invalid."""
    return str(parse_any_prefix(text))


def _order(text: str) -> tuple[int, int, int]:
    prefix = ip_network(text)
    return prefix.version, int(prefix.network_address), prefix.prefixlen
