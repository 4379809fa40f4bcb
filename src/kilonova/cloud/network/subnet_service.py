"""Commands and queries on subnets. Each holds the network's lock, as a subnet is part of its network's document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

from kilonova.cloud.network import (
    address_store,
    network_store,
    pool_store,
    port,
    port_store,
    router_store,
    subnet_store,
)
from kilonova.cloud.network import pool as pooling
from kilonova.cloud.network.address import (
    Prefix,
    check_gateway,
    check_mtu,
    check_pools,
    check_usable,
    default_gateway,
    default_pools,
    holds,
    parse_address,
    parse_prefix,
)
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.model import OWNER_DHCP, Change, Listing, Network, Pool, Route, Subnet
from kilonova.cloud.quota import store as quota
from kilonova.core.context import ALL, Context, Scope
from kilonova.core.errors import Conflict, Invalid
from kilonova.kit.db import Tx

MAX_DNS: Final = 5
MAX_ROUTES: Final = 20
MODES: Final = ("", "slaac", "dhcpv6-stateful", "dhcpv6-stateless")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubnet:
    """A subnet asked for. `gateway_ip`: an address, None for none, "" for the first; `pools` None: all but it.

    Its prefix is `cidr`, or comes from the pool `pool_id` or the default one: `cidr`, one of `prefixlen`, or any.
    """

    network_id: str
    cidr: str | None = None
    prefixlen: int | None = None
    pool_id: str | None = None
    use_default_pool: bool = False
    service_types: Sequence[str] = ()
    ip_version: int = 4
    name: str = ""
    description: str = ""
    gateway_ip: str | None = ""
    enable_dhcp: bool = True
    dns_servers: Sequence[str] = ()
    host_routes: Sequence[Route] = ()
    pools: Sequence[Pool] | None = None
    ra_mode: str = ""
    address_mode: str = ""


class SubnetService:
    """Subnets. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(self, context: Context, new: NewSubnet) -> Subnet:
        """Make a subnet in a network of the caller's own. Raises NotFound, Invalid, Conflict, QuotaExceeded."""
        return (await self.create_all(context, [new]))[0]

    async def create_all(self, context: Context, news: Sequence[NewSubnet]) -> list[Subnet]:
        """Make subnets, all or none; see `create`."""

        def work(tx: Tx) -> list[Subnet]:
            made = []
            for new in news:
                network_store.lock(tx, new.network_id)
                network = network_store.get_own(tx, sight(context), new.network_id)
                made.append(insert(tx, self._ground, network, new, sight(context)))
            return made

        return await self._ground.db.write(work)

    async def update(self, context: Context, subnet_id: str, values: Mapping[str, Any]) -> Subnet:
        """Set `name`, `description`, `gateway_ip`, `enable_dhcp`, `dns_servers`, `host_routes`, `pools` or
        `service_types`.

        Raises NotFound, Invalid, Conflict (gateway in a pool, or in use by a port).
        """

        def work(tx: Tx) -> Subnet:
            old = self._locked(tx, context, subnet_id)
            new = dict(values)
            pools = check_pools(parse_prefix(old.cidr), new.pop("pools"), None) if "pools" in new else old.pools
            if "gateway_ip" in new:
                new["gateway_ip"] = _changed_gateway(tx, old, new["gateway_ip"])
            check_gateway(new.get("gateway_ip", old.gateway_ip), pools)
            _check_lists(new.get("dns_servers", ()), new.get("host_routes", ()), parse_prefix(old.cidr))
            if "host_routes" in new:
                new["host_routes"] = [list(r) for r in new["host_routes"]]
            new.update({name: list(new[name]) for name in ("dns_servers", "service_types") if name in new})
            if pools != old.pools:
                subnet_store.replace_pools(tx, subnet_id, pools)
            subnet_store.change(tx, subnet_id, new)
            self._raise_network(tx, old.network_id)
            if "gateway_ip" in new:
                for router_id in router_store.with_gateway_in(tx, old.network_id):
                    router_store.change(tx, router_id)
                    self._ground.tell(tx, Change("router", router_id))
            return subnet_store.get(tx, None, subnet_id)

        return await self._ground.db.write(work)

    async def delete(self, context: Context, subnet_id: str) -> None:
        """Delete a subnet. Raises NotFound, Conflict while a port has one of its addresses."""

        def work(tx: Tx) -> None:
            old = self._locked(tx, context, subnet_id)
            if old.is_auto_address:
                port.forget_derived(tx, self._ground, old)
            served = {p.id for p in port_store.in_network(tx, old.network_id, OWNER_DHCP)}
            holders = address_store.holders(tx, subnet_id, len(served) + 1)
            if any(p not in served for p in holders):
                raise Conflict(
                    f"Unable to complete operation on subnet {subnet_id}: One or more ports have an IP allocation "
                    "from this subnet.",
                    why="subnet_in_use",
                )
            for port_id in holders:
                address_store.give_back(tx, port_id, [subnet_id])
            subnet_store.remove(tx, subnet_id)
            quota.refund(tx, f"subnet:{subnet_id}")
            self._raise_network(tx, old.network_id)

        await self._ground.db.write(work)

    async def get(self, context: Context, subnet_id: str) -> Subnet:
        """One subnet of a network that the caller may see. Raises NotFound."""
        scope = sight(context)
        visible = None if scope.is_all else network_store.visible_ids(scope)
        return await self._ground.db.read(lambda tx: subnet_store.get(tx, visible, subnet_id))

    async def find(self, context: Context, listing: Listing) -> list[Subnet]:
        """A page of the subnets of the networks that the caller may see."""
        scope = sight(context)
        visible = None if scope.is_all else network_store.visible_ids(scope)
        return await self._ground.db.read(lambda tx: subnet_store.find(tx, visible, listing, scope.project_id))

    def _locked(self, tx: Tx, context: Context, subnet_id: str) -> Subnet:
        scope = sight(context)
        found = subnet_store.get(tx, None if scope.is_all else network_store.owned_ids(scope), subnet_id)
        network_store.lock(tx, found.network_id)
        return subnet_store.get(tx, None, subnet_id)

    def _raise_network(self, tx: Tx, network_id: str) -> None:
        port.keep_dhcp(tx, self._ground, network_id)
        network_store.change(tx, network_id)
        self._ground.tell(tx, Change("network", network_id))


