"""Commands and queries on routers, their interfaces and gateways. Each locks its router."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kilonova.cloud.network import floating_store, network_store, port_store, router_store, subnet_store
from kilonova.cloud.network import port as porting
from kilonova.cloud.network.address import parse_address, parse_prefix
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import (
    OWNER_GATEWAY,
    OWNER_INTERFACE,
    Change,
    FixedIp,
    Listing,
    Network,
    Port,
    Route,
    Router,
    Subnet,
    WantedIp,
)
from kilonova.cloud.network.network_service import target_project
from kilonova.cloud.network.subnet_service import parse_destination
from kilonova.cloud.quota import store as quota
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, Forbidden, Invalid, NotFound
from kilonova.kit.db import Tx

MAX_ROUTES: Final = 30


@dataclass(frozen=True, slots=True)
class NewGateway:
    """A gateway asked for; `fixed_ips` None: an address of each IP version."""

    network_id: str
    snat: bool = True
    fixed_ips: Sequence[WantedIp] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRouter:
    """A router asked for."""

    name: str = ""
    description: str = ""
    admin_up: bool = True
    gateway: NewGateway | None = None
    project_id: str | None = None


class RouterService:
    """Routers. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(self, context: Context, new: NewRouter) -> Router:
        """Make a router. Raises QuotaExceeded, and for its gateway as `update`."""
        project_id = target_project(context, new.project_id)
        return await self._ground.db.write(lambda tx: insert(tx, self._ground, context, project_id, new))

    async def update(self, context: Context, router_id: str, values: Mapping[str, Any]) -> Router:
        """Set `name`, `description`, `admin_up`, `routes` (of Route), or `gateway` (a NewGateway, or None for none).

        Raises NotFound, Invalid (not an external network, address not in it), Conflict, NoCapacity.
        """
        new = dict(values)

        def work(tx: Tx) -> Router:
            old = self._locked(tx, context, router_id)
            if "gateway" in new:
                _check_floating(tx, old, new["gateway"])
                set_gateway(tx, self._ground, context, old, new["gateway"])
            columns = {k: v for k, v in new.items() if k != "gateway"}
            if "routes" in columns:
                columns["routes"] = [list(r) for r in self._check_routes(tx, old, columns["routes"])]
            self._raise(tx, router_id, columns)
            return router_store.get(tx, ALL, router_id)

        return await self._ground.db.write(work)

    async def delete(self, context: Context, router_id: str) -> None:
        """Delete a router with its gateway. Raises NotFound, Conflict while it has interfaces or floating IPs."""

        def work(tx: Tx) -> None:
            self._locked(tx, context, router_id)
            ports = port_store.of_device(tx, [router_id], "network:router")
            has_floating = bool(floating_store.of_routers(tx, [router_id]))
            if has_floating or any(p.device_owner != OWNER_GATEWAY for p in ports):
                raise Conflict(f"Router {router_id} still has ports", why="router_in_use")
            porting.remove(tx, self._ground, ports)
            router_store.remove(tx, router_id)
            quota.refund(tx, f"router:{router_id}")
            self._ground.tell(tx, Change("router", router_id))

        await self._ground.db.write(work)

    async def get(self, context: Context, router_id: str) -> Router:
        """One router of the caller's project. Raises NotFound."""
        return await self._ground.db.read(lambda tx: router_store.get(tx, sight(context), router_id))

    async def find(self, context: Context, listing: Listing) -> list[Router]:
        """A page of the project's routers."""
        return await self._ground.db.read(lambda tx: router_store.find(tx, sight(context), listing))

    async def join_subnet(self, context: Context, router_id: str, subnet_id: str) -> Port:
        """Give a router the gateway address of a subnet. Returns its port there.

        Raises NotFound, Forbidden (the gateway of another project's subnet), Invalid (no gateway address, overlap with
        another leg), Conflict (address taken).
        """

        def work(tx: Tx) -> Port:
            router = self._locked(tx, context, router_id)
            scope = sight(context)
            visible = None if scope.is_all else network_store.visible_ids(scope)
            subnet = subnet_store.get(tx, visible, subnet_id)
            if not scope.is_all and subnet.project_id != scope.project_id:
                raise Forbidden(
                    f"Only the owner of subnet {subnet_id} has a router take its gateway address; others join a port.",
                    why="policy_not_authorized",
                )
            return join(tx, self._ground, router, subnet)

        return await self._ground.db.write(work)

    async def join_port(self, context: Context, router_id: str, port_id: str) -> Port:
        """Make a free port a router's leg.

        Raises NotFound, Forbidden (another project's port or outside network), Invalid (no address, overlap), Conflict
        (port in use).
        """

        def work(tx: Tx) -> Port:
            router = self._locked(tx, context, router_id)
            _check_inside(context, network_store.hold(tx, port_store.get(tx, sight(context), port_id).network_id))
            port_store.lock(tx, port_id)
            port = port_store.get_own(tx, sight(context), port_id)
            if port.device_id:
                raise _in_use(port)
            if not port.fixed_ips:
                raise _without_address()
            _check_overlap(tx, router, [subnet_store.get(tx, None, f.subnet_id) for f in port.fixed_ips])
            owned = replace(port, device_owner=OWNER_INTERFACE)
            values = {"device_id": router_id, "device_owner": OWNER_INTERFACE, "status": porting.status_of(owned)}
            if not port_store.bind(tx, port_id, values):
                raise _in_use(port)
            if port.groups:
                porting.regroup(tx, self._ground, port, ())
            self._raise(tx, router_id)
            return port_store.get(tx, ALL, port_id)

        return await self._ground.db.write(work)

    async def leave(
        self, context: Context, router_id: str, *, subnet_id: str | None = None, port_id: str | None = None
    ) -> Port:
        """Take a leg from a router, named by its subnet, its port, or both; the port is deleted. Returns what it was.

        Raises NotFound when there is no such leg.
        """

        def work(tx: Tx) -> Port:
            router = self._locked(tx, context, router_id)
            leg = _leg(tx, router_id, subnet_id, port_id)
            _check_needed(tx, router, _subnets_of(tx, [leg]))
            porting.remove(tx, self._ground, [leg])
            self._raise(tx, router_id)
            self._ground.tell(tx, Change("network", leg.network_id))
            return leg

        return await self._ground.db.write(work)

    async def add_routes(self, context: Context, router_id: str, routes: Sequence[Route]) -> Router:
        """Routes beside those that are there; the same again does nothing. Raises NotFound, Invalid."""
        return await self._reroute(context, router_id, lambda old: [*old, *(r for r in routes if r not in old)])

    async def remove_routes(self, context: Context, router_id: str, routes: Sequence[Route]) -> Router:
        """Take routes away; what is not there is no fault. Raises NotFound."""
        return await self._reroute(context, router_id, lambda old: [r for r in old if r not in routes])

    def _locked(self, tx: Tx, context: Context, router_id: str) -> Router:
        router_store.get(tx, sight(context), router_id)
        router_store.lock(tx, router_id)
        return router_store.get(tx, sight(context), router_id)

    async def _reroute(
        self, context: Context, router_id: str, edit: Callable[[Sequence[Route]], Sequence[Route]]
    ) -> Router:
        def work(tx: Tx) -> Router:
            old = self._locked(tx, context, router_id)
            new = self._check_routes(tx, old, edit(old.routes))
            self._raise(tx, router_id, {"routes": [list(r) for r in new]})
            return router_store.get(tx, ALL, router_id)

        return await self._ground.db.write(work)

    def _raise(self, tx: Tx, router_id: str, values: Mapping[str, Any] | None = None) -> None:
        router_store.change(tx, router_id, values)
        self._ground.tell(tx, Change("router", router_id))

    def _check_routes(self, tx: Tx, router: Router, routes: Sequence[Route]) -> Sequence[Route]:
        """Each next hop must lie in a network that the router is in."""
        if len(routes) > MAX_ROUTES:
            raise Invalid(f"Unable to set more than {MAX_ROUTES} routes of router {router.id}", why="routes_exhausted")
        ports = port_store.of_device(tx, [router.id], "network:router")
        legs = _subnets_of(tx, ports)
        own = {f.address for p in ports for f in p.fixed_ips}
        for route in routes:
            if parse_destination(route.destination).version != parse_address(route.nexthop).version:
                raise Invalid(
                    f"Invalid format for routes: {route.destination} by {route.nexthop}", why="invalid_routes"
                )
            if route.nexthop in own:
                raise Invalid(
                    f"Invalid format for routes: the nexthop {route.nexthop} is used by router", why="invalid_routes"
                )
            hop = parse_address(route.nexthop)
            if not any(hop in parse_prefix(s.cidr) for s in legs):
                raise Invalid(
                    f"Invalid format for routes: the nexthop {hop} is not connected with router",
                    why="invalid_routes",
                )
        return routes


