"""Security groups and their rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.network.group_service import NewGroup, NewRule
from kilonova.cloud.network.model import Group, Listing, Rule
from kilonova.cloud.network.service import NetworkServices
from kilonova.core.context import Context
from kilonova.core.errors import NotFound
from kilonova.edge.openstack.network import view
from kilonova.edge.openstack.network.attribute import (
    BOOLEAN,
    DESCRIPTION,
    ID,
    MAX_INTEGER,
    NAME,
    OWNER,
    REVISION,
    STRING,
    UUID,
    Attribute,
    read_whole,
    whole,
)
from kilonova.edge.openstack.network.resource import Resource, Values
from kilonova.kit.http import Request

_PORT: Final = whole(-MAX_INTEGER, MAX_INTEGER, nullable=True)
_READ_PORT: Final = read_whole(-MAX_INTEGER, MAX_INTEGER)
_NULL_TEXT: Final = {**STRING, "type": ["string", "null"]}
_ETHERTYPE: Final = {"type": ["string", "null"], "pattern": "^[iI][pP][vV][46]$"}
_PROTOCOL: Final = {"type": ["string", "integer", "null"], "maxLength": 16, "minimum": 0, "maximum": 255}

_GROUP: Final = (
    ID,
    NAME,
    DESCRIPTION,
    *OWNER,
    REVISION,
    Attribute("stateful", "stateful", BOOLEAN, "cu", "flag"),
    Attribute("shared", "shared", None, "", "flag", sortable=False),
)
_RULE: Final = (
    ID,
    DESCRIPTION,
    *OWNER,
    Attribute("security_group_id", "group_id", UUID, "c"),
    Attribute("direction", "direction", {"enum": ["ingress", "egress"]}, "c"),
    Attribute("ethertype", "ethertype", _ETHERTYPE, "c", convert=lambda v: f"IPv{v[-1]}" if v else "IPv4"),
    Attribute("protocol", "protocol", _PROTOCOL, "c", sortable=False, convert=lambda v: None if v is None else str(v)),
    Attribute("port_range_min", "port_min", _PORT, "c", "number", sortable=False, convert=_READ_PORT),
    Attribute("port_range_max", "port_max", _PORT, "c", "number", sortable=False, convert=_READ_PORT),
    Attribute("remote_ip_prefix", "remote_prefix", {**_NULL_TEXT, "maxLength": 64}, "c", sortable=False),
    Attribute("remote_group_id", "remote_group", _NULL_TEXT, "c", sortable=False),
    Attribute("remote_address_group_id", "remote_addresses", _NULL_TEXT, "c", sortable=False),
)


class _Rules:
    """The service's commands on rules, under the names that every resource's have."""

    def __init__(self, services: NetworkServices) -> None:
        self._groups = services.groups

    async def find(self, context: Context, listing: Listing) -> list[Rule]:
        return await self._groups.find_rules(context, listing)

    async def get(self, context: Context, identifier: str) -> Rule:
        return await self._groups.get_rule(context, identifier)

    async def update(self, context: Context, identifier: str, values: Mapping[str, Any]) -> Rule:
        raise NotFound("A rule cannot be changed.")

    async def delete(self, context: Context, identifier: str) -> None:
        await self._groups.delete_rule(context, identifier)


def groups(services: NetworkServices) -> Resource:
    """`/security-groups`."""

    async def create(request: Request, values: list[Values]) -> list[Group]:
        return await services.groups.create_all(request.context, [NewGroup(**one) for one in values])

    return Resource(
        "security_group", _GROUP, services.groups, create, view.group, required=("name",), bulk=True, tagged=True
    )


def rules(services: NetworkServices) -> Resource:
    """`/security-group-rules`."""

    async def create(request: Request, values: list[Values]) -> list[Rule]:
        for one in values:
            # A rule belongs to its group's project, whatever the body says.
            one.pop("project_id", None)
        return await services.groups.create_rules(request.context, [NewRule(**one) for one in values])

    required = ("security_group_id", "direction")
    return Resource(
        "security_group_rule", _RULE, _Rules(services), create, view.rule, required=required, updatable=False, bulk=True
    )