def insert(tx: Tx, ground: Ground, network: Network, new: NewSubnet, scope: Scope = ALL) -> Subnet:
    """Check, charge and store a subnet of `network`, whose lock the caller holds; `scope` must see its pool."""
    pool_id = _pool_of(tx, new)
    prefix = _prefix(tx, scope, network, new, pool_id)
    check_mtu(network.mtu, [prefix.version])
    check_usable(prefix)
    _check_modes(new, prefix)
    gateway = default_gateway(prefix) if new.gateway_ip == "" else _gateway(prefix, new.gateway_ip)
    pools = default_pools(prefix, gateway) if new.pools is None else check_pools(prefix, new.pools, gateway)
    _check_lists(new.dns_servers, new.host_routes, prefix)
    _check_overlap(prefix, network, subnet_store.of_network(tx, network.id))
    row = Subnet(
        id=ground.new_id(), network_id=network.id, project_id=network.project_id, name=new.name,
        description=new.description, ip_version=prefix.version, cidr=str(prefix), gateway_ip=gateway,
        enable_dhcp=new.enable_dhcp, dns_servers=tuple(new.dns_servers), host_routes=tuple(new.host_routes),
        ra_mode=new.ra_mode, address_mode=new.address_mode, tags=(), revision=1, created_at=tx.now, updated_at=tx.now,
        pools=pools, service_types=tuple(new.service_types), pool_id=pool_id, external=network.external,
    )  # fmt: skip
    quota.charge(tx, row.project_id, f"subnet:{row.id}", {"subnet": 1})
    subnet_store.add(tx, row)
    if row.is_auto_address:
        port.derive_all(tx, ground, row)
    port.keep_dhcp(tx, ground, network.id)
    network_store.change(tx, network.id)
    ground.tell(tx, Change("network", network.id))
    return row


def _pool_of(tx: Tx, new: NewSubnet) -> str | None:
    if new.use_default_pool:
        if new.pool_id is not None:
            raise Invalid("subnetpool_id and use_default_subnetpool cannot both be specified", why="bad_request")
        found = pool_store.default_id(tx, new.ip_version)
        if found is None:
            raise Invalid(f"No default subnetpool found for IPv{new.ip_version}", why="bad_request")
        return found
    return new.pool_id


