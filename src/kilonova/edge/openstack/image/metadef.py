"""Routes of metadata definitions: namespaces, resource types, schemas."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlencode

from kilonova.cloud.metadef.model import MAX_ENTRIES, Page
from kilonova.cloud.metadef.service import MetadefService
from kilonova.edge.openstack.image import metadef_ask as ask
from kilonova.edge.openstack.image import metadef_schema as schema
from kilonova.edge.openstack.image import metadef_view as view
from kilonova.edge.openstack.image.metadef_entry import NAMESPACE, OBJECT, PROPERTY, EntryEdge, Held, TagEdge
from kilonova.kit.http import AUTHENTICATED, Request, Response, Route

_SCHEMAS: Final = "/v2/schemas/metadefs"
_SHOWN: Final = ("list_metadef_resource_types", "get_metadef_objects", "get_metadef_properties", "get_metadef_tags")
_HOLDING: Final = {
    "resource_type_associations": "add_metadef_resource_type_association",
    "objects": "add_metadef_object",
    "properties": "add_metadef_property",
    "tags": "add_metadef_tag",
}


class MetadefEdge(Held):
    """Handlers of the catalog; they call the service and nothing else."""

    def __init__(self, metadefs: MetadefService) -> None:
        super().__init__(metadefs)
        self._documents = schema.documents()

    def routes(self) -> list[Route]:
        """Everything about metadata definitions."""
        types, body = f"{NAMESPACE}/resource_types", schema.NAMESPACE_BODY
        linked = "metadef_resource_type_association"
        return [
            Route("GET", view.ROOT, self.list, "get_metadef_namespaces"),
            Route("POST", view.ROOT, self.create, "add_metadef_namespace", schema=body, success=201),
            Route("GET", NAMESPACE, self.show, "get_metadef_namespace", target=self.target),
            Route("GET", "/v2/metadefs/resource_types", self.list_types, "list_metadef_resource_types"),
            Route("GET", types, self.list_associations, "list_metadef_resource_types", target=self.target),
            Route("POST", types, self.associate, f"add_{linked}", schema=schema.ASSOCIATION_BODY, success=201,
                  target=self.target),
            Route("DELETE", f"{types}/{{name}}", self.dissociate, f"remove_{linked}", success=204, target=self.target),
            *EntryEdge(self._metadefs, OBJECT).routes(),
            *EntryEdge(self._metadefs, PROPERTY).routes(),
            *TagEdge(self._metadefs).routes(),
            Route("PUT", NAMESPACE, self.update, "modify_metadef_namespace", schema=body, target=self.target),
            Route("DELETE", NAMESPACE, self.delete, "delete_metadef_namespace", success=204, target=self.target),
            *(Route("GET", f"{_SCHEMAS}/{name}", self.show_schema, AUTHENTICATED) for name in self._documents),
        ]  # fmt: skip

    async def list(self, request: Request) -> dict[str, Any]:
        """API reference "List namespaces"."""
        self.require(request, "list_metadef_resource_types")
        window = ask.read_window(request)
        spaces = await self._metadefs.list(request.context, ask.read_filter(request), window)
        pairs = [(name, value) for name, values in request.query.items() for value in values if name != "marker"]
        following = None
        if spaces and len(spaces) == window.limit:
            following = f"{view.ROOT}?{urlencode([*pairs, ('marker', spaces[-1].namespace.name)])}"
        return view.page(spaces, view.ROOT + (f"?{urlencode(pairs)}" if pairs else ""), following)

    async def create(self, request: Request) -> Response:
        """API reference "Create namespace", with all that it shall hold or not at all."""
        body = ask.read_body(request)
        self.require(request, *(rule for part, rule in _HOLDING.items() if body.get(part)))
        made = await self._metadefs.create(request.context, ask.read_namespace(body), ask.read_entries(body))
        place = f"{request.service_url}{view.ROOT}/{quote(made.namespace.name, safe=':')}"
        return Response.json(view.contents(made), 201, [("location", place)])

    async def show(self, request: Request) -> dict[str, Any]:
        """API reference "Get namespace details"."""
        self.require(request, *_SHOWN)
        held = await self._metadefs.describe(request.context, request.params["namespace"])
        return view.contents(held, request.query_one("resource_type"))

    async def update(self, request: Request) -> dict[str, Any]:
        """API reference "Update namespace": what is not said becomes its default. What it holds has addresses of its
        own and stays as it is, whatever the body says of it."""
        wanted = ask.read_namespace(ask.read_body(request))
        return view.namespace(await self._metadefs.update(request.context, request.params["namespace"], wanted))

    async def delete(self, request: Request) -> None:
        await self._metadefs.delete(request.context, request.params["namespace"])

    async def list_types(self, request: Request) -> dict[str, Any]:
        """API reference "List resource types"."""
        return {"resource_types": [view.association(one) for one in await self._metadefs.resource_types()]}

    async def list_associations(self, request: Request) -> dict[str, Any]:
        """API reference "List resource type associations"."""
        self.require(request, "get_metadef_resource_type")
        window = Page("name", descending=False, limit=MAX_ENTRIES)
        some = await self._metadefs.list_entries(request.context, request.params["namespace"], "association", window)
        return {"resource_type_associations": [view.association(one) for one in some]}

    async def associate(self, request: Request) -> dict[str, Any]:
        """API reference "Create resource type association"; a resource type that nobody knew becomes known."""
        new = ask.read_entry(ask.read_body(request))
        (entry,) = await self._metadefs.add(request.context, request.params["namespace"], "association", [new])
        return view.association(entry)

    async def dissociate(self, request: Request) -> None:
        """API reference "Remove resource type association"."""
        params = request.params
        await self._metadefs.remove(request.context, params["namespace"], "association", params["name"])

    async def show_schema(self, request: Request) -> dict[str, Any]:
        return self._documents[request.path.rstrip("/").rpartition("/")[2]]
