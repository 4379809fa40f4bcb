"""Domains, projects, users, groups and roles: list, show, create, change, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.identity.model import DEFAULT_DOMAIN, Kind, Role
from kilonova.cloud.identity.rights import Rights
from kilonova.cloud.identity.service import Directory
from kilonova.core.errors import Forbidden
from kilonova.edge.openstack.identity import schema, view
from kilonova.edge.openstack.identity.listing import Listing, read_filters
from kilonova.edge.openstack.identity.target import Targets, in_domain
from kilonova.kit.http import PUBLIC, Request, Route
from kilonova.kit.http.route import Answer

_COLUMNS: Final[Mapping[Kind, frozenset[str]]] = {
    "domain": frozenset({"name", "description", "enabled", "options", "tags"}),
    "project": frozenset({"name", "domain_id", "parent_id", "description", "enabled", "options", "tags"}),
    "user": frozenset({"name", "domain_id", "default_project_id", "enabled", "password", "options"}),
    "group": frozenset({"name", "domain_id", "description"}),
    "role": frozenset({"name", "domain_id", "description", "options"}),
}
_SEIZING: Final = frozenset({"enabled", "password", "options"})
"""What decides who can log in as a user."""
_RESERVED: Final = frozenset({"id", "links", "is_domain", "password_expires_at", "original_password", "password"})


class KindRoutes:
    """The routes of one kind."""

    def __init__(self, kind: Kind, directory: Directory) -> None:
        self._kind = kind
        self._plural = f"{kind}s"
        self._directory = directory
        self._targets = Targets(directory)

    def routes(self) -> list[Route]:
        kind, plural, home, named = self._kind, self._plural, self._targets.of_home, self._targets.of_path
        one = f"/{plural}/{{{kind}_id}}"
        new, changed = schema.create(kind), schema.change(kind)
        return [
            Route("GET", f"/{plural}", self.list, f"identity:list_{plural}", query=schema.LIST, target=home),
            Route("POST", f"/{plural}", self.create, f"identity:create_{kind}", schema=new, success=201, target=home),
            Route("GET", one, self.show, f"identity:get_{kind}", target=named),
            Route("PATCH", one, self.change, f"identity:update_{kind}", schema=changed, target=named),
            Route("DELETE", one, self.delete, f"identity:delete_{kind}", success=204, target=named),
        ]

    async def list(self, request: Request) -> Answer:
        if self._kind == "role" and request.query_one("domain_id") is not None:
            require(request, "identity:list_domain_roles")
        page = Listing(request)
        where = read_filters(self._kind, request)
        rows = await self._directory.list(self._kind, where, marker=page.marker, limit=page.limit)
        return page.answer(self._plural, self._kind, rows)

    async def show(self, request: Request) -> Answer:
        row = await self._directory.show(self._kind, self._id(request))
        if isinstance(row, Role) and row.domain_id is not None:
            require(request, "identity:get_domain_role")
        return self._shown(request, row)

    async def create(self, request: Request) -> Answer:
        given = request.json[self._kind]
        values = columns(self._kind, given)
        if self._kind in ("user", "group"):
            values["domain_id"] = given.get("domain_id") or home(request)
            require(request, f"identity:create_{self._kind}", **in_domain(values["domain_id"]))
        if self._kind == "role" and values.get("domain_id"):
            require(request, "identity:create_domain_role")
        return self._shown(request, await self._directory.create(self._kind, values))

    async def change(self, request: Request) -> Answer:
        await self._check_domain_role(request, "update")
        values = columns(self._kind, request.json[self._kind])
        if self._kind == "user" and values.keys() & _SEIZING:
            await check_managed(request, self._directory.rights, self._id(request))
        return self._shown(request, await self._directory.change(self._kind, self._id(request), values))

    async def delete(self, request: Request) -> Answer:
        await self._check_domain_role(request, "delete")
        if self._kind in ("user", "group"):
            await check_managed(request, self._directory.rights, self._id(request))
        await self._directory.delete(self._kind, self._id(request))
        return None

    async def _check_domain_role(self, request: Request, verb: str) -> None:
        if self._kind == "role" and (await self._directory.show("role", self._id(request))).domain_id is not None:
            require(request, f"identity:{verb}_domain_role")

    def _id(self, request: Request) -> str:
        return request.params[f"{self._kind}_id"]

    def _shown(self, request: Request, row: Any) -> Answer:
        return {self._kind: view.VIEWS[self._kind](row, f"{request.service_url}/v3")}


class OwnRoutes:
    """What users ask about themselves."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._targets = Targets(directory)

    def routes(self) -> list[Route]:
        named = self._targets.of_path
        projects, password = "/users/{user_id}/projects", "/users/{user_id}/password"
        body = schema.CHANGE_PASSWORD
        return [
            Route("GET", projects, self.list_projects, "identity:list_user_projects", target=named),
            Route("POST", password, self.change_password, PUBLIC, schema=body, success=204),
        ]

    async def list_projects(self, request: Request) -> Answer:
        root = f"{request.service_url}/v3"
        user_id = request.params["user_id"]
        found = await self._directory.rights.projects_of(user_id)
        home = request.context.domain_id
        rows = [view.project(row, root) for row in found if home is None or row.domain_id == home]
        return view.collection("projects", rows, f"{root}/users/{user_id}/projects")

    async def change_password(self, request: Request) -> Answer:
        """Whoever knows the present password may set the next one, also when it has expired."""
        given = request.json["user"]
        await self._directory.change_password(request.params["user_id"], given["original_password"], given["password"])
        return None


def require(request: Request, rule: str, **target: str | None) -> None:
    """Raises Forbidden unless policy allows the caller another rule than the route's, or another target."""
    if not request.permits(rule, **target):
        raise Forbidden(f"Policy doesn't allow {rule} to be performed.", rule=rule)


async def check_managed(request: Request, rights: Rights, actor_id: str) -> None:
    """Raises Forbidden when the caller manages a domain, and the user or group has more rights than that."""
    context = request.context
    if context.domain_id is not None:
        await rights.check_managed(actor_id, context.domain_id, by_admin="admin" in context.roles)


def columns(kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """The body's members as columns; what has no column of its own is kept in `extra`."""
    own = _COLUMNS[kind]
    values = {key: value for key, value in given.items() if key in own}
    if kind != "role" and "description" in own and values.get("description", "") is None:
        values["description"] = ""
    if kind == "role" and "domain_id" in values:
        values["domain_id"] = values["domain_id"] or ""
    extra = {key: value for key, value in given.items() if key not in own and key not in _RESERVED}
    return {**values, "extra": extra} if extra else values


def home(request: Request) -> str:
    """The domain of what is made without saying in which."""
    context = request.context
    return context.domain_id or context.project_domain_id or DEFAULT_DOMAIN