def _prefix(tx: Tx, scope: Scope, network: Network, new: NewSubnet, pool_id: str | None) -> Prefix:
    if pool_id is not None:
        if new.cidr is not None and new.prefixlen is not None:
            raise Invalid("cidr and prefixlen cannot both be specified", why="bad_request")
        return pooling.cut(tx, scope, network, pool_id, new.ip_version, new.prefixlen, new.cidr)
    if new.prefixlen is not None:
        raise Invalid("A subnetpool must be specified with prefixlen", why="bad_request")
    if new.cidr is None:
        raise Invalid("a subnetpool must be specified in the absence of a cidr", why="bad_request")
    return parse_prefix(new.cidr, new.ip_version)


def _gateway(prefix: Prefix, text: str | None) -> str | None:
    if text is None:
        return None
    address = parse_address(text)
    if address.version == prefix.version and (
        holds(prefix, address) or (prefix.version == 6 and address.is_link_local)
    ):
        return str(address)
    raise Invalid(f"Gateway {address} is not valid on subnet {prefix}.", why="invalid_input")


def _changed_gateway(tx: Tx, old: Subnet, text: str | None) -> str | None:
    new = _gateway(parse_prefix(old.cidr), text)
    if old.gateway_ip is None or new == old.gateway_ip:
        return new
    holder = address_store.holder(tx, old.id, old.gateway_ip)
    owners = {p.device_owner for p in port_store.by_ids(tx, [holder] if holder else [])}
    if any(o.startswith("network:router") for o in owners):
        raise Conflict(
            f"Current gateway ip {old.gateway_ip} already in use by port {holder}. Unable to update.",
            why="gateway_ip_in_use",
        )
    return new


def _check_modes(new: NewSubnet, prefix: Prefix) -> None:
    if new.ra_mode not in MODES or new.address_mode not in MODES:
        raise Invalid("ipv6_ra_mode and ipv6_address_mode are slaac, dhcpv6-stateful or dhcpv6-stateless.")
    modes = {m for m in (new.ra_mode, new.address_mode) if m}
    if not modes:
        return
    if prefix.version == 4:
        raise Invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when ip_version is 4.", why="invalid_input")
    if not new.enable_dhcp:
        raise Invalid(
            "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.", why="invalid_input"
        )
    if len(modes) > 1:
        raise Invalid("ipv6_ra_mode and ipv6_address_mode must be the same when both are set.", why="invalid_input")
    if modes & {"slaac", "dhcpv6-stateless"} and prefix.prefixlen != 64:
        raise Invalid(f"Invalid CIDR {prefix} for IPv6 address mode. It must be a /64.", why="invalid_input")


def _check_lists(dns_servers: Sequence[str], host_routes: Sequence[Route], prefix: Prefix) -> None:
    if len(dns_servers) > MAX_DNS:
        raise Invalid(f"The number of DNS nameservers exceeds the limit {MAX_DNS}.", why="dns_name_servers_exhausted")
    if len(host_routes) > MAX_ROUTES:
        raise Invalid(f"The number of host routes exceeds the limit {MAX_ROUTES}.", why="host_routes_exhausted")
    for server in dns_servers:
        if parse_address(server).version != prefix.version:
            raise Invalid(
                f"The DNS nameserver {server} is not of the subnet's IP version {prefix.version}.", why="invalid_input"
            )
    for route in host_routes:
        target = parse_destination(route.destination)
        if target.version != prefix.version or parse_address(route.nexthop).version != prefix.version:
            raise Invalid(f"The host route to {target} is not of IP version {prefix.version}.", why="invalid_input")


def parse_destination(text: str) -> Prefix:
    """A route's destination: a prefix, or 0.0.0.0/0 or ::/0."""
    return ip_network(text) if text in ("0.0.0.0/0", "::/0") else parse_prefix(text)


def _check_overlap(prefix: Prefix, network: Network, others: Sequence[Subnet]) -> None:
    for other in others:
        theirs = parse_prefix(other.cidr)
        if theirs.version == prefix.version and theirs.overlaps(prefix):
            raise Invalid(
                f"Invalid input for operation: Requested subnet with cidr: {prefix} for network: {network.id} overlaps "
                "with another subnet.",
                why="invalid_input",
            )
