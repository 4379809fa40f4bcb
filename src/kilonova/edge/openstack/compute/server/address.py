"""Security groups and addresses of a server by the old actions; the Network API says the same of its ports."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.network.model import Group, Listing, Port, Rule, WantedIp
from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.service import ServerService
from kilonova.core.context import Context
from kilonova.core.errors import Conflict, Invalid, NoCapacity, NotFound
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import ADDRESS, NAME, UUID, boxed, record
from kilonova.edge.openstack.compute.server.attempt import PATH
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Handler
from kilonova.kit.http.schema import JsonSchema

LAST: Final = (2, 43)
"""The last microversion with the actions on addresses."""


def _floating(action: str) -> JsonSchema:
    more = {"fixed_address": ADDRESS} if action == "addFloatingIp" else {}
    return boxed(action, record({"address": {"type": "string", "format": "ipv4"}, **more}, "address"))


class AddressActionRoutes:
    """Handlers of what changes the ports of a server."""

    def __init__(self, servers: ServerService, networks: NetworkServices) -> None:
        self._servers = servers
        self._networks = networks

    def routes(self) -> list[Route]:
        groups, fixed, floating = "os-security-groups", "os-multinic", "os-floating-ips"
        group = record({"name": NAME}, "name")
        return [
            Route("GET", "/servers/{server_id}/os-security-groups", self.list_groups, f"{PREFIX}{groups}:list"),
            self._action("addSecurityGroup", self.add_group, f"{groups}:add", boxed("addSecurityGroup", group)),
            self._action("removeSecurityGroup", self.remove_group, f"{groups}:remove",
                         boxed("removeSecurityGroup", group)),
            self._action("addFixedIp", self.add_fixed, f"{fixed}:add",
                         boxed("addFixedIp", record({"networkId": UUID}, "networkId")), LAST),
            self._action("removeFixedIp", self.remove_fixed, f"{fixed}:remove",
                         boxed("removeFixedIp", record({"address": ADDRESS}, "address")), LAST),
            self._action("addFloatingIp", self.add_floating, f"{floating}:add", _floating("addFloatingIp"), LAST),
            self._action("removeFloatingIp", self.remove_floating, f"{floating}:remove",
                         _floating("removeFloatingIp"), LAST),
        ]  # fmt: skip

    def _action(
        self, action: str, handler: Handler, rule: str, body: JsonSchema, last: tuple[int, int] | None = None
    ) -> Route:
        return Route("POST", PATH, handler, PREFIX + rule, schema=body, action=action, success=202, max_version=last)

    async def list_groups(self, request: Request) -> dict[str, Any]:
        """API reference "List Security Groups By Server": with their rules for what comes in."""
        _, ports = await self._ports(request)
        wanted = tuple(dict.fromkeys(group for port in ports for group in port.groups))
        found = await self._networks.groups.find(request.context, Listing(filters={"id": wanted})) if wanted else []
        names = {group.id: group for group in found}
        return {"security_groups": [show_group(names[one], names) for one in wanted if one in names]}

    async def add_group(self, request: Request) -> None:
        """Put every port of the server that takes groups into one more."""
        server, ports = await self._ports(request)
        group_id = await self._find_group(request, server, request.json["addSecurityGroup"]["name"])
        able = [port for port in ports if port.port_security]
        if not able:
            raise Invalid(
                "Network requires port_security_enabled and subnet associated in order to apply security groups."
            )
        for port in able:
            if group_id not in port.groups:
                await self._networks.ports.update(request.context, port.id, {"groups": [*port.groups, group_id]})

    async def remove_group(self, request: Request) -> None:
        server, ports = await self._ports(request)
        name = request.json["removeSecurityGroup"]["name"]
        group_id = await self._find_group(request, server, name)
        members = [port for port in ports if group_id in port.groups]
        if not members:
            raise NotFound(f"Security group {name} not associated with the instance {server.id}")
        for port in members:
            left = [one for one in port.groups if one != group_id]
            await self._networks.ports.update(request.context, port.id, {"groups": left})

    async def add_fixed(self, request: Request) -> None:
        """One more address on a network that the server is on."""
        server, ports = await self._ports(request)
        network_id = request.json["addFixedIp"]["networkId"]
        port = next((port for port in ports if port.network_id == network_id), None)
        if port is None:
            raise NotFound(f"Instance {server.id} is not on network {network_id}")
        has = {ip.subnet_id for ip in port.fixed_ips}
        more = WantedIp(min(has) if has else None, None)
        try:
            await self._readdress(request.context, port, [*_addresses(port), more])
        except NoCapacity as failure:
            raise Invalid(failure.message) from None

    async def remove_fixed(self, request: Request) -> None:
        server, ports = await self._ports(request)
        address = request.json["removeFixedIp"]["address"]
        for port in ports:
            left = [one for one in _addresses(port) if one.address != address]
            if len(left) < len(port.fixed_ips):
                await self._readdress(request.context, port, left)
                return
        raise Invalid(f"Instance {server.id} doesn't have fixed IP '{address}'.")

    async def add_floating(self, request: Request) -> None:
        """Let an outside address lead to the server: to this address of it, or to its first IPv4 one."""
        server, ports = await self._ports(request)
        wanted = request.json["addFloatingIp"]
        outside, inside = wanted["address"], wanted.get("fixed_address")
        known = {ip.address: port for port in ports for ip in port.fixed_ips if ":" not in ip.address}
        if not known:
            raise Invalid(f"No fixed IPs associated to instance {server.id}")
        if inside is not None and inside not in known:
            raise Invalid("Specified fixed address not assigned to instance")
        fixed = inside or next(iter(known))
        change = {"port_id": known[fixed].id, "fixed_address": fixed}
        await self._networks.floating_ips.update(request.context, await self._find_floating(request, outside), change)

    async def remove_floating(self, request: Request) -> None:
        server, ports = await self._ports(request)
        address = request.json["removeFloatingIp"]["address"]
        floating_id = await self._find_floating(request, address)
        leads = (await self._networks.floating_ips.get(request.context, floating_id)).port_id
        if leads not in {port.id for port in ports}:
            raise Conflict(f"Floating IP {address} is not associated with instance {server.id}.")
        await self._networks.floating_ips.update(request.context, floating_id, {"port_id": None})

    async def _ports(self, request: Request) -> tuple[Server, list[Port]]:
        server = await self._servers.get(reach(request), server_id(request))
        return server, await self._networks.allocation.ports(server.id)

    async def _readdress(self, context: Context, port: Port, wanted: list[WantedIp]) -> None:
        await self._networks.ports.update(context, port.id, {"fixed_ips": wanted})

    async def _find_floating(self, request: Request, address: str) -> str:
        found = await self._networks.floating_ips.find(request.context, Listing(filters={"address": (address,)}))
        if not found:
            raise NotFound("floating IP not found")
        return found[0].id

    async def _find_group(self, request: Request, server: Server, name: str) -> str:
        """By name or id, of the server's project."""
        groups, project = self._networks.groups, server.project_id
        for field in ("id", "name"):
            found = await groups.find(request.context, Listing(filters={field: (name,), "project_id": (project,)}))
            if len(found) > 1:
                raise Conflict(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
            if found:
                return found[0].id
        raise NotFound(f"Security group {name} not found for project {project}.")


def _addresses(port: Port) -> list[WantedIp]:
    return [WantedIp(ip.subnet_id, ip.address) for ip in port.fixed_ips]


def show_group(group: Group, names: dict[str, Group]) -> dict[str, Any]:
    """A group as Nova's own was; `names`: the groups that its rules may name, by id."""
    rules = [show_rule(rule, names) for rule in group.rules if rule.direction == "ingress"]
    return {
        "id": group.id, "name": group.name, "description": group.description, "tenant_id": group.project_id,
        "rules": rules,
    }  # fmt: skip


def show_rule(rule: Rule, names: dict[str, Group]) -> dict[str, Any]:
    """In the form of Nova's own groups: no protocol and no ports are null, a source is a prefix or a group."""
    source = names.get(rule.remote_group or "")
    anywhere = "::/0" if rule.ethertype == "IPv6" else "0.0.0.0/0"
    return {
        "id": rule.id, "parent_group_id": rule.group_id, "ip_protocol": rule.protocol,
        "from_port": rule.port_min, "to_port": rule.port_max,
        "group": {"name": source.name, "tenant_id": source.project_id} if source else {},
        "ip_range": {} if rule.remote_group else {"cidr": rule.remote_prefix or anywhere},
    }  # fmt: skip
