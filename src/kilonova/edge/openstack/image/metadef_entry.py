"""Routes of what a namespace holds: objects, properties and tags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kilonova.cloud.metadef.model import Entry, Kind
from kilonova.cloud.metadef.service import MetadefService
from kilonova.core.errors import Forbidden, NotFound
from kilonova.edge.openstack.auth import FORMATS
from kilonova.edge.openstack.image import metadef_ask as ask
from kilonova.edge.openstack.image import metadef_schema as schema
from kilonova.edge.openstack.image import metadef_view as view
from kilonova.kit.http import Request, Route
from kilonova.kit.http.schema import Checker

NAMESPACE: Final = "/v2/metadefs/namespaces/{namespace}"
Target = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Form:
    """How a kind looks in the API. `remove`: the verb of its policy rule."""

    kind: Kind
    collection: str
    body: Mapping[str, Any]
    show: Callable[[str, Entry], dict[str, Any]]
    show_all: Callable[[str, Sequence[Entry]], dict[str, Any]]
    remove: str = "delete"


OBJECT: Final = Form("object", "objects", schema.OBJECT_BODY, view.metadata_object, view.metadata_objects)
PROPERTY: Final = Form(
    "property", "properties", schema.PROPERTY_BODY, view.metadata_property, view.metadata_properties, "remove"
)
TAG: Final = Form("tag", "tags", schema.TAG_BODY, view.tag, view.tags)


class Held:
    """What routes below a namespace share: policy is asked about its owner and visibility."""

    def __init__(self, metadefs: MetadefService) -> None:
        self._metadefs = metadefs

    async def target(self, request: Request) -> Target:
        """Raises NotFound for a namespace that the caller may not see, whatever he wants of it."""
        space = await self._metadefs.get(request.context, request.params["namespace"])
        found = request.state["target"] = {"project_id": space.owner, "visibility": space.visibility}
        return found

    def require(self, request: Request, *rules: str) -> None:
        """Ask further rules than the route's own. Raises Forbidden."""
        for rule in rules:
            if not request.permits(rule, **request.state.get("target", {})):
                raise Forbidden(f"Policy doesn't allow {rule} to be performed.", rule=rule)


class EntryEdge(Held):
    """Handlers for one kind of what namespaces hold."""

    def __init__(self, metadefs: MetadefService, form: Form) -> None:
        super().__init__(metadefs)
        self._form = form

    def routes(self) -> list[Route]:
        """The collection and its members."""
        form, many = self._form, f"{NAMESPACE}/{self._form.collection}"
        one, rule = f"{many}/{{name}}", f"metadef_{self._form.kind}"
        return [
            Route("GET", many, self.list, f"get_metadef_{form.collection}", target=self.target),
            *self.adding(many, one, f"add_{rule}"),
            Route("DELETE", many, self.clear, "delete_metadef_namespace", success=204, target=self.target),
            Route("GET", one, self.show, f"get_{rule}", target=self.target),
            Route("PUT", one, self.update, f"modify_{rule}", schema=form.body, target=self.target),
            Route("DELETE", one, self.delete, f"{form.remove}_{rule}", success=204, target=self.target),
        ]

    def adding(self, many: str, one: str, rule: str) -> list[Route]:
        """How new ones come."""
        return [Route("POST", many, self.create, rule, schema=self._form.body, success=201, target=self.target)]

    async def list(self, request: Request) -> dict[str, Any]:
        """API reference "List objects", "List properties", "List tags"."""
        space, window = request.params["namespace"], ask.read_entry_window(request)
        some = await self._metadefs.list_entries(request.context, space, self._form.kind, window)
        return self._form.show_all(space, some)

    async def create(self, request: Request) -> dict[str, Any]:
        """API reference "Create object", "Create property"."""
        new = ask.read_entry(ask.read_body(request))
        return await self._added(request, new)

    async def show(self, request: Request) -> dict[str, Any]:
        """API reference "Show object", "Show property definition", "Get tag definition"."""
        space, name = request.params["namespace"], await self._own_name(request)
        return self._form.show(space, await self._metadefs.get_entry(request.context, space, self._form.kind, name))

    async def update(self, request: Request) -> dict[str, Any]:
        """API reference "Update object", "Update property definition", "Update tag definition": what is not said is
        gone."""
        space, new = request.params["namespace"], ask.read_entry(ask.read_body(request))
        entry = await self._metadefs.change(request.context, space, self._form.kind, request.params["name"], new)
        return self._form.show(space, entry)

    async def delete(self, request: Request) -> None:
        params = request.params
        await self._metadefs.remove(request.context, params["namespace"], self._form.kind, params["name"])

    async def clear(self, request: Request) -> None:
        """API reference "Delete all tag definitions"; for objects and properties Glance has it too."""
        if self._form is TAG:
            self.require(request, "delete_metadef_tags")
        await self._metadefs.clear(request.context, request.params["namespace"], self._form.kind)

    async def _added(self, request: Request, new: Entry) -> dict[str, Any]:
        space = request.params["namespace"]
        (entry,) = await self._metadefs.add(request.context, space, self._form.kind, [new])
        return self._form.show(space, entry)

    async def _own_name(self, request: Request) -> str:
        """The name in the path; with `?resource_type=…` without the prefix that properties have there."""
        name, resource_type = request.params["name"], request.query_one("resource_type")
        if self._form is not PROPERTY or not resource_type:
            return name
        self.require(request, "get_metadef_resource_type")
        space = request.params["namespace"]
        found = await self._metadefs.get_entry(request.context, space, "association", resource_type)
        prefix: str = found.document.get("prefix", "")
        if not name.startswith(prefix):
            raise NotFound(f"Property {name} does not start with the prefix {prefix} of {resource_type}.")
        return name[len(prefix) :]


class TagEdge(EntryEdge):
    """Tags: they are only names, so that one is made by its address, and many at once."""

    def __init__(self, metadefs: MetadefService) -> None:
        super().__init__(metadefs, TAG)
        self._checker = Checker(FORMATS)

    def adding(self, many: str, one: str, rule: str) -> list[Route]:
        return [
            Route("POST", many, self.create_many, f"{rule}s", schema=schema.TAGS_BODY, success=201, target=self.target),
            Route("POST", one, self.create_one, rule, body="none", success=201, target=self.target),
        ]

    async def create_one(self, request: Request) -> dict[str, Any]:
        """API reference "Create tag definition"."""
        body = {"name": request.params["name"]}
        self._checker.check(schema.TAG_BODY, body, (0, 0))
        return await self._added(request, ask.read_entry(body))

    async def create_many(self, request: Request) -> dict[str, Any]:
        """API reference "Create tags": instead of all that are there, or with X-Openstack-Append beside them."""
        space, new = request.params["namespace"], [ask.read_entry(one) for one in ask.read_body(request)["tags"]]
        instead = not ask.reads_append(request)
        return view.tags(space, await self._metadefs.add(request.context, space, "tag", new, instead=instead))
