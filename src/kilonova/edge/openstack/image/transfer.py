"""Bytes of images in and out: upload, staging, download (API reference "Image data", "Interoperable image import")."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Final

from kilonova.cloud.image.content import Unfit
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.upload import ImageUpload
from kilonova.core.errors import Invalid, Lost, NoCapacity, TooLarge
from kilonova.edge.openstack.image.span import read_span
from kilonova.kit.blob import Reader
from kilonova.kit.http import HttpFailure, Request, Response, Route, UnsupportedMedia

BYTES: Final = "application/octet-stream"


class Gone(HttpFailure):
    """Deleted while it was being filled."""

    code = "gone"
    status = 410


class TransferEdge:
    """Handlers of `/v2/images/{image_id}/file` and `/stage`."""

    def __init__(self, images: ImageService, uploads: ImageUpload) -> None:
        self._images = images
        self._uploads = uploads

    def routes(self) -> list[Route]:
        one = "/v2/images/{image_id}"
        return [
            Route("PUT", f"{one}/file", self.upload, "upload_image", body="stream", success=204),
            Route("GET", f"{one}/file", self.download, "download_image"),
            Route("PUT", f"{one}/stage", self.stage, "modify_image", body="stream", success=204),
        ]

    async def upload(self, request: Request) -> None:
        """409: it has bytes or is getting some; 410: deleted meanwhile; 413: too large, quota or storage full; 415: the
        bytes are not what the record claims."""
        _check_bytes(request)
        if request.header("x-image-meta-store"):
            raise Invalid("This site has no choice of stores.")
        image_id = request.params["image_id"]
        await _told(self._uploads.upload(request.context, image_id, request.stream(), request.content_length))

    async def stage(self, request: Request) -> None:
        """As `upload`, but nothing is looked at yet."""
        _check_bytes(request)
        image_id = request.params["image_id"]
        await _told(self._uploads.stage(request.context, image_id, request.stream(), request.content_length))

    async def download(self, request: Request) -> Response:
        """204 while there are none; 206 for a part (416 when there is no such part)."""
        if request.query_one("prefer"):
            raise Invalid("Store selection for download is not available when multiple backends are not enabled.")
        image = await self._images.downloadable(request.context, request.params["image_id"])
        if image is None:
            return Response(204)
        size = image.size or 0
        span = read_span(request.header("range"), request.header("content-range"), size)
        first, length = span or (0, size)
        reader = await self._images.open(image, first, length)
        headers = [("content-type", BYTES), ("content-length", str(reader.size)), ("content-md5", image.md5 or "")]
        if span is None:
            return Response(200, _chunks(reader), headers)
        headers.append(("content-range", f"bytes {first}-{first + length - 1}/{size}"))
        return Response(206, _chunks(reader), headers)


def _check_bytes(request: Request) -> None:
    media = request.header("content-type") or ""
    if media.split(";")[0].strip().lower() != BYTES:
        raise UnsupportedMedia(f"Unsupported Content-Type; this takes {BYTES}")


async def _told(filling: Awaitable[object]) -> None:
    try:
        await filling
    except Unfit as failure:
        raise UnsupportedMedia(failure.message, detail=failure.detail) from failure
    except Lost as failure:
        raise Gone(failure.message) from failure
    except NoCapacity as failure:
        raise TooLarge(failure.message, detail=failure.detail) from failure


async def _chunks(reader: Reader) -> AsyncIterator[bytes]:
    try:
        async for chunk in reader:
            yield chunk
    finally:
        await reader.close()
