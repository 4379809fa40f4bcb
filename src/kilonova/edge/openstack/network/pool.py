"""Subnet pools and address scopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.network.pool_model import AddressScope, SubnetPool
from kilonova.cloud.network.pool_service import NewPool
from kilonova.cloud.network.service import NetworkServices
from kilonova.edge.openstack.network.attribute import (
    BOOLEAN,
    DESCRIPTION,
    ID,
    NAME,
    NULL_UUID,
    OWNER,
    REVISION,
    Attribute,
    read_whole,
    whole,
)
from kilonova.edge.openstack.network.resource import Resource, Values, refuse_unless
from kilonova.edge.openstack.network.view import owner, standard
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

_PREFIXES: Final = {"type": "array", "items": {"type": "string", "maxLength": 64}, "minItems": 1, "maxItems": 64}
_EDIT: Final = {
    "type": "object",
    "properties": {"prefixes": _PREFIXES},
    "required": ["prefixes"],
    "additionalProperties": False,
}
_LENGTH: Final = whole(0, 128)
_READ_LENGTH: Final = read_whole(0, 128)
_QUOTA: Final = whole(0, 999_999_999, nullable=True)
_VERSION: Final = {"enum": [4, 6, "4", "6"]}

_SCOPE: Final = (
    ID,
    NAME,
    *OWNER,
    Attribute("ip_version", "ip_version", _VERSION, "c", "number", convert=int),
    Attribute("shared", "shared", BOOLEAN, "cu", "flag", sortable=False),
)
_POOL: Final = (
    ID,
    NAME,
    DESCRIPTION,
    *OWNER,
    REVISION,
    Attribute("prefixes", "prefixes", _PREFIXES, "cu", None, convert=tuple),
    Attribute("address_scope_id", "scope_id", NULL_UUID, "cu"),
    Attribute("ip_version", "ip_version", query="number"),
    Attribute("default_prefixlen", "default_prefixlen", _LENGTH, "cu", "number", convert=_READ_LENGTH),
    Attribute("min_prefixlen", "min_prefixlen", _LENGTH, "cu", "number", convert=_READ_LENGTH),
    Attribute("max_prefixlen", "max_prefixlen", _LENGTH, "cu", "number", convert=_READ_LENGTH),
    Attribute("default_quota", "default_quota", _QUOTA, "cu", "number", convert=read_whole(0, 999_999_999)),
    Attribute("is_default", "is_default", BOOLEAN, "cu", "flag"),
    Attribute("shared", "shared", BOOLEAN, "c", "flag", sortable=False),
)


def address_scopes(services: NetworkServices) -> Resource:
    """`/address-scopes`."""

    async def create(request: Request, values: list[Values]) -> list[AddressScope]:
        one = {"name": "", **values[0]}
        return [await services.address_scopes.create(request.context, **one)]

    async def allow(request: Request, verb: str, values: Values) -> None:
        if values.get("shared") or (verb == "update" and "shared" in values):
            refuse_unless(request, f"{verb}_address_scope:shared")

    return Resource(
        "address_scope", _SCOPE, services.address_scopes, create, _scope, required=("ip_version",), allow=allow
    )


class SubnetPoolRoutes:
    """`/subnetpools`, with the two actions on prefixes."""

    def __init__(self, services: NetworkServices) -> None:
        self._pools = services.subnet_pools

    def routes(self) -> list[Route]:
        plain = Resource(
            "subnetpool", _POOL, self._pools, self._create, _pool, required=("prefixes",), bulk=True, tagged=True,
            allow=self._allow,
        )  # fmt: skip
        one = "/subnetpools/{id}"
        return [
            *plain.routes(),
            Route("PUT", f"{one}/add_prefixes", self.add, "add_prefixes", schema=_EDIT),
            Route("PUT", f"{one}/remove_prefixes", self.remove, "remove_prefixes", schema=_EDIT),
        ]

    async def add(self, request: Request) -> Answer:
        """Prefixes more."""
        row = await self._pools.add_prefixes(request.context, request.params["id"], request.json["prefixes"])
        return {"prefixes": list(row.prefixes)}

    async def remove(self, request: Request) -> Answer:
        """Prefixes less."""
        row = await self._pools.remove_prefixes(request.context, request.params["id"], request.json["prefixes"])
        return {"prefixes": list(row.prefixes)}

    async def _create(self, request: Request, values: list[Values]) -> list[SubnetPool]:
        return await self._pools.create_all(request.context, [NewPool(**one) for one in values])

    async def _allow(self, request: Request, verb: str, values: Values) -> None:
        for name in ("shared", "is_default"):
            if values.get(name):
                refuse_unless(request, f"{verb}_subnetpool:{name}")


def _scope(row: AddressScope, request: Request) -> Mapping[str, Any]:
    """API reference, "Address scopes"."""
    return {
        "id": row.id, "name": row.name, **owner(row.project_id), "ip_version": row.ip_version, "shared": row.shared
    }  # fmt: skip


def _pool(row: SubnetPool, request: Request) -> Mapping[str, Any]:
    """API reference, "Subnet pools"; the lengths are text there."""
    return {
        "id": row.id,
        "name": row.name,
        **owner(row.project_id),
        "prefixes": list(row.prefixes),
        "address_scope_id": row.scope_id,
        "ip_version": row.ip_version,
        "default_prefixlen": str(row.default_prefixlen),
        "min_prefixlen": str(row.min_prefixlen),
        "max_prefixlen": str(row.max_prefixlen),
        "default_quota": row.default_quota,
        "is_default": row.is_default,
        "shared": row.shared,
        "tags": list(row.tags),
        **standard(row),
    }
