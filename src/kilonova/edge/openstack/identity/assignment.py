"""Roles given to users and groups on projects, domains and the system, and those that projects below inherit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from kilonova.cloud.identity.model import SYSTEM, ActorKind, Assignment, ScopeKind, Sought
from kilonova.cloud.identity.service import Directory
from kilonova.edge.openstack.identity import view
from kilonova.edge.openstack.identity.target import Targets
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

_PLACES: Final[tuple[tuple[ScopeKind, str], ...]] = (
    ("project", "/projects/{project_id}"),
    ("domain", "/domains/{domain_id}"),
    ("system", "/system"),
)
_ACTORS: Final[tuple[ActorKind, ...]] = ("user", "group")


@dataclass(frozen=True, slots=True)
class _Form:
    """One form of a grant: who, where, and whether it is for what lies below."""

    actor: ActorKind
    target: ScopeKind
    inherited: bool

    def sought(self, request: Request) -> Sought:
        actor_id, target_id = self._ids(request)
        return Sought(self.actor, actor_id, None, self.target, target_id, self.inherited)

    def assignment(self, request: Request) -> Assignment:
        actor_id, target_id = self._ids(request)
        return Assignment(actor_id, self.target, target_id, request.params["role_id"], self.actor, self.inherited)

    def _ids(self, request: Request) -> tuple[str, str]:
        return request.params[f"{self.actor}_id"], request.params.get(f"{self.target}_id", SYSTEM)


class GrantRoutes:
    """Grants (Identity API v3, "System role assignments", "OS-INHERIT")."""

    def __init__(self, directory: Directory) -> None:
        self._rights = directory.rights
        self._targets = Targets(directory)

    def routes(self) -> list[Route]:
        found: list[Route] = []
        for actor in _ACTORS:
            for target, place in _PLACES:
                roles = f"{place}/{actor}s/{{{actor}_id}}/roles"
                one = f"{roles}/{{role_id}}"
                found += self._grants(_Form(actor, target, inherited=False), roles, one)
                if target != "system":
                    under = f"/OS-INHERIT{one}/inherited_to_projects"
                    found += self._grants(
                        _Form(actor, target, inherited=True), f"/OS-INHERIT{roles}/inherited_to_projects", under
                    )
        return found

    def _grants(self, form: _Form, several: str, one: str) -> list[Route]:
        part, tail = ("system_grant", f"_for_{form.actor}") if form.target == "system" else ("grant", "")
        named = self._targets.of_path

        def rule(verb: str) -> str:
            return f"identity:{verb}_{part}{tail}"

        def on(act: Callable[[Assignment], Awaitable[None]]) -> Callable[[Request], Awaitable[Answer]]:
            async def handle(request: Request) -> Answer:
                await act(form.assignment(request))
                return None

            return handle

        async def list_roles(request: Request) -> Answer:
            rows = await self._rights.roles_given(form.sought(request))
            root = f"{request.service_url}/v3"
            return view.collection("roles", [view.role(row, root) for row in rows], request.base_url + request.path)

        return [
            Route("GET", several, list_roles, f"identity:list_{part}s{tail}", target=named),
            Route("PUT", one, on(self._rights.grant), rule("create"), success=204, body="none", target=named),
            Route("GET", one, on(self._rights.holds), rule("check"), success=204, target=named),
            Route("DELETE", one, on(self._rights.revoke), rule("revoke"), success=204, target=named),
        ]
