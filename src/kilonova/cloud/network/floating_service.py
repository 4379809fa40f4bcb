"""Commands and queries on floating IPs. Each locks the floating IP, then the router that it leads through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kilonova.cloud.network import floating_store, network_store, port_store, router_store, subnet_store
from kilonova.cloud.network import port as porting
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import OWNER_FLOATING, Change, FloatingIp, Listing, Network, Port, WantedIp
from kilonova.cloud.network.network_service import target_project
from kilonova.cloud.quota import store as quota
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFloatingIp:
    """A floating IP asked for: any address of the network, one of a subnet, or this one; with `port_id` it leads there
    (to `fixed_address`, or to the port's only IPv4 address)."""

    network_id: str
    subnet_id: str | None = None
    address: str | None = None
    port_id: str | None = None
    fixed_address: str | None = None
    description: str = ""
    project_id: str | None = None


class FloatingIpService:
    """Floating IPs. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(self, context: Context, new: NewFloatingIp) -> FloatingIp:
        """Take an outside address. Raises NotFound (also when no router connects), Invalid, Conflict, NoCapacity,
        QuotaExceeded."""
        project_id = target_project(context, new.project_id)

        def work(tx: Tx) -> FloatingIp:
            network_store.get(tx, sight(context), new.network_id)
            network = network_store.hold(tx, new.network_id)
            if not network.external:
                raise _bad(f"Network {network.id} is not a valid external network")
            identifier = self._ground.new_id()
            quota.charge(tx, project_id, f"floatingip:{identifier}", {"floatingip": 1})
            outside = self._take(tx, identifier, network, new)
            row = FloatingIp(
                id=identifier, project_id=project_id, description=new.description, network_id=network.id,
                address=outside.fixed_ips[0].address, floating_port_id=outside.id, port_id=None, fixed_address=None,
                router_id=None, tags=(), revision=1, created_at=tx.now, updated_at=tx.now,
            )  # fmt: skip
            floating_store.add(tx, row)
            if new.port_id is not None:
                self._associate(tx, context, row, new.port_id, new.fixed_address)
            return floating_store.get(tx, ALL, identifier)

        return await self._ground.db.write(work)

    async def update(self, context: Context, floating_ip_id: str, values: Mapping[str, Any]) -> FloatingIp:
        """Set `description`; `port_id` (None: lead nowhere, as does no value at all) and `fixed_address`. Raises as
        `create`."""

        def work(tx: Tx) -> FloatingIp:
            old = self.locked(tx, context, floating_ip_id)
            given = dict(values)
            port_id = given.pop("port_id", old.port_id if values else None)
            fixed = given.pop("fixed_address", None)
            if not values or "port_id" in values or fixed is not None:
                self._lead(tx, context, old, port_id, fixed)
            if given:
                floating_store.change(tx, floating_ip_id, given)
            return floating_store.get(tx, ALL, floating_ip_id)

        return await self._ground.db.write(work)

    async def delete(self, context: Context, floating_ip_id: str) -> None:
        """Give an outside address back. Raises NotFound, Conflict while it has forwardings."""

        def work(tx: Tx) -> None:
            old = self.locked(tx, context, floating_ip_id)
            if old.forwardings:
                raise _forwarding(old)
            porting.remove_floating(tx, self._ground, [old])

        await self._ground.db.write(work)

    async def get(self, context: Context, floating_ip_id: str) -> FloatingIp:
        """One floating IP of the caller's project. Raises NotFound."""
        return await self._ground.db.read(lambda tx: floating_store.get(tx, sight(context), floating_ip_id))

    async def find(self, context: Context, listing: Listing) -> list[FloatingIp]:
        """A page of the project's floating IPs."""
        return await self._ground.db.read(lambda tx: floating_store.find(tx, sight(context), listing))

    async def ports(self, rows: Sequence[FloatingIp]) -> dict[str, Port]:
        """The ports that these floating IPs lead to, by id."""
        wanted = {r.port_id for r in rows if r.port_id is not None}
        if not wanted:
            return {}
        return {p.id: p for p in await self._ground.db.read(lambda tx: port_store.by_ids(tx, wanted))}

    def locked(self, tx: Tx, context: Context, floating_ip_id: str) -> FloatingIp:
        """One floating IP of the caller's, which nobody else changes until the commit. Raises NotFound."""
        floating_store.get(tx, sight(context), floating_ip_id)
        floating_store.lock(tx, floating_ip_id)
        return floating_store.get(tx, sight(context), floating_ip_id)

    def raise_router(self, tx: Tx, router_id: str | None) -> None:
        """What leads through this router is other now."""
        if router_id is not None:
            router_store.change(tx, router_id)
            self._ground.tell(tx, Change("router", router_id))

    def route(self, tx: Tx, context: Context, row: FloatingIp, port_id: str, wanted: str | None) -> tuple[str, str]:
        """The address of a port that a floating IP shall lead to, and the router between, which is locked.

        Raises NotFound, Invalid (no such address, several), Conflict (it is led to already).
        """
        port_store.lock(tx, port_id)
        port = port_store.get(tx, sight(context), port_id)
        if port.project_id != row.project_id and not context.is_admin:
            raise _bad("Cannot process floating IP association with Port, since that port is owned by another tenant")
        subnet_id, address = _choose(port, wanted)
        router_id = router_store.between(tx, row.network_id, subnet_id)
        if router_id is None:
            raise NotFound(
                f"External network {row.network_id} is not reachable from subnet {subnet_id}.  Therefore, cannot "
                f"associate Port {port_id} with a Floating IP.",
                why="external_gateway_for_floating_ip_not_found",
            )
        router_store.lock(tx, router_id)
        if router_store.between(tx, row.network_id, subnet_id) != router_id:
            raise Conflict(f"Router {router_id} is being changed.", why="router_in_use")
        return address, router_id

    def _take(self, tx: Tx, identifier: str, network: Network, new: NewFloatingIp) -> Port:
        subnets = [s for s in subnet_store.of_network(tx, network.id) if s.ip_version == 4]
        if not subnets:
            raise _bad(f"Network {network.id} does not contain any IPv4 subnet")
        is_free = new.address is None and new.subnet_id is None
        wanted = None if is_free else [WantedIp(new.subnet_id, new.address)]
        outside = replace(
            porting.blank(tx, self._ground.new_id(), network.id, ""),
            device_id=identifier, device_owner=OWNER_FLOATING, port_security=False,
        )  # fmt: skip
        return porting.make(tx, self._ground, outside, wanted, subnets)

    def _lead(self, tx: Tx, context: Context, old: FloatingIp, port_id: str | None, fixed: str | None) -> None:
        if old.forwardings:
            raise _forwarding(old)
        if port_id is None and fixed is not None:
            raise _bad("fixed_ip_address cannot be specified without a port_id")
        self.raise_router(tx, old.router_id)
        if old.port_id is not None:
            self._ground.tell(tx, Change("port", old.port_id))
        floating_store.change(tx, old.id, {"port_id": None, "fixed_address": None, "router_id": None})
        if port_id is not None:
            self._associate(tx, context, old, port_id, fixed)

    def _associate(self, tx: Tx, context: Context, row: FloatingIp, port_id: str, wanted: str | None) -> None:
        address, router_id = self.route(tx, context, row, port_id, wanted)
        other = floating_store.leading_to(tx, port_id, address, row.network_id)
        if other is not None and other.id != row.id:
            raise Conflict(
                f"Cannot associate floating IP {row.address} ({row.id}) with port {port_id} using fixed IP {address}, "
                f"as that fixed IP already has a floating IP on external network {row.network_id}.",
                why="floating_ip_port_already_associated",
            )
        if floating_store.forwarded(tx, port_id, address):
            raise Conflict(
                f"Cannot associate floating IP {row.address} ({row.id}) with port {port_id} using fixed IP {address}, "
                "as that fixed IP already has port forwardings.",
                why="floating_ip_port_already_associated",
            )
        floating_store.change(tx, row.id, {"port_id": port_id, "fixed_address": address, "router_id": router_id})
        self.raise_router(tx, router_id)
        self._ground.tell(tx, Change("port", port_id))


def _choose(port: Port, wanted: str | None) -> tuple[str, str]:
    """Subnet and address."""
    found = [f for f in port.fixed_ips if ":" not in f.address]
    if wanted is not None:
        found = [f for f in found if f.address == wanted]
        if not found:
            raise _bad(f"Port {port.id} does not have fixed ip {wanted[:64]}")
    if not found:
        raise _bad(f"Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses")
    if len(found) > 1:
        raise _bad(
            f"Port {port.id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a "
            "floating IP"
        )
    return found[0].subnet_id, found[0].address


def _forwarding(row: FloatingIp) -> Conflict:
    return Conflict(f"Floating IP {row.id} in use by Port Forwarding resources.", why="fip_in_use_by_port_forwarding")


def _bad(reason: str) -> Invalid:
    return Invalid(f"Bad floatingip request: {reason}.", why="bad_request")
