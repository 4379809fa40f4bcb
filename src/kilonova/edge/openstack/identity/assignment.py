"""Roles given to users on projects, domains and the system."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from kilonova.cloud.identity.model import SYSTEM, Assignment, Kind, ScopeKind
from kilonova.cloud.identity.service import Directory
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.identity import view
from kilonova.kit.http import Request, Route, unbuilt
from kilonova.kit.http.route import Answer

_FILTERS: Final = {
    "user.id": ("user_id", None),
    "role.id": ("role_id", None),
    "scope.project.id": ("target_id", "project"),
    "scope.domain.id": ("target_id", "domain"),
}


class AssignmentRoutes:
    """Grants, their lists, and what implies what."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def routes(self) -> list[Route]:
        return [
            *self._grants("project", "/projects/{project_id}", ""),
            *self._grants("domain", "/domains/{domain_id}", ""),
            *self._grants("system", "/system", "system_"),
            Route("GET", "/role_assignments", self.list_assignments, "identity:list_role_assignments"),
            Route("GET", "/role_inferences", self.list_inferences, "identity:list_role_inference_rules"),
            *unbuilt("/roles/{role_id}/implies", "/roles/{role_id}/implies/{implied_id}"),
        ]

    def _grants(self, kind: ScopeKind, place: str, prefix: str) -> list[Route]:
        of_user = "_for_user" if prefix else ""
        several = f"identity:list_{prefix}grants{of_user}"
        one = f"{place}/users/{{user_id}}/roles/{{role_id}}"

        def rule(verb: str) -> str:
            return f"identity:{verb}_{prefix}grant{of_user}"

        def on(act: Callable[[Assignment], Awaitable[None]]) -> Callable[[Request], Awaitable[Answer]]:
            async def handle(request: Request) -> Answer:
                await act(_named(request, kind))
                return None

            return handle

        async def list_roles(request: Request) -> Answer:
            target = request.params.get(f"{kind}_id", SYSTEM)
            rows = await self._directory.roles_given(request.params["user_id"], kind, target)
            root = f"{request.service_url}/v3"
            return view.collection("roles", [view.role(row, root) for row in rows], request.base_url + request.path)

        return [
            Route("GET", f"{place}/users/{{user_id}}/roles", list_roles, several),
            Route("PUT", one, on(self._directory.grant), rule("create"), success=204, body="none"),
            Route("GET", one, on(self._directory.holds), rule("check"), success=204),
            Route("DELETE", one, on(self._directory.revoke), rule("revoke"), success=204),
        ]

    async def list_assignments(self, request: Request) -> Answer:
        where = _where(request)
        rows = await self._directory.assignments(where, effective=_flag(request, "effective"))
        names: dict[str, dict[str, Any]] | None = None
        if _flag(request, "include_names"):
            names = await self._names(rows)
        root = f"{request.service_url}/v3"
        shown = [view.assignment(row, root, names) for row in rows]
        return view.collection("role_assignments", shown, f"{root}/role_assignments")

    async def list_inferences(self, request: Request) -> Answer:
        by_prior: dict[str, dict[str, Any]] = {}
        root = f"{request.service_url}/v3"
        for prior, implied in await self._directory.implications():
            entry = by_prior.setdefault(prior.id, {"prior_role": _short(prior, root), "implies": []})
            entry["implies"].append(_short(implied, root))
        return {"role_inferences": list(by_prior.values()), "links": {"self": f"{root}/role_inferences"}}

    async def _names(self, rows: Any) -> dict[str, dict[str, Any]]:
        wanted: dict[Kind, set[str]] = {"user": set(), "role": set(), "project": set(), "domain": set()}
        for row in rows:
            wanted["user"].add(row.user_id)
            wanted["role"].add(row.role_id)
            if row.target_kind in ("project", "domain"):
                wanted[row.target_kind].add(row.target_id)
        found = await self._directory.names({kind: sorted(ids) for kind, ids in wanted.items()})
        homes = {row.domain_id for kind in ("user", "project") for row in found[kind].values()}
        found["domain"] |= (await self._directory.names({"domain": sorted(homes)}))["domain"]
        return {str(kind): rows_of for kind, rows_of in found.items()}


def _named(request: Request, kind: ScopeKind) -> Assignment:
    target = request.params.get(f"{kind}_id", SYSTEM)
    return Assignment(request.params["user_id"], kind, target, request.params["role_id"])


def _where(request: Request) -> dict[str, str]:
    where: dict[str, str] = {}
    for key, (column, kind) in _FILTERS.items():
        value = request.query_one(key)
        if value is None:
            continue
        if kind is not None and "target_kind" in where:
            raise Invalid("Specify a domain or project, not both")
        where[column] = value
        if kind is not None:
            where["target_kind"] = kind
    if request.query_one("scope.system") is not None:
        where["target_kind"] = "system"
    if request.query_one("group.id") is not None:
        where["user_id"] = ""
    return where


def _flag(request: Request, name: str) -> bool:
    """Present without a value, or with any but 0, means yes (Identity API v3)."""
    value = request.query_one(name)
    return value is not None and value.lower() not in ("0", "false")


def _short(role: Any, root: str) -> dict[str, Any]:
    return {"id": role.id, "name": role.name, "links": {"self": f"{root}/roles/{role.id}"}}
