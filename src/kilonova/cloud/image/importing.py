"""Imports: bytes that were staged, or that the cloud itself fetches, become an image's. The work is a flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilonova.cloud.image import account, store, task_store
from kilonova.cloud.image.model import OLD, QUEUED, UPLOADING, Image, Task
from kilonova.cloud.image.remote import Allowed
from kilonova.cloud.image.service import check_id, owned, scope_of
from kilonova.core.context import Context
from kilonova.core.errors import Conflict, NotFound, QuotaExceeded
from kilonova.core.ids import NewId, is_uuid, new_hex, new_uuid
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Lock
from kilonova.kit.ops.start import Operations

DIRECT: Final = "glance-direct"
WEB: Final = "web-download"
METHODS: Final = (DIRECT, WEB)
FLOW: Final = "image_import"


class ImageImports:
    """Starts imports and tells what became of them. `allowed` says where bytes may be fetched from."""

    def __init__(self, db: Database, operations: Operations, allowed: Allowed, new_id: NewId = new_uuid) -> None:
        self._db = db
        self._operations = operations
        self._allowed = allowed
        self._new_id = new_id

    def check(self, uri: str) -> None:
        """Raises Invalid for what may not be fetched."""
        self._allowed.check(uri)

    async def start(
        self, context: Context, image_id: str, method: str, uri: str | None, asked: dict[str, object]
    ) -> Task:
        """Begin an import; `asked` is the request as it came, for the record. Raises NotFound, Forbidden, Conflict (not
        queued, not staged, formats not set), QuotaExceeded, Invalid (`uri` is not allowed)."""
        if method == WEB:
            self.check(uri or "")
        kind = OLD if "import_from" in asked else "api_image_import"
        task_id, blob = self._new_id(), f"{image_id}.{new_hex()}"

        def work(tx: Tx) -> Task:
            image = owned(tx, context, image_id, "modify")
            _check_ready(image, method)
            holds = image.blob or blob
            if (room := account.room(tx, image.owner, account.BYTES)) is not None and room < (image.staged or 1):
                raise QuotaExceeded(f"The image exceeds the storage quota: {room} bytes are left")
            account.begin(tx, image.owner, holds)
            if not store.move(tx, image_id, "import", image.blob, blob=holds):
                raise Conflict(f"Image {image_id} is being changed by others.")
            owner = context.project_id or ""
            new = Task(task_id, image_id, owner, context.user_id, context.request_id, kind, asked)
            self._operations.start(
                tx, FLOW, Lock("image", image_id), {"task": task_id, "blob": holds, "method": method, "uri": uri or ""},
                action="import", project_id=image.owner, user_id=context.user_id, request_id=context.request_id,
            )  # fmt: skip
            return task_store.add(tx, new)

        return await self._db.write(work)

    async def of_image(self, context: Context, image_id: str) -> Sequence[Task]:
        """The caller's own tasks (an administrator's: all) of an image that he may see: a task tells from where its
        bytes came, which an image does not. Raises NotFound."""
        check_id(image_id)

        def work(tx: Tx) -> Sequence[Task]:
            scope = scope_of(context)
            store.get(tx, scope, image_id)
            return task_store.of_image(tx, scope, image_id)

        return await self._db.read(work)

    async def list(
        self,
        context: Context,
        status: str | None,
        kind: str | None,
        sort: tuple[str, bool],
        limit: int,
        marker: str | None,
    ) -> Sequence[Task]:
        """One page of tasks, of a status and type where given. Raises Invalid for an unknown marker."""
        given = (("status", status), ("type", kind))
        equal = {name: value for name, value in given if value is not None}
        return await self._db.read(lambda tx: task_store.page(tx, scope_of(context), equal, sort, limit, marker))

    async def get(self, context: Context, task_id: str) -> Task:
        """One task. Raises NotFound."""
        if not is_uuid(task_id):
            raise NotFound(f"No task found with ID {task_id}")
        return await self._db.read(lambda tx: task_store.get(tx, scope_of(context), task_id))


def _check_ready(image: Image, method: str) -> None:
    """That the image is where this method begins, in Glance's words."""
    if image.status == "active":
        raise Conflict("Image with status active cannot be target for import")
    if method == WEB and image.status != QUEUED:
        raise Conflict(f"Image needs to be in 'queued' state to use '{method}' method")
    if method == DIRECT and (image.status != UPLOADING or image.staged is None):
        raise Conflict(f"Image needs to be staged before '{method}' method can be used")
    for name in ("container_format", "disk_format"):
        if getattr(image, name) is None:
            raise Conflict(f"'{name}' needs to be set before import")
