"""An Image API to talk to: real services and storage behind it, four callers in front."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from kilonova.cloud.flow.image_import import ImageImport
from kilonova.cloud.image.importing import ImageImports
from kilonova.cloud.image.member import ImageMembers
from kilonova.cloud.image.remote import Allowed, Refused
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.upload import ImageUpload
from kilonova.cloud.metadef.service import MetadefService
from kilonova.core.context import Context
from kilonova.core.errors import Unauthenticated, Unavailable
from kilonova.core.ids import new_uuid
from kilonova.edge.openstack.image.policy import RULES
from kilonova.edge.openstack.image.protection import Protection
from kilonova.edge.openstack.image.routes import ImageServices, build_image_service
from kilonova.edge.openstack.policy import Enforcer, Rule
from kilonova.kit.blob import DirectoryBlobs
from kilonova.kit.bus import LocalBus
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database
from kilonova.kit.http import App, Request
from kilonova.kit.ops.engine import Engine, Pace
from kilonova.kit.ops.start import Operations

MIB = 1 << 20
RAW = bytes(range(256)) * 16384
PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
OLD_PATCH = {"content-type": "application/openstack-images-v2.0-json-patch"}
BYTES = {"content-type": "application/octet-stream"}


def qcow2(virtual: int = MIB, backing: int = 0) -> bytes:
    return struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing, 0, 16, virtual).ljust(65536, b"\0")


class Shelf:
    """A source of bytes by URI; what is not on it is refused. With a `gate` it pauses after the first of them."""

    def __init__(self) -> None:
        self.books: dict[str, bytes] = {}
        self.stumbles = 0
        self.gate: asyncio.Event | None = None

    async def read(self, uri: str) -> AsyncIterator[bytes]:
        if self.stumbles:
            self.stumbles -= 1
            raise Unavailable("not now")
        if uri not in self.books:
            raise Refused("The source of the image answered 404")
        data = self.books[uri]
        for at in range(0, len(data), MIB):
            yield data[at : at + MIB]
            if self.gate is not None:
                await self.gate.wait()


class Tokens:
    """A gate that knows tokens of projects of the same name: members but for eve, who only reads, and admin."""

    def __init__(self, further: Sequence[Rule] = ()) -> None:
        self._enforcer = Enforcer((*further, *RULES))

    async def authenticate(self, request: Request) -> Context:
        name = request.header("x-auth-token")
        if name not in ("ann", "bob", "admin", "eve"):
            raise Unauthenticated("no")
        roles = {"admin": {"admin", "member", "reader"}, "eve": {"reader"}}.get(name, {"member", "reader"})
        return Context(name, name, frozenset(roles), request.request_id, is_admin=name == "admin")

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        return self._enforcer.permits(context, rule, target)


class Site:
    """A running Image API and its clients."""

    def __init__(self, db: Database, root: Path, protection: Protection | None = None) -> None:
        self.db, self.root = db, root
        self.blobs = DirectoryBlobs(root, keep_free=0)
        bus, clock = LocalBus(), SystemClock()
        operations = Operations(bus, new_uuid)
        images = ImageService(db, self.blobs, operations)
        self.uploads = ImageUpload(db, self.blobs, clock, max_bytes=16 * MIB)
        self.source = Shelf()
        flow = ImageImport(db, self.blobs, self.source, 16 * MIB)
        self.engine = Engine(db, bus, clock, operations, (flow,), new_uuid(), Pace(renew=0, retry=0.01))
        imports = ImageImports(db, operations, Allowed())
        self.services = ImageServices(
            images, self.uploads, ImageMembers(db), imports, MetadefService(db), protection or Protection()
        )  # fmt: skip
        self.serve(Tokens(self.services.protection.rules()))
        self.ann, self.bob, self.admin, self.eve = (self.client(name) for name in ("ann", "bob", "admin", "eve"))

    def serve(self, gate: Tokens) -> None:
        """From now on clients made are let in by this gate."""
        self.app = App([build_image_service(self.services, gate)])

    def client(self, token: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://cloud/image", headers={"x-auth-token": token})

    async def create(self, client: httpx.AsyncClient | None = None, **values: Any) -> str:
        body = {"name": "i", "disk_format": "raw", "container_format": "bare", **values}
        answer = await (client or self.ann).post("/v2/images", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def fill(self, image_id: str, data: bytes = RAW, client: httpx.AsyncClient | None = None) -> httpx.Response:
        return await (client or self.ann).put(f"/v2/images/{image_id}/file", content=data, headers=BYTES)

    def files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_file()]

    async def patch(self, image_id: str, *steps: Any, old: bool = False) -> httpx.Response:
        headers = OLD_PATCH if old else PATCH
        return await self.ann.patch(f"/v2/images/{image_id}", content=json.dumps(list(steps)), headers=headers)


@asynccontextmanager
async def open_site(database: Database, folder: Path, protection: Protection | None = None) -> AsyncIterator[Site]:
    """A site on an empty database, closed at the end."""
    site = Site(database, folder / "images", protection)
    await site.blobs.start()
    await site.engine.start()
    yield site
    await site.engine.stop()
    for client in (site.ann, site.bob, site.admin, site.eve):
        await client.aclose()
    await site.uploads.close()
    await site.blobs.close()
