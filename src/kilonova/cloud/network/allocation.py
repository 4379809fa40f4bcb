"""NICs of servers: what may be asked for, ports made and bound for a boot, and their way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from kilonova.cloud.network import (
    address_store,
    document_store,
    floating_store,
    group_store,
    network_store,
    port_store,
    subnet_store,
)
from kilonova.cloud.network import port as porting
from kilonova.cloud.network.address import holds, parse_address, parse_prefix
from kilonova.cloud.network.ground import Ground, sight
from kilonova.cloud.network.group_service import check_alike, ensure_default
from kilonova.cloud.network.model import (
    ACTIVE,
    DEFAULT_GROUP,
    DOWN,
    OWNER_COMPUTE,
    Change,
    CheckedNic,
    CheckedNics,
    Guard,
    Network,
    Nic,
    NicAddress,
    NicRequest,
    NicsTold,
    Port,
    WantedIp,
)
from kilonova.cloud.quota import store as quota
from kilonova.core.context import ALL, Context, Scope
from kilonova.core.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded
from kilonova.kit.db import Tx
from kilonova.wire.network import PortDoc

OWNER: Final = f"{OWNER_COMPUTE}nova"
MOST: Final = 16
"""More NICs than this may find no slot on a guest's bus beside its disks."""
Requests = Sequence[NicRequest] | Literal["auto", "none"] | None


