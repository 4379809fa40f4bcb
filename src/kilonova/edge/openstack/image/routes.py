"""Routes of the Image API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from kilonova.cloud.image.importing import METHODS, ImageImports
from kilonova.cloud.image.member import ImageMembers
from kilonova.cloud.image.model import Image, NewImage
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.upload import ImageUpload
from kilonova.cloud.metadef.service import MetadefService
from kilonova.core.errors import Failure, Forbidden, Invalid, NotFound
from kilonova.edge.openstack.auth import FORMATS, Gate, build_service
from kilonova.edge.openstack.fault import image_fault
from kilonova.edge.openstack.image import ask, schema, view
from kilonova.edge.openstack.image.member import MemberEdge
from kilonova.edge.openstack.image.metadef import MetadefEdge
from kilonova.edge.openstack.image.protection import Protection
from kilonova.edge.openstack.image.task import TaskEdge
from kilonova.edge.openstack.image.transfer import TransferEdge
from kilonova.kit.http import AUTHENTICATED, PUBLIC, MethodNotAllowed, Request, Response, Route, Service
from kilonova.kit.http.route import unbuilt
from kilonova.kit.http.schema import Checker

PATCH: Final = "application/openstack-images-v2.1-json-patch"
OLD_PATCH: Final = "application/openstack-images-v2.0-json-patch"
_OPEN: Final = {"public": "publicize_image", "community": "communitize_image"}


class ImageEdge:
    """Handlers of the Image API; they call the services and nothing else."""

    def __init__(self, images: ImageService, protection: Protection) -> None:
        self._images = images
        self._protection = protection
        self._checker = Checker(FORMATS)

    def routes(self) -> list[Route]:
        """Records, tags, states, discovery; and what is not built: locations, cache, choice of stores."""
        one = "/v2/images/{image_id}"
        return [
            Route("GET", "/", self.choose_version, PUBLIC, success=300),
            Route("GET", "/versions", self.list_versions, PUBLIC),
            Route("POST", "/v2/images", self.create, "add_image", schema=schema.CREATE, success=201),
            Route("GET", "/v2/images", self.list, "get_images"),
            Route("DELETE", "/v2/images", self.refuse_nameless, "delete_image"),
            Route("GET", one, self.show, "get_image"),
            Route("PATCH", one, self.update, "modify_image", media=(PATCH, OLD_PATCH)),
            Route("DELETE", one, self.delete, "delete_image", success=204),
            Route("PUT", f"{one}/tags/{{tag}}", self.add_tag, "modify_image", body="none", success=204),
            Route("DELETE", f"{one}/tags/{{tag}}", self.remove_tag, "modify_image", success=204),
            Route("POST", f"{one}/actions/deactivate", self.deactivate, "deactivate", body="none", success=204),
            Route("POST", f"{one}/actions/reactivate", self.reactivate, "reactivate", body="none", success=204),
            Route("GET", "/v2/schemas/{name}", self.show_schema, AUTHENTICATED),
            Route("GET", "/v2/info/stores", self.show_stores, AUTHENTICATED),
            Route("GET", "/v2/info/stores/detail", self.show_stores, "stores_info_detail"),
            Route("GET", "/v2/info/usage", self.show_usage, AUTHENTICATED),
            *unbuilt(f"{one}/locations", "/v2/stores/{rest:path}"),
            *unbuilt("/v2/cache", "/v2/cache/{image_id}", "/v2/queued_images/{image_id}", "/v2/cached_images"),
        ]

    async def choose_version(self, request: Request) -> Response:
        return Response.json(view.versions(request.service_url), 300)

    async def list_versions(self, request: Request) -> Response:
        return Response.json(view.versions(request.service_url))

    async def create(self, request: Request) -> Response:
        """API reference "Create image": the record; bytes follow by PUT."""
        if not isinstance(request.json, dict):
            raise Invalid("Malformed request body: it must be an object")
        document: dict[str, Any] = dict(request.json)
        for name in document:
            ask.refuse_unwritable(name)
        _refuse_opening(request, document.get("visibility"))
        own = {name: ask.whole(name, document.pop(name)) for name in list(document) if name in schema.WRITABLE}
        self._protection.check(request, "create", document)
        new = NewImage(
            **{("hidden" if name == "os_hidden" else name): value for name, value in own.items() if name != "tags"},
            tags=tuple(own.get("tags", ())),
            properties=document,
        )
        image = await self._images.create(request.context, new)
        headers = [("location", f"{request.service_url}/v2/images/{image.id}")]
        headers.append(("openstack-image-import-methods", ",".join(METHODS)))
        return Response.json(self._view(request, image), 201, headers)

    async def list(self, request: Request) -> dict[str, Any]:
        """API reference "List images". `/v2/images/` is an image without an id, as with Glance."""
        if request.path.endswith("/"):
            raise NotFound("No image found with ID ")
        window = ask.read_window(request.query)
        wanted = ask.read_filter(request.query)
        self._protection.check(request, "read", wanted.properties)
        images = await self._images.list(request.context, wanted, window)
        pairs = [(name, value) for name, values in request.query.items() for value in values if name != "marker"]
        first = "/v2/images" + (f"?{urlencode(pairs)}" if pairs else "")
        following = None
        if images and len(images) == window.limit:
            following = f"/v2/images?{urlencode([*pairs, ('marker', images[-1].id)])}"
        return view.page([self._view(request, image) for image in images], first, following)

    async def refuse_nameless(self, request: Request) -> None:
        """404 for an empty id, 405 for the list."""
        if request.path.endswith("/"):
            raise NotFound("No image found with ID ")
        raise MethodNotAllowed("The method is not allowed for this resource.", allow=["GET", "HEAD", "POST"])

    async def show(self, request: Request) -> dict[str, Any]:
        return self._view(request, await self._images.get(request.context, request.params["image_id"]))

    async def update(self, request: Request) -> dict[str, Any]:
        """API reference "Update image": a JSON patch, all of it or nothing."""
        is_old = OLD_PATCH in (request.header("content-type") or "").lower()
        self._checker.check(schema.OLD_PATCH if is_old else schema.PATCH, request.json, (0, 0))
        changes = ask.read_changes(ask.modernise(request.json) if is_old else request.json, self._checker)
        for change in changes:
            if change.name == "visibility" and not change.is_property:
                _refuse_opening(request, change.value)
        denied = self._protection.denied(request, {change.name for change in changes if change.is_property})
        image = await self._images.update(request.context, request.params["image_id"], changes, denied)
        return self._view(request, image)

    def _view(self, request: Request, image: Image) -> dict[str, Any]:
        shown = view.show(image)
        for name in self._protection.hidden(request, image.properties):
            shown.pop(name, None)
        return shown

    async def delete(self, request: Request) -> None:
        await self._images.delete(request.context, request.params["image_id"])

    async def add_tag(self, request: Request) -> None:
        tag = request.params["tag"]
        self._checker.check(schema.VALUE, {"tags": [tag]}, (0, 0))
        await self._images.add_tag(request.context, request.params["image_id"], tag)

    async def remove_tag(self, request: Request) -> None:
        await self._images.remove_tag(request.context, request.params["image_id"], request.params["tag"])

    async def deactivate(self, request: Request) -> None:
        await self._images.set_active(request.context, request.params["image_id"], active=False)

    async def reactivate(self, request: Request) -> None:
        await self._images.set_active(request.context, request.params["image_id"], active=True)

    async def show_schema(self, request: Request) -> dict[str, Any]:
        document = schema.document(request.params["name"])
        if document is None:
            raise NotFound("The resource could not be found.")
        return document

    async def show_stores(self, request: Request) -> dict[str, Any]:
        """There is one store, which the API expresses by having none to choose from."""
        raise NotFound("Multi backend is not supported at this site.")

    async def show_usage(self, request: Request) -> dict[str, Any]:
        """Quota of the caller's project, under Glance's names; bytes in MiB."""
        return view.usage(await self._images.usage(request.context))


@dataclass(frozen=True, slots=True)
class ImageServices:
    """What the Image API calls."""

    images: ImageService
    uploads: ImageUpload
    members: ImageMembers
    imports: ImageImports
    metadefs: MetadefService
    protection: Protection = field(default_factory=Protection)


def build_image_service(
    services: ImageServices,
    gate: Gate,
    prefix: str = "/image",
    observe: Callable[[str, str, int, float], None] | None = None,
) -> Service:
    """The Image API, to be served at `prefix`."""
    edges = (
        ImageEdge(services.images, services.protection), TransferEdge(services.images, services.uploads),
        MemberEdge(services.members), TaskEdge(services.images, services.imports),
        MetadefEdge(services.metadefs),
    )  # fmt: skip
    routes = [route for edge in edges for route in edge.routes()]
    return build_service("image", prefix, routes, gate, fault, observe=observe)


def fault(failure: Failure, request: Request) -> Response:
    """As Glance words it; a policy's refusal has the text that its clients know."""
    if isinstance(failure, Forbidden) and "rule" in failure.facts:
        failure = Forbidden("You are not authorized to complete this action.", detail=str(failure.facts["rule"]))
    return image_fault(failure, request)


def _refuse_opening(request: Request, visibility: object) -> None:
    rule = _OPEN.get(str(visibility))
    if rule is not None and not request.permits(rule):
        raise Forbidden(f"You are not authorized to complete {rule} action.")
