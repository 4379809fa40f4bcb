"""Roles that imply others (Identity API v3, "Roles", implied roles)."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.identity.model import Role
from kilonova.cloud.identity.service import Directory
from kilonova.kit.http import Request, Response, Route
from kilonova.kit.http.route import Answer

_SEVERAL: Final = "/roles/{prior_role_id}/implies"
_ONE: Final = f"{_SEVERAL}/{{implied_role_id}}"


class InferenceRoutes:
    """Role inference rules."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._rights = directory.rights

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/role_inferences", self.list_all, "identity:list_role_inference_rules"),
            Route("GET", _SEVERAL, self.list, "identity:list_implied_roles"),
            Route("PUT", _ONE, self.create, "identity:create_implied_role", success=201, body="none"),
            Route("HEAD", _ONE, self.check, "identity:check_implied_role", success=204),
            Route("GET", _ONE, self.show, "identity:get_implied_role"),
            Route("DELETE", _ONE, self.delete, "identity:delete_implied_role", success=204),
        ]

    async def list_all(self, request: Request) -> Answer:
        by_prior: dict[str, dict[str, Any]] = {}
        root = f"{request.service_url}/v3"
        for prior, implied in await self._rights.implications():
            entry = by_prior.setdefault(prior.id, {"prior_role": _short(prior, root), "implies": []})
            entry["implies"].append(_short(implied, root))
        return {"role_inferences": list(by_prior.values()), "links": {"self": f"{root}/role_inferences"}}

    async def list(self, request: Request) -> Answer:
        root = f"{request.service_url}/v3"
        prior: Role = await self._directory.show("role", request.params["prior_role_id"])
        implied = [_short(role, root) for _, role in await self._rights.implications(prior.id)]
        return {
            "role_inference": {"prior_role": _short(prior, root), "implies": implied},
            "links": {"self": f"{root}/roles/{prior.id}/implies"},
        }

    async def show(self, request: Request) -> Answer:
        return _shown(request, *await self._rights.implication(*_ids(request)))

    async def check(self, request: Request) -> Answer:
        await self._rights.implication(*_ids(request))
        return None

    async def create(self, request: Request) -> Answer:
        document = _shown(request, *await self._rights.imply(*_ids(request)))
        return Response.json(document, 201)

    async def delete(self, request: Request) -> Answer:
        await self._rights.imply_no_more(*_ids(request))
        return None


def _ids(request: Request) -> tuple[str, str]:
    return request.params["prior_role_id"], request.params["implied_role_id"]


def _shown(request: Request, prior: Role, implied: Role) -> dict[str, Any]:
    root = f"{request.service_url}/v3"
    return {
        "role_inference": {"prior_role": _short(prior, root), "implies": _short(implied, root)},
        "links": {"self": f"{root}/roles/{prior.id}/implies/{implied.id}"},
    }


def _short(role: Role, root: str) -> dict[str, Any]:
    return {"id": role.id, "name": role.name, "links": {"self": f"{root}/roles/{role.id}"}}