def insert(tx: Tx, ground: Ground, context: Context, project_id: str, new: NewRouter) -> Router:
    """Store and charge a router, with its gateway."""
    row = Router(
        id=ground.new_id(), project_id=project_id, name=new.name, description=new.description, admin_up=new.admin_up,
        routes=(), tags=(), revision=1, created_at=tx.now, updated_at=tx.now,
    )  # fmt: skip
    quota.charge(tx, project_id, f"router:{row.id}", {"router": 1})
    router_store.add(tx, row)
    if new.gateway is not None:
        set_gateway(tx, ground, context, row, new.gateway)
    return router_store.get(tx, ALL, row.id)


def join(tx: Tx, ground: Ground, router: Router, subnet: Subnet) -> Port:
    """Give a router the gateway address of a subnet; see `RouterService.join_subnet`."""
    network_store.hold(tx, subnet.network_id)
    if subnet.gateway_ip is None:
        raise Invalid("Subnet for router interface must have a gateway IP", why="bad_request")
    _check_overlap(tx, router, [subnet])
    leg = replace(
        porting.blank(tx, ground.new_id(), subnet.network_id, router.project_id),
        device_id=router.id, device_owner=OWNER_INTERFACE, port_security=False,
    )  # fmt: skip
    made = porting.make(tx, ground, leg, [WantedIp(subnet.id, subnet.gateway_ip)], [subnet])
    router_store.change(tx, router.id)
    ground.tell(tx, Change("router", router.id))
    return made