class Allocation:
    """The service that a boot flow calls; see each command for what it promises when it is called twice."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def check(self, context: Context, requests: Requests, groups: Sequence[str], count: int = 1) -> CheckedNics:
        """What a server may have, at the moment of asking; nothing is taken yet.

        None and "auto" mean the one network that the project can use; with none of them, None means no NIC. `groups`
        are names or ids. `count` servers shall get the same. Raises Invalid, Conflict, Forbidden and QuotaExceeded in
        the words of Nova.
        """

        def work(tx: Tx) -> CheckedNics:
            nics = tuple(self._check_all(tx, context, requests, count))
            self._check_quota(tx, context, sum(n.port_id is None for n in nics) * count)
            return CheckedNics(nics=nics, groups=_find_groups(tx, context, groups))

        return await self._ground.db.read(work)

    async def allocate(
        self, guard: Guard, *, project_id: str, server_id: str, host_id: str, hostname: str, nics: CheckedNics
    ) -> tuple[Nic, ...]:
        """Make and bind a server's ports on a host, in one transaction that `guard` opens.

        A NIC that has its port already keeps it; on another host it is bound there. Raises NoCapacity when no address
        is left, Conflict when a port or address was taken meanwhile, NotFound when its network is gone, QuotaExceeded.
        """

        def work(tx: Tx) -> tuple[Nic, ...]:
            guard(tx)
            has = {p.nic_index: p for p in port_store.of_device(tx, [server_id], OWNER_COMPUTE, lock=True)}
            blank = replace(
                porting.blank(tx, "", "", project_id),
                device_id=server_id, device_owner=OWNER, host_id=host_id, hostname=hostname, status=ACTIVE,
            )  # fmt: skip
            ports = [
                self._move(tx, has[index], host_id, hostname)
                if index in has
                else self.provide(tx, replace(blank, nic_index=index, tag=nic.tag), nic, nics.groups)
                for index, nic in enumerate(nics.nics)
            ]
            return _nics(tx, ports)

        return await self._ground.db.write(work)

    def release(self, tx: Tx, server_id: str) -> None:
        """Delete the ports made for a server and free those that a user brought; again does nothing."""
        found = port_store.of_device(tx, [server_id], OWNER_COMPUTE, lock=True)
        ports = [p for p in found if p.nic_index is not None]
        porting.remove(tx, self._ground, [p for p in ports if p.made])
        for port in ports:
            if not port.made:
                porting.free(tx, self._ground, port)

    def bind(self, tx: Tx, server_id: str, host_id: str | None) -> None:
        """Say on which host a server's NICs are, None for nowhere, and that no other expects them; again changes
        nothing."""
        self._settle(tx, server_id, {"host_id": host_id or "", "status": ACTIVE if host_id else DOWN})

    def expect(self, tx: Tx, server_id: str, host_id: str) -> None:
        """Let another host have a server's NICs too, until the server is bound again."""
        self._settle(tx, server_id, {"next_host_id": host_id})

    def _settle(self, tx: Tx, server_id: str, values: Mapping[str, str]) -> None:
        moving = {"next_host_id": "", **values}
        for port in port_store.of_device(tx, [server_id], OWNER_COMPUTE, lock=True):
            if port.nic_index is not None and any(getattr(port, name) != value for name, value in moving.items()):
                port_store.change(tx, port.id, moving)
                self._ground.tell(tx, Change("port", port.id))

    def port_docs(self, tx: Tx, server_id: str, host_id: str) -> tuple[PortDoc, ...]:
        """A server's NICs as its host needs them, in their order."""
        return document_store.port_docs(tx, server_id, host_id)

    def told(self, tx: Tx, server_ids: Sequence[str]) -> dict[str, NicsTold]:
        """What there is to say of servers' NICs; servers without any are absent."""
        found: dict[str, list[Port]] = {}
        for port in port_store.of_device(tx, server_ids, OWNER_COMPUTE):
            if port.nic_index is not None:
                found.setdefault(port.device_id, []).append(port)
        every = [p for ports in found.values() for p in ports]
        outside = floating_store.leading_to_ports(tx, [p.id for p in every])
        nics = iter([replace(nic, floating=tuple(outside.get(nic.port_id, ()))) for nic in _nics(tx, every)])
        names = group_store.known(tx, ALL, {g for p in every for g in p.groups})
        return {
            server: NicsTold(
                tuple(next(nics) for _ in ports),
                tuple(dict.fromkeys(names[g] for p in ports for g in p.groups if g in names)),
            )
            for server, ports in found.items()
        }

    def servers_of(self, tx: Tx, port_ids: Sequence[str]) -> list[str]:
        """The servers that have these ports."""
        found = {p.device_id for p in port_store.by_ids(tx, port_ids) if p.nic_index is not None}
        return sorted(found)

    async def ports(self, server_id: str) -> list[Port]:
        """The ports of a server's NICs, in their order."""

        def work(tx: Tx) -> list[Port]:
            return [p for p in port_store.of_device(tx, [server_id], OWNER_COMPUTE) if p.nic_index is not None]

        return await self._ground.db.read(work)

    def bound_servers(self, tx: Tx) -> list[tuple[str, str, bool]]:
        """Every NIC as (port, server, whether it was made for that server), for the audit."""
        return port_store.bound(tx)

    def _check_all(self, tx: Tx, context: Context, requests: Requests, count: int) -> list[CheckedNic]:
        if requests == "none":
            return []
        if requests is None or requests == "auto":
            network = self._only_network(tx, context)
            if network is None and requests == "auto":
                raise Invalid(f"Unable to automatically allocate a network for project {context.project_id}")
            return [CheckedNic(network_id=network.id)] if network else []
        if len(requests) > MOST:
            raise Invalid(f"A server can have {MOST} network interfaces at most")
        ports = [r.port_id for r in requests if r.port_id is not None]
        for port_id in ports:
            if ports.count(port_id) > 1:
                raise Conflict(f"Port {port_id} is still in use.")
        return [self.check_one(tx, context, r, count) for r in requests]

    def check_one(self, tx: Tx, context: Context, request: NicRequest, count: int = 1) -> CheckedNic:
        """What one NIC may be; see `check`."""
        if request.port_id is not None:
            return self._check_port(tx, context, request, count)
        if request.network_id is None:
            network = self._only_network(tx, context)
            if network is None:
                raise Invalid(f"Unable to automatically allocate a network for project {context.project_id}")
        else:
            network = self._check_network(tx, context, request.network_id)
        fixed_ip = None
        if request.fixed_ip is not None:
            if count > 1:
                raise Invalid(
                    "Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified."
                )
            fixed_ip = _check_address(tx, network, request.fixed_ip)
        return CheckedNic(network_id=network.id, fixed_ip=fixed_ip, tag=request.tag or "")

    def _check_network(self, tx: Tx, context: Context, network_id: str) -> Network:
        try:
            network = network_store.get(tx, sight(context), network_id)
        except NotFound:
            raise Invalid(f"Network {network_id[:64]} could not be found.") from None
        if network.external and not network.shared and not context.is_admin:
            raise Forbidden(f"It is not allowed to create an interface on external network {network_id}")
        if not network.subnets:
            raise Invalid(f"Network {network_id} requires a subnet in order to boot instances on.")
        return network

    def _check_port(self, tx: Tx, context: Context, request: NicRequest, count: int) -> CheckedNic:
        port_id = request.port_id or ""
        if count > 1:
            raise Invalid(
                "Failed to launch instances: Unable to launch multiple instances with a single configured port ID. "
                "Please launch your instance one by one with different ports."
            )
        if request.fixed_ip is not None:
            raise Invalid(
                f"Specified Fixed IP '{request.fixed_ip[:64]}' cannot be used with port '{port_id}': the two cannot be "
                "specified together."
            )
        try:
            port = port_store.get(tx, sight(context), port_id)
        except NotFound:
            raise Invalid(f"Port id {port_id[:64]} could not be found.") from None
        if port.project_id != context.project_id:
            raise Invalid(f"Port {port_id} not usable for this project.")
        if port.device_id:
            raise Conflict(f"Port {port_id} is still in use.")
        if not port.fixed_ips:
            raise Invalid(f"Port {port_id} requires a FixedIP in order to be used.")
        if network_store.get(tx, ALL, port.network_id).external:
            self._check_network(tx, context, port.network_id)
        return CheckedNic(network_id=port.network_id, port_id=port.id, tag=request.tag or "")

    def _only_network(self, tx: Tx, context: Context) -> Network | None:
        found = network_store.usable(tx, context.project_id or "")
        if len(found) > 1:
            raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
        return found[0] if found else None

    def _check_quota(self, tx: Tx, context: Context, needed: int) -> None:
        if not needed:
            return
        use = quota.uses(tx, context.project_id or "", ["port"])["port"]
        if use.room is not None and use.room < needed:
            raise QuotaExceeded(
                "Maximum number of ports exceeded", resource="port", limit=use.limit, used=use.used, requested=needed
            )

    def provide(self, tx: Tx, blank: Port, nic: CheckedNic, groups: Sequence[str]) -> Port:
        """A port for a NIC that has none yet: the user's own, or a new one."""
        network = network_store.hold(tx, nic.network_id)
        if nic.port_id is not None:
            return self._take(tx, blank, nic.port_id)
        port = replace(
            blank,
            id=self._ground.new_id(), network_id=network.id, made=True, port_security=network.port_security,
            groups=tuple(self._group_ids(tx, blank.project_id, groups)) if network.port_security else (),
        )  # fmt: skip
        wanted = None if nic.fixed_ip is None else [WantedIp(None, nic.fixed_ip)]
        return porting.make(tx, self._ground, port, wanted, subnet_store.of_network(tx, network.id))

    def _take(self, tx: Tx, blank: Port, port_id: str) -> Port:
        names = ("device_id", "device_owner", "host_id", "hostname", "status", "nic_index", "tag")
        if not port_store.bind(tx, port_id, {name: getattr(blank, name) for name in names}):
            raise Conflict(f"Port {port_id} is still in use.")
        self._ground.tell(tx, Change("port", port_id))
        return port_store.get(tx, ALL, port_id)

    def _move(self, tx: Tx, port: Port, host_id: str, hostname: str) -> Port:
        if (port.host_id, port.hostname) != (host_id, hostname):
            port_store.change(tx, port.id, {"host_id": host_id, "hostname": hostname, "status": ACTIVE})
            self._ground.tell(tx, Change("port", port.id))
        return port

    def _group_ids(self, tx: Tx, project_id: str, groups: Sequence[str]) -> list[str]:
        wanted = list(groups) or [DEFAULT_GROUP]
        ids = [ensure_default(tx, self._ground, project_id) if g == DEFAULT_GROUP else g for g in wanted]
        # Since they were asked for, a group may have gone, or be stateful no more.
        held = group_store.hold(tx, ids)
        for one in ids:
            if one not in held:
                raise NotFound(f"Security group {one} does not exist", why="security_group_not_found")
        check_alike(tx, ids)
        return ids


