"""Ports."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.network.model import Listing, Port, WantedIp
from kilonova.cloud.network.port_service import NewPort
from kilonova.cloud.network.service import NetworkServices
from kilonova.core.context import Context
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.network import view
from kilonova.edge.openstack.network.attribute import (
    ADMIN_UP,
    BOOLEAN,
    DESCRIPTION,
    ID,
    NAME,
    OWNER,
    REVISION,
    STRING,
    UUID,
    Attribute,
)
from kilonova.edge.openstack.network.resource import Resource, Values, refuse_unless
from kilonova.kit.http import Request

FIXED_IPS: Final = {
    "type": "array",
    "maxItems": 32,
    "items": {
        "type": "object",
        "properties": {"subnet_id": UUID, "ip_address": {"type": "string", "minLength": 2, "maxLength": 64}},
        "minProperties": 1,
        "additionalProperties": False,
    },
}
_GROUPS: Final = {"type": ["array", "null"], "items": UUID, "maxItems": 64}


def read_fixed(given: Any) -> list[WantedIp]:
    """Addresses asked for, in the domain's words."""
    return [WantedIp(f.get("subnet_id"), f.get("ip_address")) for f in given]


_PORT: Final = (
    ID,
    NAME,
    DESCRIPTION,
    *OWNER,
    ADMIN_UP,
    REVISION,
    Attribute("status", "status"),
    Attribute("network_id", "network_id", UUID, "c"),
    Attribute("mac_address", "mac", {"type": "string", "minLength": 1, "maxLength": 17}, "cu"),
    Attribute("device_id", "device_id", STRING, "cu"),
    Attribute("device_owner", "device_owner", STRING, "cu"),
    Attribute("fixed_ips", "fixed_ips", FIXED_IPS, "cu", convert=read_fixed, sortable=False),
    Attribute("security_groups", "groups", _GROUPS, "cu", sortable=False, convert=lambda v: tuple(v or ())),
    Attribute("port_security_enabled", "port_security", BOOLEAN, "cu", "flag"),
    Attribute("binding:host_id", "host_id", sortable=False),
)


class _Ports:
    """The service, with the filters that only this API spells: `fixed_ips=ip_address=…` and `security_groups=…`."""

    def __init__(self, services: NetworkServices) -> None:
        self._ports = services.ports
        self.get = services.ports.get
        self.update = services.ports.update
        self.delete = services.ports.delete

    async def find(self, context: Context, listing: Listing) -> list[Port]:
        filters = dict(listing.filters)
        for text in filters.pop("fixed_ips", ()):
            name, _, value = text.partition("=")
            if name not in ("ip_address", "subnet_id"):
                raise Invalid(f"['{text[:64]}'] is invalid attribute for filtering", why="http_bad_request")
            filters[name] = (*filters.get(name, ()), value)
        if "groups" in filters:
            filters["group_id"] = filters.pop("groups")
        if "mac" in filters:
            filters["mac"] = tuple(mac.lower() for mac in filters["mac"])
        asked = Listing(filters, listing.sort, listing.limit, listing.marker, listing.reverse)
        return await self._ports.find(context, asked)


def ports(services: NetworkServices) -> Resource:
    """`/ports`."""

    async def create(request: Request, values: Values) -> Port:
        return await services.ports.create(request.context, NewPort(**values))

    async def allow(request: Request, verb: str, values: Values) -> None:
        special: list[str] = [name for name in ("mac", "port_security") if name in values]
        if any(w.address is not None for w in values.get("fixed_ips", ())):
            special.append("fixed_ips")
        if not special:
            return
        network_id = values.get("network_id")
        if network_id is None:
            network_id = (await services.ports.get(request.context, request.params["id"])).network_id
        owner = (await services.networks.get(request.context, network_id)).project_id
        for name in special:
            refuse_unless(request, f"{verb}_port:{_RULES[name]}", network_project_id=owner)

    return Resource("port", _PORT, _Ports(services), create, view.port, required=("network_id",), allow=allow)


_RULES: Final = {
    "mac": "mac_address",
    "port_security": "port_security_enabled",
    "fixed_ips": "fixed_ips:ip_address",
}
