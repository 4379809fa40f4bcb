"""Unified limits (Identity API v3, "Unified Limits")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.identity.limit import Limits
from kilonova.cloud.identity.limit_store import Limit, RegisteredLimit
from kilonova.core.errors import Invalid, NotFound
from kilonova.edge.openstack.identity import body, view
from kilonova.kit.http import Request, Route, query, single
from kilonova.kit.http.route import Answer

_TEXT: Final = single({"type": "string", "maxLength": 255})
_RESOURCE: Final = ("service_id", "region_id", "resource_name")
_WHOSE: Final = ("project_id", "domain_id")
_LIST: Final = query(dict.fromkeys((*_RESOURCE, *_WHOSE), _TEXT))
MODEL: Final = {"name": "flat", "description": "Limit enforcement and validation does not take project hierarchy into "
                "consideration."}  # fmt: skip


class LimitRoutes:
    """The routes at `/v3/registered_limits` and `/v3/limits`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def routes(self) -> list[Route]:
        registered, limits = "/registered_limits", "/limits"
        one, own = f"{registered}/{{registered_limit_id}}", f"{limits}/{{limit_id}}"
        rule, made = "identity:{}_registered_limit{}".format, body.REGISTERED_LIMITS
        changed = body.REGISTERED_LIMIT_CHANGE
        return [
            Route("GET", registered, self.list_registered, rule("list", "s"), query=_LIST),
            Route("POST", registered, self.register, rule("create", "s"), schema=made, success=201),
            Route("GET", one, self.show_registered, rule("get", "")),
            Route("PATCH", one, self.change_registered, rule("update", ""), schema=changed),
            Route("DELETE", one, self.delete_registered, rule("delete", ""), success=204),
            Route("GET", limits, self.list, "identity:list_limits", query=_LIST),
            Route("POST", limits, self.create, "identity:create_limits", schema=body.LIMITS, success=201),
            Route("GET", f"{limits}/model", self.show_model, "identity:get_limit_model"),
            Route("GET", own, self.show, "identity:get_limit", target=self._target),
            Route("PATCH", own, self.change, "identity:update_limit", schema=body.LIMIT_CHANGE),
            Route("DELETE", own, self.delete, "identity:delete_limit", success=204),
        ]

    async def list_registered(self, request: Request) -> Answer:
        found = await self._limits.list_registered(_asked(request, _RESOURCE))
        rows = [_registered(one, request) for one in found]
        return view.collection("registered_limits", rows, f"{request.service_url}/v3/registered_limits")

    async def register(self, request: Request) -> Answer:
        found = await self._limits.register(request.json["registered_limits"])
        return {"registered_limits": [_registered(one, request) for one in found]}

    async def show_registered(self, request: Request) -> Answer:
        found = await self._limits.show_registered(request.params["registered_limit_id"])
        return {"registered_limit": _registered(found, request)}

    async def change_registered(self, request: Request) -> Answer:
        values = request.json["registered_limit"]
        found = await self._limits.change_registered(request.params["registered_limit_id"], values)
        return {"registered_limit": _registered(found, request)}

    async def delete_registered(self, request: Request) -> Answer:
        await self._limits.delete_registered(request.params["registered_limit_id"])
        return None

    async def list(self, request: Request) -> Answer:
        """Those of the caller's own domain or project; with a token for neither domain, all for administrators and
        services."""
        context, where = request.context, _asked(request, (*_RESOURCE, *_WHOSE))
        if context.domain_id is not None:
            found = await self._limits.list_in_domain(context.domain_id, where)
        elif context.system or context.roles & {"admin", "service"}:
            found = await self._limits.list(where)
        elif context.project_id is not None and where.get("project_id", context.project_id) == context.project_id:
            found = await self._limits.list({**where, "project_id": context.project_id})
        else:
            found = []
        rows = [_limit(one, request) for one in found]
        return view.collection("limits", rows, f"{request.service_url}/v3/limits")

    async def create(self, request: Request) -> Answer:
        given = request.json["limits"]
        if any((one.get("project_id") is None) == (one.get("domain_id") is None) for one in given):
            raise Invalid("Expecting to find exactly one of project_id and domain_id in each limit.")
        found = await self._limits.create(given)
        return {"limits": [_limit(one, request) for one in found]}

    async def show_model(self, request: Request) -> Answer:
        return {"model": MODEL}

    async def show(self, request: Request) -> Answer:
        found, _ = await self._limits.show(request.params["limit_id"])
        return {"limit": _limit(found, request)}

    async def change(self, request: Request) -> Answer:
        return {"limit": _limit(await self._limits.change(request.params["limit_id"], request.json["limit"]), request)}

    async def delete(self, request: Request) -> Answer:
        await self._limits.delete(request.params["limit_id"])
        return None

    async def _target(self, request: Request) -> Mapping[str, str | None]:
        try:
            found, domain_id = await self._limits.show(request.params["limit_id"])
        except NotFound:
            return {}
        target = {
            "target.limit.project_id": found.project_id,
            "target.limit.domain.id": found.domain_id,
            "target.limit.project.domain_id": domain_id,
        }
        # What a limit has not must be absent: a caller without a domain would equal it otherwise.
        return {key: value for key, value in target.items() if value is not None}


def _asked(request: Request, keys: tuple[str, ...]) -> dict[str, str | None]:
    return {key: value for key in keys if (value := request.query_one(key)) is not None}


def _registered(one: RegisteredLimit, request: Request) -> dict[str, Any]:
    return {
        "id": one.id,
        "service_id": one.service_id,
        "region_id": one.region_id,
        "resource_name": one.resource_name,
        "default_limit": one.default_limit,
        "description": one.description,
        "links": {"self": f"{request.service_url}/v3/registered_limits/{one.id}"},
    }


def _limit(one: Limit, request: Request) -> dict[str, Any]:
    return {
        "id": one.id,
        "project_id": one.project_id,
        "domain_id": one.domain_id,
        "service_id": one.service_id,
        "region_id": one.region_id,
        "resource_name": one.resource_name,
        "resource_limit": one.resource_limit,
        "description": one.description,
        "links": {"self": f"{request.service_url}/v3/limits/{one.id}"},
    }
