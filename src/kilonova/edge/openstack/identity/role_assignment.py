"""The list of role assignments: what was given, or what really holds (Identity API v3, "List role assignments")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kilonova.cloud.identity.model import SYSTEM, ActorKind, Assignment, Effective, Kind, ScopeKind, Sought
from kilonova.cloud.identity.rights import LISTED
from kilonova.cloud.identity.service import Directory
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.identity import view
from kilonova.edge.openstack.identity.directory import require
from kilonova.edge.openstack.identity.listing import flag
from kilonova.edge.openstack.identity.target import Targets, in_domain
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

INHERITED = "scope.OS-INHERIT:inherited_to"


class RoleAssignmentRoutes:
    """`GET /role_assignments`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._targets = Targets(directory)

    def routes(self) -> list[Route]:
        rule = "identity:list_role_assignments"
        return [Route("GET", "/role_assignments", self.list, rule, target=self._targets.of_home)]

    async def list(self, request: Request) -> Answer:
        sought, effective = _sought(request), flag(request, "effective")
        if sought.subtree:
            require(request, "identity:list_role_assignments_for_tree", **in_domain(request.context.domain_id))
        rows: Sequence[Assignment | Effective]
        if effective:
            _check_effective(sought)
            rows = await self._directory.rights.effective(sought)
        else:
            rows = await self._directory.rights.assignments(sought)
        names = await self._names(rows) if flag(request, "include_names") else None
        root = f"{request.service_url}/v3"
        shown = [view.assignment(row, root, names) for row in rows]
        document = view.collection("role_assignments", shown, f"{root}/role_assignments")
        return document | ({"truncated": True} if len(rows) >= LISTED else {})

    async def _names(self, rows: Iterable[Assignment | Effective]) -> dict[str, dict[str, Any]]:
        wanted: dict[Kind, set[str]] = {kind: set() for kind in ("user", "group", "role", "project", "domain")}
        for row in rows:
            if isinstance(row, Effective):
                wanted["user"].add(row.user_id)
            else:
                wanted[row.actor_kind].add(row.actor_id)
            wanted["role"].add(row.role_id)
            if row.target_kind in ("project", "domain"):
                wanted[row.target_kind].add(row.target_id)
        found = await self._directory.names({kind: sorted(ids) for kind, ids in wanted.items()})
        homes = {row.domain_id for kind in ("user", "group", "project", "role") for row in found[kind].values()}
        found["domain"] |= (await self._directory.names({"domain": sorted(homes - {None})}))["domain"]
        return {str(kind): rows_of for kind, rows_of in found.items()}


def _sought(request: Request) -> Sought:
    def one_of(*names: str) -> tuple[str | None, str | None]:
        given = [(name, value) for name in names if (value := request.query_one(name))]
        if len(given) > 1:
            raise Invalid(f"Specify {' or '.join(name.split('.')[-2] for name, _ in given)}, not both")
        return given[0] if given else (None, None)

    target, target_id = one_of("scope.project.id", "scope.domain.id")
    actor, actor_id = one_of("user.id", "group.id")
    actor_kind: ActorKind | None = None if actor is None else ("group" if actor == "group.id" else "user")
    kind: ScopeKind | None = None
    if request.query_one("scope.system") is not None:
        if target is not None:
            raise Invalid(f"Specify system or {target.split('.')[1]}, not both")
        kind, target_id = "system", SYSTEM
    elif target is not None:
        kind = "project" if target == "scope.project.id" else "domain"
    subtree = flag(request, "include_subtree")
    if subtree and kind != "project":
        raise Invalid("scope.project.id must be specified if include_subtree is also specified")
    inherited = request.query_one(INHERITED)
    under = None if inherited is None else inherited == "projects"
    role_id = request.query_one("role.id") or None
    return Sought(actor_kind, actor_id, role_id, kind, target_id, under, subtree, request.context.domain_id)


def _check_effective(sought: Sought) -> None:
    """What could only be empty is refused, as Keystone does."""
    if sought.actor_kind == "group":
        raise Invalid("Combining effective and group filter will always result in an empty list.")
    if sought.target_kind == "domain" and sought.inherited:
        raise Invalid("Combining effective, domain and inherited filters will always result in an empty list.")
