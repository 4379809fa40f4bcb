"""`/os-security-groups` and `/os-security-group-rules`, to 2.35: the network service's groups as Nova's own once were.

Only rules for what comes in exist in this form; what a group lets out is not shown, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Final

from kilonova.cloud.network.group_service import NewRule
from kilonova.cloud.network.model import Group, Listing
from kilonova.cloud.network.service import NetworkServices
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import NAME, TEXT, boxed, is_true, record
from kilonova.edge.openstack.compute.server.address import show_group, show_rule
from kilonova.kit.http import Request, Route, multi, query
from kilonova.kit.http.schema import JsonSchema

LAST: Final = (2, 35)
_ABOUT: Final[JsonSchema] = {"type": "string", "maxLength": 255}
_GROUP: Final = boxed("security_group", record({"name": NAME, "description": _ABOUT}, "name", "description"))
_PORT: Final[JsonSchema] = {
    "oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]{1,5}$"}, {"type": "null"}]
}
_ID: Final[JsonSchema] = {"type": ["string", "integer"], "maxLength": 64}
_NAMED: Final[JsonSchema] = {"type": ["string", "null"], "maxLength": 64}
_RULE: Final = boxed(
    "security_group_rule",
    record(
        {
            "parent_group_id": _ID,
            "ip_protocol": _NAMED,
            "from_port": _PORT,
            "to_port": _PORT,
            "cidr": _NAMED,
            "group_id": {"anyOf": [_ID, {"type": "null"}]},
        },
        "parent_group_id",
    ),
)
_LIST: Final = query({"all_tenants": multi(TEXT), "limit": multi(TEXT), "offset": multi(TEXT)})


class SecurityGroupRoutes:
    """Handlers of groups and their rules."""

    def __init__(self, networks: NetworkServices) -> None:
        self._groups = networks.groups

    def routes(self) -> list[Route]:
        every, one, rule = "/os-security-groups", "/os-security-groups/{group_id}", f"{PREFIX}os-security-groups:"
        rules = "/os-security-group-rules"
        return [
            Route("GET", every, self.list, f"{rule}get", query=_LIST, max_version=LAST),
            Route("POST", every, self.create, f"{rule}create", schema=_GROUP, max_version=LAST),
            Route("GET", one, self.show, f"{rule}show", max_version=LAST),
            Route("PUT", one, self.update, f"{rule}update", schema=_GROUP, max_version=LAST),
            Route("DELETE", one, self.delete, f"{rule}delete", success=202, max_version=LAST),
            Route("POST", rules, self.create_rule, f"{rule}rule:create", schema=_RULE, max_version=LAST),
            Route(
                "DELETE", f"{rules}/{{rule_id}}", self.delete_rule, f"{rule}rule:delete", success=202, max_version=LAST
            ),
        ]

    async def list(self, request: Request) -> dict[str, Any]:
        """The project's; of all projects for administrators who ask so."""
        context = request.context
        everything = context.is_admin and is_true(request.query_one("all_tenants"))
        filters = {} if everything else {"project_id": (context.project_id,)}
        found = await self._groups.find(context, Listing(filters=filters, sort=(("name", True),)))
        names = {group.id: group for group in found}
        return {"security_groups": [show_group(group, names) for group in found]}

    async def show(self, request: Request) -> dict[str, Any]:
        group = await self._groups.get(request.context, request.params["group_id"])
        return {"security_group": show_group(group, await self._sources(request, group))}

    async def create(self, request: Request) -> dict[str, Any]:
        given = request.json["security_group"]
        try:
            made = await self._groups.create(request.context, given["name"], given["description"])
        except Conflict as failure:
            raise Invalid(failure.message) from None
        return {"security_group": show_group(made, {})}

    async def update(self, request: Request) -> dict[str, Any]:
        given, group_id = request.json["security_group"], request.params["group_id"]
        values = {"name": given["name"], "description": given["description"]}
        try:
            changed = await self._groups.update(request.context, group_id, values)
        except Conflict as failure:
            raise Invalid(failure.message) from None
        return {"security_group": show_group(changed, await self._sources(request, changed))}

    async def delete(self, request: Request) -> None:
        """400 for one that a port is in, as Nova answers."""
        try:
            await self._groups.delete(request.context, request.params["group_id"])
        except Conflict as failure:
            raise Invalid(failure.message) from None

    async def create_rule(self, request: Request) -> dict[str, Any]:
        """From addresses, or from the members of a group: without a protocol only from these, and then anything."""
        new = _read_rule(request.json["security_group_rule"])
        await self._groups.get(request.context, new.group_id)
        source = await self._groups.get(request.context, new.remote_group) if new.remote_group else None
        try:
            made = await self._groups.create_rule(request.context, new)
        except Conflict as failure:
            raise Invalid(failure.message) from None
        return {"security_group_rule": show_rule(made, {source.id: source} if source else {})}

    async def delete_rule(self, request: Request) -> None:
        await self._groups.delete_rule(request.context, request.params["rule_id"])

    async def _sources(self, request: Request, group: Group) -> dict[str, Group]:
        """The groups that its rules name."""
        wanted = tuple({rule.remote_group for rule in group.rules if rule.remote_group})
        found = await self._groups.find(request.context, Listing(filters={"id": wanted})) if wanted else []
        return {one.id: one for one in found}


def _read_rule(given: Mapping[str, Any]) -> NewRule:
    group_id, source = str(given["parent_group_id"]), given.get("group_id")
    if source is not None and str(source) == "":
        raise NotFound("Security group  not found.")
    cidr = given.get("cidr") or "0.0.0.0/0"
    try:
        version = ip_network(cidr, strict=False).version
    except ValueError:
        raise Invalid(f"Invalid cidr {cidr}.") from None
    protocol = (given.get("ip_protocol") or "").lower()
    low, high = (_port(given.get(name)) for name in ("from_port", "to_port"))
    if protocol not in ("", "tcp", "udp", "icmp"):
        raise Invalid(f"Invalid IP protocol {given['ip_protocol']}.")
    if protocol and (low is None or high is None):
        raise Invalid("Not enough parameters to build a valid rule.")
    if not protocol and source is None:
        raise Invalid("Not enough parameters to build a valid rule.")
    open_icmp = protocol == "icmp" and low == -1
    if protocol in ("tcp", "udp") and not 0 <= (low or 0) <= (high or 0) <= 65535:
        raise Invalid(f"Invalid port range {low}:{high}. Valid {protocol.upper()} ports should be between 1-65535")
    return NewRule(
        group_id=group_id,
        direction="ingress",
        ethertype="IPv6" if version == 6 and source is None else "IPv4",
        protocol=protocol or None,
        port_min=None if open_icmp or not protocol else low,
        port_max=None if open_icmp or not protocol or high == -1 else high,
        remote_prefix=None if source is not None else cidr,
        remote_group=None if source is None else str(source),
    )


def _port(value: int | str | None) -> int | None:
    return None if value is None else int(value)
