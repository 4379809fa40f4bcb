"""Commands and queries on images; uploads are in `upload.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

from kilonova.cloud.image import account, query, store, task_store
from kilonova.cloud.image.change import apply, check_bounds
from kilonova.cloud.image.content import DISK_CONTAINERS
from kilonova.cloud.image.model import (
    ACTIVE,
    DEACTIVATED,
    IMPORTING,
    QUEUED,
    SAVING,
    Change,
    Deed,
    Filter,
    Image,
    NewImage,
    Page,
)
from kilonova.cloud.quota.model import Use
from kilonova.core.context import ALL, Context, Scope
from kilonova.core.errors import Conflict, Failure, Forbidden, Invalid, Lost, NotFound, Unavailable
from kilonova.core.ids import NewId, is_uuid, new_uuid
from kilonova.kit.blob import Blobs, Reader
from kilonova.kit.db import Database, Tx
from kilonova.kit.log import Logger
from kilonova.kit.ops import Lock
from kilonova.kit.ops.start import Operations
from kilonova.wire.guest import ImageRef
from kilonova.wire.node import ImageTicket

_AS_RAW = frozenset({"gpt", "ami", "aki", "ari"})
_ATTEMPTS = 5
_MOST_ROTATED = 1000


class ImageService:
    """Image records of one cloud. Who may do what by role is the edge's question; whose an image is, ours."""

    def __init__(self, db: Database, blobs: Blobs, operations: Operations, new_id: NewId = new_uuid) -> None:
        self._db = db
        self._blobs = blobs
        self._operations = operations
        self._new_id = new_id
        self._log = Logger("kilonova.image")

    async def create(self, context: Context, wanted: NewImage) -> Image:
        """A new record, queued for its bytes. Raises Conflict (id taken), Forbidden (another's owner), TooLarge
        (see `change.check_bounds`), QuotaExceeded."""
        owner = wanted.owner or context.project_id
        if not owner or (owner != context.project_id and not context.is_admin):
            raise Forbidden("You are not permitted to create images owned by another project.")
        return await self._db.write(lambda tx: self.draft(tx, owner, wanted))

    def draft(self, tx: Tx, owner: str, wanted: NewImage) -> Image:
        """As `create`, in the caller's transaction and for the owner that it names."""
        check_bounds(wanted.properties, wanted.tags)
        image_id = wanted.id or self._new_id()
        new = Image(
            id=image_id,
            owner=owner,
            name=wanted.name,
            visibility=wanted.visibility,
            disk_format=wanted.disk_format,
            container_format=wanted.container_format,
            min_disk=wanted.min_disk,
            min_ram=wanted.min_ram,
            protected=wanted.protected,
            hidden=wanted.hidden,
            properties=dict(wanted.properties),
            tags=tuple(sorted(set(wanted.tags))),
            created_at=tx.now,
            updated_at=tx.now,
        )
        account.register(tx, owner, image_id)
        store.add(tx, new)
        return new

    def withdraw(self, tx: Tx, image_id: str) -> None:
        """Move a record to history in the caller's transaction, if it is still there; the sweep removes its bytes.
        Raises Unavailable (try again) when somebody else changes it at the same time."""
        try:
            old = store.get(tx, ALL, image_id)
        except NotFound:
            return
        account.forget(tx, old.id, old.blob)
        try:
            store.bury(tx, old)
        except Lost as failure:
            raise Unavailable(f"Image {image_id} changed meanwhile") from failure

    def ref_of(self, tx: Tx, image_id: str) -> ImageRef:
        """As `ref`, of an image that the cloud made itself. Raises NotFound too."""
        return self.ref(store.get(tx, ALL, image_id))

    def rotate(self, tx: Tx, owner: str, properties: Mapping[str, str], keep: int) -> None:
        """Withdraw an owner's images with these properties, but the `keep` newest."""
        wanted = Filter(equal={"owner": owner}, properties=properties)
        for old in query.page(tx, ALL, wanted, Page(limit=_MOST_ROTATED))[keep:]:
            self.withdraw(tx, old.id)

    def withdraw_unfinished(self, tx: Tx, owner: str, server_id: str) -> None:
        """Withdraw an owner's images of a server that have no bytes yet: there will be none. The copies that the cloud
        made of its disk to move it go too."""
        copies = {"instance_uuid": server_id, "image_location": "snapshot"}
        waiting = Filter(equal={"owner": owner}, one_of={"status": (QUEUED, SAVING)}, properties=copies)
        moving = Filter(equal={"owner": account.CLOUD}, properties=copies)
        for wanted in (waiting, moving):
            for left in query.page(tx, ALL, wanted, Page(limit=_MOST_ROTATED)):
                self.withdraw(tx, left.id)

    async def get(self, context: Context, image_id: str) -> Image:
        """One image that the caller may see. Raises NotFound."""
        check_id(image_id)
        return await self._db.read(lambda tx: store.get(tx, scope_of(context), image_id))

    async def list(self, context: Context, wanted: Filter, window: Page) -> Sequence[Image]:
        """One page. Raises Invalid for an unknown marker."""
        return await self._db.read(lambda tx: query.page(tx, scope_of(context), wanted, window))

    async def update(
        self, context: Context, image_id: str, changes: Sequence[Change], denied: Set[Deed] = frozenset()
    ) -> Image:
        """All changes or none; none that is `denied`. Raises NotFound, Forbidden, Conflict, TooLarge (see
        `change.apply`)."""

        def work(tx: Tx) -> Image:
            old = owned(tx, context, image_id, "modify")
            new = apply(old, changes, is_admin=context.is_admin, denied=denied)
            if old.owner != new.owner:
                account.hand_over(tx, new.owner, old.id, None if old.sha512 is None else old.size)
            return store.change(tx, old, new)

        return await self._insist(image_id, work)

    async def add_tag(self, context: Context, image_id: str, tag: str) -> None:
        """Give it a tag; twice is once."""
        await self.update(context, image_id, [Change("add", "tag", tag)])

    async def remove_tag(self, context: Context, image_id: str, tag: str) -> None:
        """Take a tag away. Raises NotFound when it has none such."""
        await self.update(context, image_id, [Change("remove", "tag", tag)])

    async def delete(self, context: Context, image_id: str) -> None:
        """Move the record to history, then remove its bytes. Raises NotFound, Forbidden (not its owner, protected)."""

        def work(tx: Tx) -> Image:
            old = owned(tx, context, image_id, "delete")
            if old.protected:
                raise Forbidden(f"Image {image_id} is protected and cannot be deleted.")
            account.forget(tx, old.id, old.blob)
            store.bury(tx, old)
            if old.status == IMPORTING:
                self._operations.supersede(tx, Lock("image", image_id))
                task_store.end_of_image(tx, image_id)
            return old

        old = await self._insist(image_id, work)
        if old.blob is not None and not old.is_being_filled:
            try:
                await self._blobs.delete(old.blob)
            except Failure as error:
                self._log.warning("image bytes left to the sweep", image=image_id, detail=error.detail)

    async def set_active(self, context: Context, image_id: str, active: bool) -> None:
        """Deactivate (bytes are withheld from all but administrators) or reactivate. Raises Forbidden when it is in
        another state, as the Image API has it."""

        def work(tx: Tx) -> None:
            old = owned(tx, context, image_id, "modify")
            if old.status not in (ACTIVE, DEACTIVATED):
                raise Forbidden(f"Not allowed while the image is {old.status}.")
            store.move(tx, image_id, "reactivate" if active else "deactivate", old.blob)

        await self._db.write(work)

    async def downloadable(self, context: Context, image_id: str) -> Image | None:
        """An image whose bytes the caller may have; None while it has none. Raises NotFound, Forbidden
        (deactivated)."""
        image = await self.get(context, image_id)
        if image.status == DEACTIVATED and not context.is_admin:
            raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
        return None if image.status not in (ACTIVE, DEACTIVATED) or image.blob is None else image

    async def open(self, image: Image, start: int = 0, length: int | None = None) -> Reader:
        """The bytes of a downloadable image, or a part of them. Raises NotFound when it was deleted meanwhile."""
        return await self._blobs.open(image.blob or "", start, length)

    async def ticket(self, image_id: str) -> ImageTicket:
        """Where a node of this machine finds the bytes of an active image. Raises NotFound, Conflict, Unavailable."""
        image = await self._db.read(lambda tx: store.get(tx, ALL, image_id))
        if image.status != ACTIVE or image.blob is None:
            raise Conflict(f"Image {image_id} is not active.")
        path = self._blobs.path(image.blob)
        if path is None:
            raise Unavailable(f"The bytes of image {image_id} are not on this machine")
        ref = self.ref(image)
        return ImageTicket(url=path.absolute().as_uri(), sha512=ref.sha512, size=ref.size, disk_format=ref.disk_format)

    def ref(self, image: Image) -> ImageRef:
        """The image as nodes know it. Raises Conflict when it has no bytes, Invalid when it is an archive, no disk."""
        if image.sha512 is None or image.size is None or image.disk_format is None:
            raise Conflict(f"Image {image.id} is not active.")
        if image.container_format not in DISK_CONTAINERS:
            raise Invalid(f"Image {image.id} is an archive ({image.container_format}), and a server needs a disk.")
        return ImageRef(
            image_id=image.id,
            name=image.name or "",
            sha512=image.sha512,
            size=image.size,
            disk_format="raw" if image.disk_format in _AS_RAW else image.disk_format,
            virtual_bytes=image.virtual_size or 0,
            properties=dict(image.properties),
        )

    async def give_up_foreign_upload(self, image: Image) -> Image:
        """Return an image to queued whose uploader is known to be dead."""

        def work(tx: Tx) -> Image:
            if image.blob is not None:
                store.give_up_upload(tx, image.id, image.blob)
            return store.get(tx, ALL, image.id)

        return await self._db.write(work)

    async def usage(self, context: Context) -> Mapping[str, Use]:
        """What the caller's project uses of its quota of images (see `account`)."""
        return await self._db.read(lambda tx: account.uses(tx, context.project_id or ""))

    async def _insist(self, image_id: str, work: Callable[[Tx], Image]) -> Image:
        """`work`, again while somebody else changes the image between its look and its change. Raises Conflict."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._db.write(work)
            except Lost:
                continue
        raise Conflict(f"Image {image_id} is being changed by others.")

    async def find_same(self, owner: str, name: str, sha512: str) -> Image | None:
        """An owner's active image with this name and content."""
        return await self._db.read(lambda tx: store.named(tx, owner, name, sha512))

    async def hide_outdated(self, keep: Image) -> None:
        """Hide the owner's other images of this name."""
        await self._db.write(lambda tx: store.hide_others(tx, keep))


def scope_of(context: Context) -> Scope:
    """Administrators see everything."""
    return ALL if context.is_admin else context.scope


def owned(tx: Tx, context: Context, image_id: str, verb: str) -> Image:
    """An image that the caller may change. Raises NotFound when he may not see it either, else Forbidden."""
    check_id(image_id)
    image = store.get(tx, scope_of(context), image_id)
    if not image.is_changeable_by(context):
        raise Forbidden(f"You are not permitted to {verb} this image.")
    return image


def check_id(image_id: str) -> None:
    """Raises NotFound for what no image can be called."""
    if not is_uuid(image_id):
        raise NotFound(f"No image found with ID {image_id}")
