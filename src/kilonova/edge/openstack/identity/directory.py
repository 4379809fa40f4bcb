"""Domains, projects, users and roles: list, show, create, change, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.identity.model import DEFAULT_DOMAIN, Kind
from kilonova.cloud.identity.service import Directory
from kilonova.core.errors import Forbidden, Invalid, NotBuilt
from kilonova.edge.openstack.identity import schema, view
from kilonova.kit.http import PUBLIC, Request, Route
from kilonova.kit.http.route import Answer

_COLUMNS: Final[Mapping[Kind, frozenset[str]]] = {
    "domain": frozenset({"name", "description", "enabled"}),
    "project": frozenset({"name", "domain_id", "parent_id", "description", "enabled"}),
    "user": frozenset({"name", "domain_id", "default_project_id", "enabled", "password"}),
    "role": frozenset({"name", "domain_id", "description"}),
}
_FILTERS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "domain": ("name", "enabled"),
    "project": ("name", "enabled", "domain_id", "parent_id"),
    "user": ("name", "enabled", "domain_id"),
    "role": ("name", "domain_id"),
}
_RESERVED: Final = frozenset({"id", "links", "is_domain", "password_expires_at", "original_password", "password"})


class KindRoutes:
    """The routes of one kind."""

    def __init__(self, kind: Kind, directory: Directory) -> None:
        self._kind = kind
        self._plural = f"{kind}s"
        self._directory = directory

    def routes(self) -> list[Route]:
        kind, plural = self._kind, self._plural
        one = f"/{plural}/{{{kind}_id}}"
        return [
            Route("GET", f"/{plural}", self.list, f"identity:list_{plural}", query=schema.LIST),
            Route(
                "POST", f"/{plural}", self.create, f"identity:create_{kind}", schema=schema.create(kind), success=201
            ),
            Route("GET", one, self.show, f"identity:get_{kind}"),
            Route("PATCH", one, self.change, f"identity:update_{kind}", schema=schema.change(kind)),
            Route("DELETE", one, self.delete, f"identity:delete_{kind}", success=204),
        ]

    async def list(self, request: Request) -> Answer:
        root = f"{request.service_url}/v3"
        address = f"{root}/{self._plural}"
        if self._kind == "project" and _boolean(request.query_one("is_domain")):
            raise NotBuilt("Domains are listed at /v3/domains")
        rows = await self._directory.list(self._kind, _where(self._kind, request))
        return view.collection(self._plural, [view.VIEWS[self._kind](row, root) for row in rows], address)

    async def show(self, request: Request) -> Answer:
        return self._shown(request, await self._directory.show(self._kind, self._id(request)))

    async def create(self, request: Request) -> Answer:
        given = request.json[self._kind]
        values = _values(self._kind, given)
        if self._kind in ("project", "user"):
            values["domain_id"] = given.get("domain_id") or _home(request)
        if self._kind == "project":
            values["parent_id"] = given.get("parent_id") or values["domain_id"]
        return self._shown(request, await self._directory.create(self._kind, values))

    async def change(self, request: Request) -> Answer:
        values = _values(self._kind, request.json[self._kind])
        if "parent_id" in values:
            raise Forbidden("Update of parent_id is not allowed.")
        return self._shown(request, await self._directory.change(self._kind, self._id(request), values))

    async def delete(self, request: Request) -> Answer:
        await self._directory.delete(self._kind, self._id(request))
        return None

    def _id(self, request: Request) -> str:
        return request.params[f"{self._kind}_id"]

    def _shown(self, request: Request, row: Any) -> Answer:
        return {self._kind: view.VIEWS[self._kind](row, f"{request.service_url}/v3")}


class OwnRoutes:
    """What users ask about themselves."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/users/{user_id}/projects", self.list_projects, "identity:list_user_projects"),
            Route(
                "POST",
                "/users/{user_id}/password",
                self.change_password,
                PUBLIC,
                schema=schema.CHANGE_PASSWORD,
                success=204,
            ),
        ]

    async def list_projects(self, request: Request) -> Answer:
        root = f"{request.service_url}/v3"
        user_id = request.params["user_id"]
        await self._directory.show("user", user_id)
        rows = [view.project(row, root) for row in await self._directory.projects_of(user_id)]
        return view.collection("projects", rows, f"{root}/users/{user_id}/projects")

    async def change_password(self, request: Request) -> Answer:
        """Whoever knows the present password may set the next one, also when it has expired."""
        given = request.json["user"]
        await self._directory.change_password(request.params["user_id"], given["original_password"], given["password"])
        return None


def _values(kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """The body's members as columns; what has no column of its own is kept in `extra`."""
    if given.get("is_domain"):
        raise NotBuilt("Domains are made at /v3/domains")
    columns = _COLUMNS[kind]
    values = {key: value for key, value in given.items() if key in columns}
    if kind in ("domain", "project") and values.get("description", "") is None:
        values["description"] = ""
    if kind == "role" and "domain_id" in values:
        values["domain_id"] = values["domain_id"] or ""
    extra = {key: value for key, value in given.items() if key not in columns and key not in _RESERVED}
    return {**values, "extra": extra} if extra else values


def _where(kind: Kind, request: Request) -> dict[str, Any]:
    where: dict[str, Any] = {}
    for key in (*_FILTERS[kind], "name__contains", "name__startswith"):
        value = request.query_one(key)
        if value is not None:
            where[key] = _boolean(value) if key == "enabled" else value
    if kind == "role" and "domain_id" not in where:
        where["domain_id"] = None
    return where


def _boolean(text: str | None) -> bool:
    if text is None or text.lower() in ("false", "0", "no", "off"):
        return False
    if text.lower() in ("", "true", "1", "yes", "on"):
        return True
    raise Invalid(f"{text[:32]!r} is neither true nor false")


def _home(request: Request) -> str:
    context = request.context
    return context.domain_id or context.project_domain_id or DEFAULT_DOMAIN