def set_gateway(tx: Tx, ground: Ground, context: Context, router: Router, new: NewGateway | None) -> None:
    """Replace a router's gateway; the same network and no addresses named keeps the leg that it has."""
    old = router.gateway
    same = old is not None and new is not None and old.network_id == new.network_id and new.fixed_ips is None
    if not same:
        porting.remove(tx, ground, port_store.of_device(tx, [router.id], OWNER_GATEWAY))
        if new is not None:
            _make_gateway(tx, ground, context, router, new)
    values = {"gateway_network_id": new.network_id if new else None, "snat": new.snat if new else True}
    router_store.change(tx, router.id, values)


def _check_floating(tx: Tx, router: Router, new: NewGateway | None) -> None:
    """Raises Conflict when the gateway would leave a network whose floating IPs lead through it."""
    old = router.gateway
    if old is None or (new is not None and new.network_id == old.network_id):
        return
    if floating_store.of_routers(tx, [router.id]):
        raise Conflict(
            f"Gateway cannot be updated for router {router.id}, since a gateway to external network {old.network_id} "
            "is required by one or more floating IPs.",
            why="router_external_gateway_in_use_by_floating_ip",
        )


def _make_gateway(tx: Tx, ground: Ground, context: Context, router: Router, new: NewGateway) -> None:
    network_store.get(tx, sight(context), new.network_id)
    network = network_store.hold(tx, new.network_id)
    if not network.external:
        raise Invalid(f"Bad router request: Network {network.id} is not an external network.", why="bad_request")
    subnets = subnet_store.of_network(tx, network.id)
    _check_overlap(tx, replace(router, gateway=None), subnets)
    # The leg belongs to no project: the caller sees the router, not the outside network's ports.
    leg = replace(
        porting.blank(tx, ground.new_id(), network.id, ""),
        device_id=router.id, device_owner=OWNER_GATEWAY, port_security=False,
    )  # fmt: skip
    porting.make(tx, ground, leg, new.fixed_ips, subnets)


