"""`/os-server-groups` (API reference "Server groups")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.server.group import ServerGroups
from kilonova.cloud.server.model import Group
from kilonova.core.context import ALL
from kilonova.core.errors import Forbidden, Invalid, QuotaExceeded
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import NAME, TEXT, boxed, count, record, strict_from
from kilonova.kit.http import Request, Route, VersionedSchemas, single
from kilonova.kit.http.schema import JsonSchema

_HARD: Final = ("affinity", "anti-affinity")
_ALL: Final = (*_HARD, "soft-affinity", "soft-anti-affinity")


def _policies(names: tuple[str, ...]) -> JsonSchema:
    return {"type": "array", "items": {"enum": list(names)}, "minItems": 1, "maxItems": 1}


_RULES: Final = record({"max_server_per_host": count(1)})
_CREATE: Final = VersionedSchemas(
    {
        (2, 1): boxed("server_group", record({"name": NAME, "policies": _policies(_HARD)}, "name", "policies")),
        (2, 15): boxed("server_group", record({"name": NAME, "policies": _policies(_ALL)}, "name", "policies")),
        (2, 64): boxed(
            "server_group", record({"name": NAME, "policy": {"enum": list(_ALL)}, "rules": _RULES}, "name", "policy")
        ),
    }
)
_NUMBER: Final[JsonSchema] = {"type": "string", "pattern": "^[0-9]+$", "maxLength": 9}
_LIST: Final = strict_from(75, {1: {"all_projects": single(TEXT), "limit": single(_NUMBER), "offset": single(_NUMBER)}})
MOST: Final = 1000


class GroupRoutes:
    """Handlers of server groups."""

    def __init__(self, groups: ServerGroups) -> None:
        self._groups = groups

    def routes(self) -> list[Route]:
        every, one, rule = "/os-server-groups", "/os-server-groups/{group_id}", f"{PREFIX}os-server-groups:"
        return [
            Route("GET", every, self.index, f"{rule}index", query=_LIST),
            Route("POST", every, self.create, f"{rule}create", schema=_CREATE),
            Route("GET", one, self.show, f"{rule}show"),
            Route("DELETE", one, self.delete, f"{rule}delete", success=204),
        ]

    async def index(self, request: Request) -> dict[str, Any]:
        """With `all_projects`, those of all, for operators."""
        scope = request.context.scope
        if "all_projects" in request.query:
            rule = f"{PREFIX}os-server-groups:index:all_projects"
            if request.permits(rule):
                scope = ALL
        limit, offset = (int(request.query_one(name) or 0) for name in ("limit", "offset"))
        found = await self._groups.page(scope, min(limit or MOST, MOST), offset)
        return {"server_groups": [_view(group, request) for group in found]}

    async def create(self, request: Request) -> dict[str, Any]:
        asked: Mapping[str, Any] = request.json["server_group"]
        policy = asked["policy"] if "policy" in asked else asked["policies"][0]
        rules = asked.get("rules") or {}
        if rules and policy != "anti-affinity":
            raise Invalid("Only anti-affinity policy supports rules.")
        try:
            most = int(rules.get("max_server_per_host", 1))
            group = await self._groups.create(request.context, asked["name"], policy, most)
        except QuotaExceeded as failure:
            raise Forbidden("Quota exceeded, too many server groups.") from failure
        return {"server_group": _view(group, request)}

    async def show(self, request: Request) -> dict[str, Any]:
        return {"server_group": _view(await self._groups.get(reach(request), request.params["group_id"]), request)}

    async def delete(self, request: Request) -> None:
        await self._groups.delete(reach(request), request.params["group_id"])


def _view(group: Group, request: Request) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": group.id, "name": group.name, "members": list(group.members)}
    if request.version < (2, 64):
        shown |= {"policies": [group.policy], "metadata": {}}
    else:
        rules = {"max_server_per_host": group.most} if group.policy == "anti-affinity" else {}
        shown |= {"policy": group.policy, "rules": rules}
    if request.version >= (2, 13):
        shown |= {"project_id": group.project_id, "user_id": group.user_id}
    return shown
