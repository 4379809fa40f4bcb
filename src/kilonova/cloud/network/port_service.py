"""Commands and queries on ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kilonova.cloud.network import network_store, port_store, router_store, subnet_store
from kilonova.cloud.network import port as porting
from kilonova.cloud.network.address import check_pairs, parse_mac
from kilonova.cloud.network.dhcp_option import WantedOption, merge
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.group_service import resolve_groups
from kilonova.cloud.network.model import OWNER_INTERFACE, OWNER_SYSTEM, Change, Listing, Port, WantedIp
from kilonova.cloud.network.network_service import target_project
from kilonova.cloud.network.router_service import check_moved
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, Invalid
from kilonova.kit.db import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPort:
    """A port asked for. `fixed_ips` and `groups` None: as it comes (an address of each IP version, the default group);
    `port_security` None: as its network has it."""

    network_id: str
    name: str = ""
    description: str = ""
    admin_up: bool = True
    mac: str = ""
    fixed_ips: Sequence[WantedIp] | None = None
    groups: Sequence[str] | None = None
    device_id: str = ""
    device_owner: str = ""
    host_id: str = ""
    port_security: bool | None = None
    allowed_pairs: Sequence[tuple[str, str | None]] = ()
    dhcp_options: Sequence[WantedOption] = ()
    vnic_type: str = "normal"
    profile: Mapping[str, Any] = field(default_factory=dict)
    project_id: str | None = None


class PortService:
    """Ports. Every command is one transaction; what the caller may not see is NotFound."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def create(self, context: Context, new: NewPort) -> Port:
        """Make a port in a network that the caller may see.

        Raises NotFound, Invalid, Conflict (MAC or address in use), NoCapacity, QuotaExceeded.
        """
        return (await self.create_all(context, [new]))[0]

    async def create_all(self, context: Context, news: Sequence[NewPort]) -> list[Port]:
        """Make ports, all or none; see `create`."""
        owners = [target_project(context, new.project_id) for new in news]
        for new in news:
            if new.device_owner.startswith(OWNER_SYSTEM):
                raise Invalid(f"'{new.device_owner[:64]}' ports are made by kilonova itself.", why="invalid_input")

        def work(tx: Tx) -> list[Port]:
            return [self._insert(tx, context, owner, new) for owner, new in zip(owners, news, strict=True)]

        return await self._ground.db.write(work)

    async def update(self, context: Context, port_id: str, values: Mapping[str, Any]) -> Port:
        """Set `name`, `description`, `admin_up`, `device_id`, `device_owner`, `host_id`, `mac`, `port_security`,
        `fixed_ips` (of WantedIp), `groups`, `allowed_pairs`, `dhcp_options` (those not named stay), `vnic_type` or
        `profile`. Raises NotFound, Forbidden (another project's port), Invalid, Conflict, NoCapacity."""
        new = dict(values)
        _check_vnic(new.get("vnic_type", "normal"))
        if "mac" in new:
            new["mac"] = parse_mac(new["mac"])
        wanted, groups = new.pop("fixed_ips", None), new.pop("groups", None)

        def work(tx: Tx) -> Port:
            old = port_store.get_own(tx, sight(context), port_id)
            if old.device_owner == OWNER_INTERFACE:
                router_store.lock(tx, old.device_id)
            network_store.hold(tx, old.network_id)
            port_store.lock(tx, port_id)
            old = port_store.get_own(tx, sight(context), port_id)
            changed = {**new, **_lists(old, new)}
            self._regroup(tx, context, old, new.get("port_security", old.port_security), groups)
            if wanted is not None:
                self._readdress(tx, old, wanted)
            if not changed.get("port_security", old.port_security) and changed.get("allowed_pairs", old.allowed_pairs):
                raise _secured()
            if changed:
                self._set(tx, old, changed)
            return port_store.get(tx, ALL, port_id)

        return await self._ground.db.write(work)

    async def delete(self, context: Context, port_id: str) -> None:
        """Delete a port. Raises NotFound, Conflict while a server, router or DHCP server uses it: a guest whose port
        vanished would stand on the network without a filter."""

        def work(tx: Tx) -> None:
            port_store.get(tx, sight(context), port_id)
            port_store.lock(tx, port_id)
            old = port_store.get(tx, sight(context), port_id)
            if old.device_owner.startswith(OWNER_SYSTEM):
                raise Conflict(
                    f"Port {port_id} cannot be deleted directly via the port API: has device owner {old.device_owner}.",
                    why="service_port_in_use",
                )
            if old.nic_index is not None:
                raise _attached(old)
            porting.remove(tx, self._ground, [old])

        await self._ground.db.write(work)

    async def get(self, context: Context, port_id: str) -> Port:
        """One port of the caller's project or networks. Raises NotFound."""
        return await self._ground.db.read(lambda tx: port_store.get(tx, sight(context), port_id))

    async def find(self, context: Context, listing: Listing) -> list[Port]:
        """A page of the ports of the caller's project and networks."""
        return await self._ground.db.read(lambda tx: port_store.find(tx, sight(context), listing))

    def _insert(self, tx: Tx, context: Context, project_id: str, new: NewPort) -> Port:
        network_store.get(tx, sight(context), new.network_id)
        network = network_store.hold(tx, new.network_id)
        security = network.port_security if new.port_security is None else new.port_security
        if not security and (new.groups or new.allowed_pairs):
            raise _secured()
        _check_vnic(new.vnic_type)
        groups = resolve_groups(tx, self._ground, project_id, new.groups, sight(context)) if security else []
        row = replace(
            porting.blank(tx, self._ground.new_id(), network.id, project_id),
            name=new.name, description=new.description, admin_up=new.admin_up,
            mac=parse_mac(new.mac) if new.mac else self._ground.new_mac() if new.allowed_pairs else "",
            device_id=new.device_id, device_owner=new.device_owner, host_id=new.host_id, port_security=security,
            groups=tuple(groups), dhcp_options=merge((), new.dhcp_options), vnic_type=new.vnic_type,
            profile=new.profile,
        )  # fmt: skip
        row = replace(row, allowed_pairs=check_pairs(new.allowed_pairs, row.mac))
        return porting.make(tx, self._ground, row, new.fixed_ips, subnet_store.of_network(tx, network.id))

    def _regroup(self, tx: Tx, context: Context, old: Port, security: bool, groups: Sequence[str] | None) -> None:
        if groups is None:
            if not security and old.groups:
                raise _secured()
            return
        if groups and not security:
            raise _secured()
        ids = resolve_groups(tx, self._ground, old.project_id, groups, sight(context))
        if set(ids) != set(old.groups):
            porting.regroup(tx, self._ground, old, ids)

    def _readdress(self, tx: Tx, old: Port, wanted: Sequence[WantedIp]) -> None:
        if old.device_owner.startswith(OWNER_SYSTEM) and old.device_owner != OWNER_INTERFACE:
            raise _attached(old)
        porting.readdress(tx, self._ground, old, wanted, subnet_store.of_network(tx, old.network_id))
        if old.device_owner == OWNER_INTERFACE:
            check_moved(tx, old, port_store.get(tx, ALL, old.id))

    def _set(self, tx: Tx, old: Port, new: Mapping[str, Any]) -> None:
        is_used = old.nic_index is not None or old.device_owner.startswith(OWNER_SYSTEM)
        fixed = ("device_id", "device_owner", "mac", "host_id") if is_used else ()
        if any(new.get(name, getattr(old, name)) != getattr(old, name) for name in fixed):
            raise _attached(old)
        if not is_used and str(new.get("device_owner", "")).startswith(OWNER_SYSTEM):
            raise Invalid(f"'{new['device_owner'][:64]}' ports are made by kilonova itself.", why="invalid_input")
        known = ("admin_up", "host_id", "device_owner")
        status = porting.status_of(replace(old, **{k: v for k, v in new.items() if k in known}))
        port_store.change(tx, old.id, {**new, "status": status})
        self._ground.tell(tx, Change("port", old.id))
        porting.raise_owner(tx, self._ground, old)
        if new.get("mac", old.mac) != old.mac:
            subnets = subnet_store.of_network(tx, old.network_id)
            porting.derive_again(tx, replace(old, mac=new["mac"]), subnets)


def _lists(old: Port, new: Mapping[str, Any]) -> dict[str, Any]:
    """Pairs and options as they will be."""
    found: dict[str, Any] = {}
    if "allowed_pairs" in new:
        found["allowed_pairs"] = check_pairs(new["allowed_pairs"], new.get("mac", old.mac))
    if "dhcp_options" in new:
        found["dhcp_options"] = merge(old.dhcp_options, new["dhcp_options"])
    return found


def _check_vnic(kind: str) -> None:
    if kind != "normal":
        raise Invalid(f"binding:vnic_type '{kind[:32]}' is not available: NICs are 'normal' ones.", why="invalid_input")


def _attached(port: Port) -> Conflict:
    return Conflict(
        f"Unable to complete operation on port {port.id} for network {port.network_id}. Port already has an attached "
        f"device {port.device_id}.",
        why="port_in_use",
    )


def _secured() -> Conflict:
    return Conflict(
        "Port security must be enabled in order to have allowed address pairs or security groups on a port.",
        why="port_security_port_has_security_group",
    )
