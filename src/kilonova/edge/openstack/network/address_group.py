"""Address groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.network.address_group_service import MOST, NewAddressGroup
from kilonova.cloud.network.model import AddressGroup
from kilonova.cloud.network.service import NetworkServices
from kilonova.edge.openstack.network.attribute import DESCRIPTION, ID, NAME, OWNER, REVISION, Attribute
from kilonova.edge.openstack.network.resource import Resource, Values
from kilonova.edge.openstack.network.view import owner, standard
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

_ADDRESSES: Final = {"type": "array", "items": {"type": "string", "maxLength": 64}, "maxItems": MOST}
_GROUP: Final = (
    ID,
    NAME,
    DESCRIPTION,
    *OWNER,
    REVISION,
    Attribute("addresses", "addresses", _ADDRESSES, "c", None),
    Attribute("shared", "shared", None, "", "flag", sortable=False),
)
_EDIT: Final = {
    "type": "object",
    "properties": {"addresses": _ADDRESSES},
    "required": ["addresses"],
    "additionalProperties": False,
}


class AddressGroupRoutes:
    """`/address-groups`, with the two actions on addresses."""

    def __init__(self, services: NetworkServices) -> None:
        self._groups = services.address_groups

    def routes(self) -> list[Route]:
        plain = Resource("address_group", _GROUP, self._groups, self._create, _view)
        one, rule = "/address-groups/{id}", "update_address_group"
        return [
            *plain.routes(),
            Route("PUT", f"{one}/add_addresses", self.add, rule, schema=_EDIT),
            Route("PUT", f"{one}/remove_addresses", self.take, rule, schema=_EDIT),
        ]

    async def add(self, request: Request) -> Answer:
        """Addresses more."""
        row = await self._groups.add(request.context, request.params["id"], request.json["addresses"])
        return {"address_group": _view(row, request)}

    async def take(self, request: Request) -> Answer:
        """Addresses less."""
        row = await self._groups.take(request.context, request.params["id"], request.json["addresses"])
        return {"address_group": _view(row, request)}

    async def _create(self, request: Request, values: list[Values]) -> list[AddressGroup]:
        return [await self._groups.create(request.context, NewAddressGroup(**values[0]))]


def _view(row: AddressGroup, request: Request) -> Mapping[str, Any]:
    """API reference, "Address groups"."""
    return {
        "id": row.id,
        "name": row.name,
        **owner(row.project_id),
        "addresses": list(row.addresses),
        "shared": row.shared,
        **standard(row),
    }
