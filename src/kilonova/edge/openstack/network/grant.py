"""RBAC policies: what another project may do with something of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.network.grant_service import NewGrant
from kilonova.cloud.network.grant_store import EVERYONE
from kilonova.cloud.network.model import Grant
from kilonova.cloud.network.service import NetworkServices
from kilonova.edge.openstack.network.attribute import ID, OWNER, PROJECT, STRING, UUID, Attribute
from kilonova.edge.openstack.network.resource import Resource, Values, refuse_unless
from kilonova.edge.openstack.network.view import owner
from kilonova.kit.http import Request

_GRANT: Final = (
    ID,
    *OWNER,
    Attribute("object_type", "object_type", STRING, "c"),
    Attribute("object_id", "object_id", UUID, "c"),
    Attribute("action", "action", STRING, "c"),
    Attribute("target_tenant", "target", PROJECT, "cu"),
)


def grants(services: NetworkServices) -> Resource:
    """`/rbac-policies`."""

    async def create(request: Request, values: list[Values]) -> list[Grant]:
        return [await services.grants.create(request.context, NewGrant(**values[0]))]

    async def allow(request: Request, verb: str, values: Values) -> None:
        if values.get("target") == EVERYONE:
            refuse_unless(request, f"{verb}_rbac_policy:target_tenant")

    required = ("object_type", "object_id", "action", "target_tenant")
    return Resource(
        "rbac_policy",
        _GRANT,
        services.grants,
        create,
        _view,
        required=required,
        collection="rbac_policies",
        allow=allow,
    )


def _view(row: Grant, request: Request) -> Mapping[str, Any]:
    """API reference, "RBAC Policies"."""
    return {
        "id": row.id,
        **owner(row.project_id),
        "object_type": row.object_type,
        "object_id": row.object_id,
        "action": row.action,
        "target_tenant": row.target,
    }
