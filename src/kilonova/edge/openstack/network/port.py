"""Ports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from kilonova.cloud.network.dhcp_option import WantedOption
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
_PAIRS: Final = {
    "type": ["array", "null"],
    "maxItems": 64,
    "items": {
        "type": "object",
        "properties": {
            "ip_address": {"type": "string", "minLength": 2, "maxLength": 64},
            "mac_address": {"type": ["string", "null"], "maxLength": 17},
        },
        "required": ["ip_address"],
        "additionalProperties": False,
    },
}
_OPTIONS: Final = {
    "type": ["array", "null"],
    "maxItems": 64,
    "items": {
        "type": "object",
        "properties": {
            "opt_name": {"type": "string", "minLength": 1, "maxLength": 64},
            "opt_value": {"type": ["string", "null"], "maxLength": 255},
            "ip_version": {"enum": [4, 6, "4", "6"]},
        },
        "required": ["opt_name"],
        "additionalProperties": False,
    },
}
_PROFILE: Final = {"type": ["object", "null"], "maxProperties": 64}
_GROUPS: Final = {"type": ["array", "null"], "items": UUID, "maxItems": 64, "uniqueItems": True}


def read_fixed(given: Any) -> list[WantedIp]:
    """Addresses asked for, in the domain's words."""
    return [WantedIp(f.get("subnet_id"), f.get("ip_address")) for f in given]


def _text(given: Any) -> str:
    return given or ""


def _read_pairs(given: Any) -> list[tuple[str, str | None]]:
    return [(p["ip_address"], p.get("mac_address")) for p in given or ()]


def _read_options(given: Any) -> list[WantedOption]:
    return [WantedOption(o["opt_name"], o.get("opt_value"), int(o.get("ip_version", 4))) for o in given or ()]


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
    Attribute("allowed_address_pairs", "allowed_pairs", _PAIRS, "cu", None, convert=_read_pairs),
    Attribute("extra_dhcp_opts", "dhcp_options", _OPTIONS, "cu", None, convert=_read_options),
    Attribute(
        "binding:host_id", "host_id", {**STRING, "type": ["string", "null"]}, "cu", sortable=False, convert=_text
    ),
    Attribute("binding:vnic_type", "vnic_type", STRING, "cu", sortable=False),
    Attribute("binding:profile", "profile", _PROFILE, "cu", None, convert=lambda v: v or {}),
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
            if name not in _FIXED:
                raise Invalid(f"['{text[:64]}'] is invalid attribute for filtering", why="http_bad_request")
            filters[_FIXED[name]] = (*filters.get(_FIXED[name], ()), value)
        if "groups" in filters:
            filters["group_id"] = filters.pop("groups")
        if "mac" in filters:
            filters["mac"] = tuple(mac.lower() for mac in filters["mac"])
        return await self._ports.find(context, replace(listing, filters=filters))


def ports(services: NetworkServices) -> Resource:
    """`/ports`."""

    async def create(request: Request, values: list[Values]) -> list[Port]:
        return await services.ports.create_all(request.context, [NewPort(**one) for one in values])

    async def allow(request: Request, verb: str, values: Values) -> None:
        special = [rule for field, rule in _RULES.items() if field in values]
        if any(w.address is not None for w in values.get("fixed_ips", ())):
            special.append("fixed_ips:ip_address")
        if not special:
            return
        network_id = values.get("network_id")
        if network_id is None:
            network_id = (await services.ports.get(request.context, request.params["id"])).network_id
        owner = (await services.networks.get(request.context, network_id)).project_id
        for rule in special:
            refuse_unless(request, f"{verb}_port:{rule}", network_project_id=owner)

    return Resource(
        "port",
        _PORT,
        _Ports(services),
        create,
        view.port,
        required=("network_id",),
        bulk=True,
        tagged=True,
        allow=allow,
    )


_FIXED: Final = {"ip_address": "ip_address", "subnet_id": "subnet_id", "ip_address_substr": "ip_part"}
_RULES: Final = {
    "mac": "mac_address",
    "port_security": "port_security_enabled",
    "allowed_pairs": "allowed_address_pairs",
    "host_id": "binding:host_id",
    "profile": "binding:profile",
    "vnic_type": "binding:vnic_type",
}
