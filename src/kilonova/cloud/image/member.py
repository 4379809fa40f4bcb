"""Sharing: the owner of a shared image offers it to projects, and each of them accepts or rejects it.

Who is told "not found" and who "forbidden" follows the Image API reference, "Sharing".
"""

from __future__ import annotations

from collections.abc import Sequence

from kilonova.cloud.image import member_store, store
from kilonova.cloud.image.model import Image, Member
from kilonova.cloud.image.service import check_id, scope_of
from kilonova.core.context import Context
from kilonova.core.errors import Forbidden, NotFound
from kilonova.kit.db import Database, Tx


class ImageMembers:
    """Members of images. Only the owner makes and removes them, only the member itself answers."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, context: Context, image_id: str, member_id: str) -> Member:
        """Offer an image to a project. Raises NotFound, Forbidden, Conflict, TooLarge."""

        def work(tx: Tx) -> Member:
            image = _shared(tx, context, image_id)
            if not image.is_changeable_by(context):
                raise Forbidden(f"Not allowed to create members for image {image_id}.")
            return member_store.add(tx, image_id, member_id)

        return await self._db.write(work)

    async def list(self, context: Context, image_id: str) -> Sequence[Member]:
        """All members, to the owner; itself, to a member. Raises NotFound, Forbidden (the image is not shared)."""

        def work(tx: Tx) -> Sequence[Member]:
            image = _shared(tx, context, image_id)
            owner = image.is_changeable_by(context)
            return member_store.members(tx, scope_of(context), image_id, is_owner=owner)

        return await self._db.read(work)

    async def get(self, context: Context, image_id: str, member_id: str) -> Member:
        """One member. Raises NotFound, also where the list is forbidden."""

        def work(tx: Tx) -> Member:
            try:
                return _find(tx, context, _shared(tx, context, image_id), member_id)
            except Forbidden as refusal:
                raise NotFound(refusal.message) from refusal

        return await self._db.read(work)

    async def answer(self, context: Context, image_id: str, member_id: str, status: str) -> Member:
        """Set the status of the caller's own membership. Raises NotFound, Forbidden (the owner does not answer for
        its members)."""

        def work(tx: Tx) -> Member:
            image = _shared(tx, context, image_id)
            _find(tx, context, image, member_id)
            if member_id != context.project_id and not context.is_admin:
                raise Forbidden(f"Not allowed to update members for image {image_id}.")
            member_store.answer(tx, image_id, member_id, status)
            return _find(tx, context, image, member_id)

        return await self._db.write(work)

    async def remove(self, context: Context, image_id: str, member_id: str) -> None:
        """Withdraw the offer. Raises NotFound, Forbidden."""

        def work(tx: Tx) -> None:
            image = _shared(tx, context, image_id)
            _find(tx, context, image, member_id)
            if not image.is_changeable_by(context):
                raise Forbidden(f"Not allowed to delete members for image {image_id}.")
            member_store.remove(tx, image_id, member_id)

        await self._db.write(work)


def _shared(tx: Tx, context: Context, image_id: str) -> Image:
    check_id(image_id)
    image = store.get(tx, scope_of(context), image_id)
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
    return image


def _find(tx: Tx, context: Context, image: Image, member_id: str) -> Member:
    owner = image.is_changeable_by(context)
    return member_store.get(tx, scope_of(context), image.id, member_id, is_owner=owner)
