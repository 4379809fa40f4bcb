"""Routes of the Image API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import urlencode

from kilonova.cloud.image.content import Unfit
from kilonova.cloud.image.model import NewImage
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.upload import ImageUpload
from kilonova.cloud.metadef.service import MetadefService
from kilonova.core.errors import Failure, Forbidden, Invalid, Lost, NoCapacity, NotFound, TooLarge
from kilonova.edge.openstack.auth import FORMATS, Gate, build_service
from kilonova.edge.openstack.fault import image_fault
from kilonova.edge.openstack.image import ask, schema, view
from kilonova.edge.openstack.image.metadef import MetadefEdge
from kilonova.kit.blob import Reader
from kilonova.kit.http import AUTHENTICATED, PUBLIC, HttpFailure, Request, Response, Route, Service, UnsupportedMedia
from kilonova.kit.http.route import unbuilt
from kilonova.kit.http.schema import Checker

PATCH: Final = "application/openstack-images-v2.1-json-patch"
OLD_PATCH: Final = "application/openstack-images-v2.0-json-patch"
BYTES: Final = "application/octet-stream"
_OPEN: Final = {"public": "publicize_image", "community": "communitize_image"}


class Gone(HttpFailure):
    """Deleted while it was being filled."""

    code = "gone"
    status = 410


class ImageEdge:
    """Handlers of the Image API; they call the services and nothing else."""

    def __init__(self, images: ImageService, uploads: ImageUpload) -> None:
        self._images = images
        self._uploads = uploads
        self._checker = Checker(FORMATS)

    def routes(self) -> list[Route]:
        """Everything under the service's prefix. Members, import, staging, tasks, locations and cache are not built."""
        one = "/v2/images/{image_id}"
        return [
            Route("GET", "/", self.choose_version, PUBLIC, success=300),
            Route("GET", "/versions", self.list_versions, PUBLIC),
            Route("POST", "/v2/images", self.create, "add_image", schema=schema.CREATE, success=201),
            Route("GET", "/v2/images", self.list, "get_images"),
            Route("GET", one, self.show, "get_image"),
            Route("PATCH", one, self.update, "modify_image", media=(PATCH, OLD_PATCH)),
            Route("DELETE", one, self.delete, "delete_image", success=204),
            Route("PUT", f"{one}/file", self.upload, "upload_image", body="stream", success=204),
            Route("GET", f"{one}/file", self.download, "download_image"),
            Route("PUT", f"{one}/tags/{{tag}}", self.add_tag, "modify_image", body="none", success=204),
            Route("DELETE", f"{one}/tags/{{tag}}", self.remove_tag, "modify_image", success=204),
            Route("POST", f"{one}/actions/deactivate", self.deactivate, "deactivate", body="none", success=204),
            Route("POST", f"{one}/actions/reactivate", self.reactivate, "reactivate", body="none", success=204),
            Route("GET", "/v2/schemas/image", self.show_schema, AUTHENTICATED),
            Route("GET", "/v2/schemas/images", self.show_list_schema, AUTHENTICATED),
            Route("GET", "/v2/info/import", self.show_import, AUTHENTICATED),
            Route("GET", "/v2/info/stores", self.show_stores, AUTHENTICATED),
            *unbuilt(f"{one}/members", f"{one}/members/{{member_id}}", f"{one}/stage", f"{one}/import"),
            *unbuilt(f"{one}/locations", f"{one}/tasks", "/v2/tasks", "/v2/tasks/{task_id}", "/v2/schemas/{name}"),
            *unbuilt("/v2/info/{name:path}", "/v2/stores/{rest:path}", "/v2/cache", "/v2/cache/{image_id}"),
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
        new = NewImage(
            **{("hidden" if name == "os_hidden" else name): value for name, value in own.items() if name != "tags"},
            tags=tuple(own.get("tags", ())),
            properties=document,
        )
        image = await self._images.create(request.context, new)
        return Response.json(view.show(image), 201, [("location", f"{request.service_url}/v2/images/{image.id}")])

    async def list(self, request: Request) -> dict[str, Any]:
        """API reference "List images"."""
        window = ask.read_window(request.query)
        images = await self._images.list(request.context, ask.read_filter(request.query), window)
        pairs = [(name, value) for name, values in request.query.items() for value in values if name != "marker"]
        first = "/v2/images" + (f"?{urlencode(pairs)}" if pairs else "")
        following = None
        if images and len(images) == window.limit:
            following = f"/v2/images?{urlencode([*pairs, ('marker', images[-1].id)])}"
        return view.page(images, first, following)

    async def show(self, request: Request) -> dict[str, Any]:
        return view.show(await self._images.get(request.context, request.params["image_id"]))

    async def update(self, request: Request) -> dict[str, Any]:
        """API reference "Update image": a JSON patch, all of it or nothing."""
        is_old = OLD_PATCH in (request.header("content-type") or "").lower()
        self._checker.check(schema.OLD_PATCH if is_old else schema.PATCH, request.json, (0, 0))
        changes = ask.read_changes(ask.modernise(request.json) if is_old else request.json, self._checker)
        for change in changes:
            if change.name == "visibility" and not change.is_property:
                _refuse_opening(request, change.value)
        return view.show(await self._images.update(request.context, request.params["image_id"], changes))

    async def delete(self, request: Request) -> None:
        await self._images.delete(request.context, request.params["image_id"])

    async def upload(self, request: Request) -> None:
        """API reference "Upload binary image data". 409: it has bytes or is getting some; 410: deleted meanwhile;
        413: too large, quota or storage full; 415: the bytes are not what the record claims."""
        media = request.header("content-type") or ""
        if media.split(";")[0].strip().lower() != BYTES:
            raise UnsupportedMedia(f"Unsupported Content-Type; this takes {BYTES}")
        try:
            await self._uploads.upload(
                request.context, request.params["image_id"], request.stream(), request.content_length
            )
        except Unfit as failure:
            raise UnsupportedMedia(failure.message, detail=failure.detail) from failure
        except Lost as failure:
            raise Gone(failure.message) from failure
        except NoCapacity as failure:
            raise TooLarge(failure.message, detail=failure.detail) from failure

    async def download(self, request: Request) -> Response:
        """API reference "Download binary image data": 204 while there is none."""
        image, reader = await self._images.open(request.context, request.params["image_id"])
        if reader is None:
            return Response(204)
        headers = [("content-type", BYTES), ("content-length", str(reader.size)), ("content-md5", image.md5 or "")]
        return Response(200, _chunks(reader), headers)

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
        return schema.image_document()

    async def show_list_schema(self, request: Request) -> dict[str, Any]:
        return schema.images_document()

    async def show_import(self, request: Request) -> dict[str, Any]:
        """No method of import: bytes come by PUT."""
        methods = {"description": "Import methods available.", "type": "array", "value": []}
        return {"import-methods": methods}

    async def show_stores(self, request: Request) -> dict[str, Any]:
        """There is one store, which the API expresses by having none to choose from."""
        raise NotFound("This site has no choice of stores.")


def build_image_service(
    images: ImageService,
    uploads: ImageUpload,
    metadefs: MetadefService,
    gate: Gate,
    prefix: str = "/image",
    observe: Callable[[str, str, int, float], None] | None = None,
) -> Service:
    """The Image API, to be served at `prefix`."""
    routes = [*ImageEdge(images, uploads).routes(), *MetadefEdge(metadefs).routes()]
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


async def _chunks(reader: Reader) -> AsyncIterator[bytes]:
    try:
        async for chunk in reader:
            yield chunk
    finally:
        await reader.close()