def _check_address(tx: Tx, network: Network, text: str) -> str:
    try:
        address = parse_address(text)
    except Invalid:
        raise Invalid(f"Invalid fixed IP address ({text[:64]})") from None
    for subnet in subnet_store.of_network(tx, network.id):
        if holds(parse_prefix(subnet.cidr), address):
            holder = address_store.holder(tx, subnet.id, str(address))
            if holder is not None:
                device = next((p.device_id for p in port_store.by_ids(tx, [holder])), "")
                raise Invalid(f"Fixed IP address {address} is already in use on instance {device}.")
            return str(address)
    raise Invalid(f"Fixed IP address ({address}) does not exist in network ({network.id}).")


def _find_groups(tx: Tx, context: Context, groups: Sequence[str]) -> tuple[str, ...]:
    """Ids of groups given by name or id; `default` stays, as it may have to be made yet."""
    project_id = context.project_id or ""
    wanted = [g for g in dict.fromkeys(groups) if g != DEFAULT_GROUP]
    known = group_store.known(tx, Scope(project_id), wanted)
    named = group_store.named(tx, project_id, [g for g in wanted if g not in known])
    found = [DEFAULT_GROUP] if DEFAULT_GROUP in groups else []
    for one in wanted:
        ids = [one] if one in known else named.get(one, [])
        if not ids:
            raise Invalid(f"Security group {one[:255]} not found for project {project_id}.")
        if len(ids) > 1:
            raise Conflict(f"Multiple security groups found matching '{one}'. Use an ID to be more specific.")
        found.append(ids[0])
    default = group_store.default_id(tx, project_id) if DEFAULT_GROUP in found else None
    check_alike(tx, [default or one if one == DEFAULT_GROUP else one for one in dict.fromkeys(found)])
    return tuple(dict.fromkeys(found))


def _nics(tx: Tx, ports: Sequence[Port]) -> tuple[Nic, ...]:
    names = network_store.names(tx, {p.network_id for p in ports})
    return tuple(
        Nic(
            port_id=p.id,
            network_id=p.network_id,
            network_label=names.get(p.network_id, ""),
            mac=p.mac,
            addresses=tuple(NicAddress(f.subnet_id, f.address, 6 if ":" in f.address else 4) for f in p.fixed_ips),
            created=p.made,
            tag=p.tag,
        )
        for p in ports
    )