def check_moved(tx: Tx, before: Port, after: Port) -> None:
    """Raises Invalid or Conflict when a leg whose addresses changed cannot serve its router any more: see `join_port`
    and `leave`. The caller has locked the router."""
    router = router_store.get(tx, ALL, after.device_id)
    joined = _subnets_of(tx, [after])
    if not joined:
        raise _without_address()
    _check_needed(tx, router, [s for s in _subnets_of(tx, [before]) if s not in joined])
    _check_overlap(tx, router, joined, but=after.id)


def _check_needed(tx: Tx, router: Router, subnets: Sequence[Subnet]) -> None:
    """Raises Conflict while a floating IP or a route needs the router's leg in one of these subnets."""
    floating = floating_store.of_routers(tx, [router.id]).get(router.id, ())
    led = {(f.port_id, f.fixed_address) for f in floating}
    led |= {(one.port_id, one.address) for f in floating for one in f.forwardings}
    ports = port_store.by_ids(tx, {port_id for port_id, _ in led if port_id is not None})
    needed = {f.subnet_id for p in ports for f in p.fixed_ips if (p.id, f.address) in led}
    if needed & {s.id for s in subnets}:
        raise Conflict(
            f"Router interface for subnet {subnets[0].id} on router {router.id} cannot be deleted, as it is "
            "required by one or more floating IPs.",
            why="router_interface_in_use_by_floating_ip",
        )
    if any(parse_address(r.nexthop) in parse_prefix(s.cidr) for r in router.routes for s in subnets):
        raise Conflict(
            f"Router interface for subnet {subnets[0].id} on router {router.id} cannot be deleted, as it is "
            "required by one or more routes.",
            why="router_interface_in_use_by_route",
        )


def _check_inside(context: Context, network: Network) -> None:
    if network.external and not context.is_admin and network.project_id != context.project_id:
        raise Forbidden(
            f"Only the owner of external network {network.id} joins a router's leg to it.", why="policy_not_authorized"
        )


def _check_overlap(tx: Tx, router: Router, joining: Sequence[Subnet], but: str = "") -> None:
    legs = _subnets_of(tx, [p for p in port_store.of_device(tx, [router.id], OWNER_INTERFACE) if p.id != but])
    outside = [router.gateway.network_id] if router.gateway else []
    others = [*legs, *(s for found in subnet_store.of_networks(tx, outside).values() for s in found)]
    for new in joining:
        prefix = parse_prefix(new.cidr)
        for other in others:
            if other.id == new.id:
                raise Invalid(f"Bad router request: Router already has a port on subnet {new.id}.", why="bad_request")
            theirs = parse_prefix(other.cidr)
            if theirs.version == prefix.version and theirs.overlaps(prefix):
                raise Invalid(
                    f"Bad router request: Cidr {new.cidr} of subnet {new.id} overlaps with cidr {other.cidr} of "
                    f"subnet {other.id}.",
                    why="bad_request",
                )


def _without_address() -> Invalid:
    return Invalid("Router port must have at least one fixed IP", why="bad_request")


def _in_use(port: Port) -> Conflict:
    return Conflict(
        f"Unable to complete operation on port {port.id} for network {port.network_id}. Port already has an attached "
        f"device {port.device_id}.",
        why="port_in_use",
    )


def _subnets_of(tx: Tx, ports: Sequence[Port]) -> list[Subnet]:
    fixed: set[FixedIp] = {f for p in ports for f in p.fixed_ips}
    return [subnet_store.get(tx, None, i) for i in sorted({f.subnet_id for f in fixed})]


def _leg(tx: Tx, router_id: str, subnet_id: str | None, port_id: str | None) -> Port:
    for leg in port_store.of_device(tx, [router_id], OWNER_INTERFACE):
        if port_id is not None and leg.id != port_id:
            continue
        if subnet_id is None or any(f.subnet_id == subnet_id for f in leg.fixed_ips):
            return leg
    if subnet_id is not None:
        raise NotFound(
            f"Router {router_id} has no interface on subnet {subnet_id}",
            why="router_interface_not_found_for_subnet",
        )
    raise NotFound(f"Router {router_id} does not have an interface with id {port_id}", why="router_interface_not_found")
