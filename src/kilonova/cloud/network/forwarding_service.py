"""Commands and queries on port forwardings of floating IPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kilonova.cloud.network import floating_store
from kilonova.cloud.network.floating_service import FloatingIpService
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import FloatingIp, Forwarding, Listing
from kilonova.core.context import Context
from kilonova.core.errors import Conflict, Invalid
from kilonova.kit.db import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class NewForwarding:
    """A port forwarding asked for. Ranges are (first, last); `address` None: the port's only IPv4 address."""

    protocol: str
    external: tuple[int, int]
    internal: tuple[int, int]
    port_id: str
    address: str | None = None
    description: str = ""


class ForwardingService:
    """Port forwardings. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground, floating: FloatingIpService) -> None:
        self._ground = ground
        self._floating = floating

    async def create(self, context: Context, floating_ip_id: str, new: NewForwarding) -> Forwarding:
        """Let ports of a floating IP lead to a port's. Raises NotFound, Invalid, Conflict (the floating IP leads to one
        port as a whole, its ports are used, or its other forwardings go through another router)."""

        def work(tx: Tx) -> Forwarding:
            floating = self._floating.locked(tx, context, floating_ip_id)
            if floating.port_id is not None:
                raise Conflict(
                    f"Bad port_forwarding request: Floating IP {floating.id} is already associated to port "
                    f"{floating.port_id}",
                    why="fip_in_use",
                )
            row = self._placed(tx, context, floating, self._ground.new_id(), new)
            floating_store.add_forwarding(tx, row)
            return row

        return await self._ground.db.write(work)

    async def update(
        self, context: Context, floating_ip_id: str, forwarding_id: str, values: Mapping[str, Any]
    ) -> Forwarding:
        """Set any member of `NewForwarding`. Raises as `create`."""

        def work(tx: Tx) -> Forwarding:
            floating = self._floating.locked(tx, context, floating_ip_id)
            old = floating_store.get_forwarding(tx, floating_ip_id, forwarding_id)
            moved = values.get("port_id", old.port_id) != old.port_id
            present = NewForwarding(
                protocol=old.protocol, external=(old.external_min, old.external_max),
                internal=(old.internal_min, old.internal_max), port_id=old.port_id,
                address=None if moved else old.address, description=old.description,
            )  # fmt: skip
            row = self._placed(tx, context, floating, old.id, replace(present, **values))
            floating_store.change_forwarding(
                tx, old.id,
                {
                    "protocol": row.protocol, "external_min": row.external_min, "external_max": row.external_max,
                    "port_id": row.port_id, "address": row.address, "internal_min": row.internal_min,
                    "internal_max": row.internal_max, "description": row.description,
                },
            )  # fmt: skip
            return row

        return await self._ground.db.write(work)

    async def delete(self, context: Context, floating_ip_id: str, forwarding_id: str) -> None:
        """Take a port forwarding away. Raises NotFound."""

        def work(tx: Tx) -> None:
            floating = self._floating.locked(tx, context, floating_ip_id)
            floating_store.get_forwarding(tx, floating_ip_id, forwarding_id)
            floating_store.remove_forwarding(tx, forwarding_id)
            last = len(floating.forwardings) == 1
            floating_store.change(tx, floating_ip_id, {"router_id": None} if last else {})
            self._floating.raise_router(tx, floating.router_id)

        await self._ground.db.write(work)

    async def get(self, context: Context, floating_ip_id: str, forwarding_id: str) -> Forwarding:
        """One port forwarding of a floating IP of the caller's. Raises NotFound."""

        def work(tx: Tx) -> Forwarding:
            floating_store.get(tx, sight(context), floating_ip_id)
            return floating_store.get_forwarding(tx, floating_ip_id, forwarding_id)

        return await self._ground.db.read(work)

    async def find(self, context: Context, floating_ip_id: str, listing: Listing) -> list[Forwarding]:
        """A page of a floating IP's port forwardings. Raises NotFound."""

        def work(tx: Tx) -> list[Forwarding]:
            floating_store.get(tx, sight(context), floating_ip_id)
            return floating_store.find_forwardings(tx, floating_ip_id, listing)

        return await self._ground.db.read(work)

    def _placed(
        self, tx: Tx, context: Context, floating: FloatingIp, identifier: str, new: NewForwarding
    ) -> Forwarding:
        """The row that is wanted, checked; the floating IP then leads through its router."""
        _check_ranges(new)
        others = [f for f in floating.forwardings if f.id != identifier]
        _check_free(floating, others, new)
        address, router_id = self._floating.route(tx, context, floating, new.port_id, new.address)
        led = floating_store.leading_to(tx, new.port_id, address, floating.network_id)
        if led is not None:
            raise Conflict(
                f"Port {new.port_id} is already associated to floating IP {led.id}.",
                why="port_has_binding_floating_ip",
            )
        if others and router_id != floating.router_id:
            raise Invalid(
                f"Bad port_forwarding request: floating IP {floating.id} leads through router {floating.router_id}.",
                why="bad_request",
            )
        floating_store.change(tx, floating.id, {"router_id": router_id})
        self._floating.raise_router(tx, router_id)
        if floating.router_id != router_id:
            self._floating.raise_router(tx, floating.router_id)
        return Forwarding(
            identifier, floating.id, new.protocol, *new.external, new.port_id, address, *new.internal, new.description
        )


def _check_ranges(new: NewForwarding) -> None:
    (low, high), (first, last) = new.external, new.internal
    if not (1 <= low <= high <= 65535 and 1 <= first <= last <= 65535):
        raise Invalid("Bad port_forwarding request: a range goes from 1 up to 65535.", why="bad_request")
    if last - first not in (0, high - low):
        raise Invalid(
            "Bad port_forwarding request: The number of internal ports must be one or that of the external ports.",
            why="bad_request",
        )


def _check_free(floating: FloatingIp, others: Sequence[Forwarding], new: NewForwarding) -> None:
    (low, high), (first, last) = new.external, new.internal
    for one in (o for o in others if o.protocol == new.protocol):
        same = one.port_id == new.port_id and new.address in (None, one.address)
        inside = same and first <= one.internal_max and one.internal_min <= last
        if inside or (low <= one.external_max and one.external_min <= high):
            raise Invalid(
                f"Bad port_forwarding request: A duplicate port forwarding entry with same attributes already exists, "
                f"conflicting values are {{'floatingip_id': '{floating.id}', 'external_port': {low}, 'protocol': "
                f"'{new.protocol}'}}.",
                why="duplicate_port_forwarding",
            )
