"""Projects: the tree, domains that are projects to whoever asks so, and tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kilonova.cloud.identity.model import Domain, Kind, Project
from kilonova.cloud.identity.service import Directory
from kilonova.core.errors import Forbidden, Invalid
from kilonova.edge.openstack.identity import schema, view
from kilonova.edge.openstack.identity.directory import columns, home, require
from kilonova.edge.openstack.identity.listing import Listing, boolean, flag, read_filters, read_tags
from kilonova.edge.openstack.identity.target import Targets, in_domain
from kilonova.kit.http import Request, Response, Route
from kilonova.kit.http.route import Answer

_ONE: Final = "/projects/{project_id}"


class ProjectRoutes:
    """Projects and their tags."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._projects = directory.projects
        self._targets = Targets(directory)

    def routes(self) -> list[Route]:
        home, named = self._targets.of_home, self._targets.of_path
        new, changed = schema.create("project"), schema.change("project")
        tags, tag = f"{_ONE}/tags", f"{_ONE}/tags/{{tag}}"
        return [
            Route("GET", "/projects", self.list_projects, "identity:list_projects", query=schema.LIST, target=home),
            Route("POST", "/projects", self.create, "identity:create_project", schema=new, success=201, target=home),
            Route("GET", _ONE, self.show, "identity:get_project", target=named),
            Route("PATCH", _ONE, self.change, "identity:update_project", schema=changed, target=named),
            Route("DELETE", _ONE, self.delete, "identity:delete_project", success=204, target=named),
            Route("GET", tags, self.list_tags, "identity:list_project_tags", target=named),
            Route("PUT", tags, self.put_tags, "identity:update_project_tags", schema=schema.TAGS, target=named),
            Route("DELETE", tags, self.drop_tags, "identity:delete_project_tags", success=204, target=named),
            Route("GET", tag, self.check_tag, "identity:get_project_tag", success=204, target=named),
            Route("PUT", tag, self.put_tag, "identity:create_project_tag", target=named, body="none"),
            Route("DELETE", tag, self.drop_tag, "identity:delete_project_tag", success=204, target=named),
        ]

    async def list_projects(self, request: Request) -> Answer:
        page = Listing(request)
        kind: Kind = "domain" if boolean(request.query_one("is_domain")) else "project"
        where = read_filters(kind, request)
        tags = read_tags(request)
        if kind == "domain" and (request.query_one("parent_id") or request.query_one("domain_id")):
            where["id"] = ""  # no domain has a parent or lies in a domain
        rows = await self._directory.list(kind, where, tags=tags, marker=page.marker, limit=page.limit)
        return page.answer("projects", "project", rows)

    async def show(self, request: Request) -> Answer:
        row = await self._projects.show(request.params["project_id"])
        shown = view.project(row, f"{request.service_url}/v3")
        as_list = {way: flag(request, f"{way}_as_list") for way in ("parents", "subtree")}
        as_ids = {way: flag(request, f"{way}_as_ids") for way in ("parents", "subtree")}
        for way in ("parents", "subtree"):
            if as_list[way] and as_ids[way]:
                raise Invalid(f"Cannot use {way}_as_list and {way}_as_ids query params at the same time.")
        if as_list["parents"] or as_ids["parents"]:
            above = await self._projects.parents(row.id)
            shown["parents"] = view.line(row, above) if as_ids["parents"] else await self._listed(request, above)
        if as_list["subtree"] or as_ids["subtree"]:
            below = await self._projects.subtree(row.id)
            shown["subtree"] = view.tree(row.id, below) if as_ids["subtree"] else await self._listed(request, below)
        return {"project": shown}

    async def create(self, request: Request) -> Answer:
        given = request.json["project"]
        if given.get("is_domain"):
            return await self._create_domain(request, given)
        values = columns("project", given)
        parent_id = values.get("parent_id")
        if not values.get("domain_id"):
            values["domain_id"] = await self._domain_of(parent_id) if parent_id else home(request)
        require(request, "identity:create_project", **in_domain(values["domain_id"]))
        return self._shown(request, await self._directory.create("project", values))

    async def change(self, request: Request) -> Answer:
        given, row = request.json["project"], await self._projects.show(request.params["project_id"])
        if given.get("is_domain", isinstance(row, Domain)) != isinstance(row, Domain):
            raise Invalid("Update of `is_domain` is not allowed.")
        kind = self._kind(request, row, "update")
        before = view.project(row, "")
        for key in ("parent_id", "domain_id"):
            if key in given and given[key] != before[key]:
                raise (Forbidden if key == "parent_id" else Invalid)(f"Update of `{key}` is not allowed.")
        values = columns("project", {k: v for k, v in given.items() if k not in ("parent_id", "domain_id")})
        return self._shown(request, await self._directory.change(kind, row.id, values))

    async def delete(self, request: Request) -> Answer:
        row = await self._projects.show(request.params["project_id"])
        await self._directory.delete(self._kind(request, row, "delete"), row.id)
        return None

    async def list_tags(self, request: Request) -> Answer:
        return {"tags": list(await self._projects.tags(request.params["project_id"])), "links": self._links(request)}

    async def put_tags(self, request: Request) -> Answer:
        given = request.json["tags"]
        tags = await self._projects.set_tags(request.params["project_id"], given)
        return {"tags": list(tags), "links": self._links(request)}

    async def drop_tags(self, request: Request) -> Answer:
        await self._projects.set_tags(request.params["project_id"], ())
        return None

    async def check_tag(self, request: Request) -> Answer:
        await self._projects.check_tag(request.params["project_id"], request.params["tag"])
        return None

    async def put_tag(self, request: Request) -> Answer:
        project_id, tag = request.params["project_id"], request.params["tag"]
        if not tag.strip() or len(tag) > schema.TAG_LENGTH or "," in tag or "/" in tag:
            raise Invalid(f"A tag has 1 to {schema.TAG_LENGTH} characters, and neither ',' nor '/'.")
        await self._projects.add_tag(project_id, tag)
        return Response(201, headers=[("location", request.base_url + request.path)])

    async def drop_tag(self, request: Request) -> Answer:
        await self._projects.drop_tag(request.params["project_id"], request.params["tag"])
        return None

    async def _create_domain(self, request: Request, given: Any) -> Answer:
        require(request, "identity:create_domain")
        if given.get("parent_id") or given.get("domain_id"):
            raise Invalid("Only root projects are allowed to act as domains.")
        values = columns("project", {k: v for k, v in given.items() if k not in ("parent_id", "domain_id")})
        return self._shown(request, await self._directory.create("domain", values))

    async def _domain_of(self, parent_id: str) -> str:
        """The domain of a project without one of its own is its parent's. Raises NotFound."""
        parent = await self._projects.show(parent_id)
        return parent.id if isinstance(parent, Domain) else parent.domain_id

    async def _listed(self, request: Request, rows: Sequence[Project]) -> list[dict[str, Any]]:
        """Those of `rows` on which the caller has a role, as Keystone shows them."""
        root = f"{request.service_url}/v3"
        seen = await self._projects.visible_to(request.context.user_id, rows)
        return [{"project": view.project(row, root)} for row in seen]

    def _kind(self, request: Request, row: Project | Domain, verb: str) -> Kind:
        if isinstance(row, Project):
            return "project"
        require(request, f"identity:{verb}_domain")
        return "domain"

    def _links(self, request: Request) -> dict[str, str]:
        return {"self": request.base_url + request.path}

    def _shown(self, request: Request, row: Project | Domain) -> dict[str, Any]:
        return {"project": view.project(row, f"{request.service_url}/v3")}
