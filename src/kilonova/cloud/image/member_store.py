"""All SQL of members: the projects that a shared image is offered to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, delete, func, select, update

from kilonova.cloud.image.model import MAX_MEMBERS, Member
from kilonova.cloud.image.table import image, image_member
from kilonova.core.context import Scope
from kilonova.core.errors import Conflict, NotFound, TooLarge
from kilonova.kit.db import Tx, insert_new


def add(tx: Tx, image_id: str, member_id: str) -> Member:
    """Offer an image, which is locked, to a project. Raises Conflict (a member already), TooLarge (128 members)."""
    tx.execute(select(image.c.id).where(image.c.id == image_id).with_for_update())
    count = select(func.count()).select_from(image_member).where(image_member.c.image_id == image_id)
    if tx.execute(count).scalar_one() >= MAX_MEMBERS:
        raise TooLarge(f"Image member limit exceeded for image {image_id}: {MAX_MEMBERS} are allowed")
    new = Member(image_id, member_id, "pending", tx.now, tx.now)
    values = {"image_id": image_id, "member_id": member_id, "status": new.status}
    if not insert_new(tx, image_member, {**values, "created_at": tx.now, "updated_at": tx.now}):
        raise Conflict(f"Member {member_id} is duplicated for image {image_id}")
    return new


def members(tx: Tx, scope: Scope, image_id: str, *, is_owner: bool) -> list[Member]:
    """The members of an image; to others than its owner, only the scope's own project."""
    wanted = [image_member.c.image_id == image_id]
    if not (is_owner or scope.is_all):
        wanted.append(image_member.c.member_id == scope.project_id)
    order = (image_member.c.created_at, image_member.c.member_id)
    return [_member(row) for row in tx.execute(select(image_member).where(*wanted).order_by(*order))]


def get(tx: Tx, scope: Scope, image_id: str, member_id: str, *, is_owner: bool) -> Member:
    """One member, by the rule of `members`. Raises NotFound."""
    for member in members(tx, scope, image_id, is_owner=is_owner):
        if member.member_id == member_id:
            return member
    raise NotFound(f"{member_id} not found in the member list of the image {image_id}.")


def answer(tx: Tx, image_id: str, member_id: str, status: str) -> None:
    """Note what a member says to the offer."""
    tx.execute(update(image_member).where(*_is(image_id, member_id)).values(status=status, updated_at=tx.now))


def remove(tx: Tx, image_id: str, member_id: str) -> None:
    """Withdraw the offer."""
    tx.execute(delete(image_member).where(*_is(image_id, member_id)))


def _is(image_id: str, member_id: str) -> Any:
    return image_member.c.image_id == image_id, image_member.c.member_id == member_id


def _member(row: Row[Any]) -> Member:
    return Member(row.image_id, row.member_id, row.status, row.created_at, row.updated_at)
