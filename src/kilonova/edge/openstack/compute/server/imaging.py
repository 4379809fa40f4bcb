"""Images and backups of servers (API reference "Create Image", "Create Server Back Up")."""

from __future__ import annotations

from typing import Final

from kilonova.cloud.server.imaging import ServerImages
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import METADATA, NAME, boxed, count, record
from kilonova.edge.openstack.compute.server.attempt import PATH, attempt
from kilonova.edge.openstack.compute.server.create import Creation
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.kit.http import Request, Response, Route

_IMAGE: Final = boxed("createImage", record({"name": NAME, "metadata": METADATA}, "name"))
_BACKUP: Final = boxed(
    "createBackup",
    record(
        {"name": NAME, "metadata": METADATA, "backup_type": {"type": "string", "maxLength": 255},
         "rotation": {**count(0), "type": ["integer", "string"]}},
        "name", "backup_type", "rotation",
    ),
)  # fmt: skip


class ImagingRoutes:
    """Handlers of createImage and createBackup."""

    def __init__(self, images: ServerImages, creation: Creation) -> None:
        self._images = images
        self._creation = creation

    def routes(self) -> list[Route]:
        rules = f"{PREFIX}servers:create_image", f"{PREFIX}os-create-backup"
        return [
            Route("POST", PATH, self.create, rules[0], schema=_IMAGE, action="createImage", success=202),
            Route("POST", PATH, self.backup, rules[1], schema=_BACKUP, action="createBackup", success=202),
        ]

    async def create(self, request: Request) -> Response:
        asked, identifier = request.json["createImage"], server_id(request)
        metadata = asked.get("metadata", {})
        await self._creation.check_metadata(request.context, metadata)
        work = self._images.create(request.context, reach(request), identifier, asked["name"], metadata)
        return _answer(request, await attempt("createImage", identifier, work))

    async def backup(self, request: Request) -> Response:
        asked, identifier = request.json["createBackup"], server_id(request)
        metadata = asked.get("metadata", {})
        await self._creation.check_metadata(request.context, metadata)
        work = self._images.backup(
            request.context, reach(request), identifier, asked["name"], asked["backup_type"], int(asked["rotation"]),
            metadata,
        )  # fmt: skip
        image_id = await attempt("createBackup", identifier, work)
        # What no backup is to stay of is no image that one could look at.
        return Response(202) if int(asked["rotation"]) == 0 else _answer(request, image_id)


def _answer(request: Request, image_id: str) -> Response:
    """The image's id in the body from 2.45 on, before that its address as a header."""
    if request.version >= (2, 45):
        return Response.json({"image_id": image_id}, 202)
    root = request.service_url.removesuffix("/compute")
    return Response(202, headers=[("location", f"{root}/image/v2/images/{image_id}")])
