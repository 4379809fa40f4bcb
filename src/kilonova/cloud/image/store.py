"""All SQL of images, except the list (see `query.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update

from kilonova.cloud.image import account
from kilonova.cloud.image.model import ACTIVE, DEACTIVATED, LIFE, SAVING, UPLOADING, Image
from kilonova.cloud.image.table import image, image_history, image_label, image_member
from kilonova.core.context import ALL, Scope
from kilonova.core.errors import Conflict, Lost, NotFound
from kilonova.kit.blob import Stored
from kilonova.kit.db import Tx, insert_new

CHUNK: Final = 500
_FILLING: Final = (SAVING, UPLOADING)
COLUMNS: Final = tuple(field.name for field in fields(Image))


def add(tx: Tx, new: Image) -> None:
    """Store a new record. Raises Conflict when its id is, or was (fact `deleted`), taken."""
    gone = tx.execute(select(image_history.c.id).where(image_history.c.id == new.id)).one_or_none() is not None
    if gone or not insert_new(tx, image, {**_values(new), "progress_at": tx.now}):
        raise Conflict(f"Image ID {new.id} already exists!", deleted=gone)
    _write_labels(tx, new)


def get(tx: Tx, scope: Scope, image_id: str) -> Image:
    """One image: of the scope's project, offered to it, or that everybody may see. Raises NotFound."""
    row = tx.execute(select(image).where(image.c.id == image_id, *visible(scope))).one_or_none()
    if row is None:
        raise NotFound(f"No image found with ID {image_id}")
    return to_image(row)


def visible(scope: Scope) -> list[ColumnElement[bool]]:
    """The condition for an image to exist for the scope, whatever a member has said to its being shared."""
    if scope.is_all:
        return []
    offered = select(image_member.c.image_id).where(image_member.c.member_id == scope.project_id)
    mine, open_to_all = image.c.owner == scope.project_id, image.c.visibility.in_(("public", "community"))
    return [or_(mine, open_to_all, and_(image.c.visibility == "shared", image.c.id.in_(offered)))]


def change(tx: Tx, old: Image, new: Image) -> Image:
    """Replace what an update may touch, if nobody changed the image meanwhile. Raises Lost."""
    new = replace(new, updated_at=max(tx.now, old.updated_at + 1))
    same = (image.c.id == old.id, image.c.updated_at == old.updated_at, image.c.status == old.status)
    if not tx.execute(update(image).where(*same).values(**_values(new))).rowcount:
        raise Lost(f"Image {old.id} was changed by someone else")
    tx.execute(delete(image_label).where(image_label.c.image_id == old.id))
    _write_labels(tx, new)
    return new


def move(tx: Tx, image_id: str, event: str, holds: str | None, **values: Any) -> bool:
    """Move one image by `event` if it is in a state that allows it and its blob is still `holds`; whether it did.

    `values` are further columns to set.
    """
    moved = False
    for source in sorted(LIFE.sources(event)):
        held = image.c.blob.is_(None) if holds is None else image.c.blob == holds
        step = update(image).where(image.c.id == image_id, image.c.status == source, held)
        done = tx.execute(step.values(status=LIFE.next(event, source), updated_at=tx.now, **values))
        moved = moved or bool(done.rowcount)
    return moved


def begin_upload(tx: Tx, image_id: str, blob: str, event: str = "upload") -> bool:
    """queued → saving (or, by the event `stage`, uploading), the bytes to go to `blob`."""
    return move(tx, image_id, event, None, blob=blob, progress_at=tx.now)


def touch_upload(tx: Tx, image_id: str, blob: str) -> bool:
    """Note that the uploader lives; False when the upload is no longer ours."""
    ours = (image.c.id == image_id, image.c.blob == blob, image.c.status.in_(_FILLING))
    return bool(tx.execute(update(image).where(*ours).values(progress_at=tx.now)).rowcount)


def fill(tx: Tx, image_id: str, blob: str, stored: Stored, virtual: int) -> bool:
    """The bytes are there and good: active. False when the filling is no longer ours."""
    values = {"size": stored.size, "virtual_size": virtual, "md5": stored.md5, "sha512": stored.sha512, "staged": None}
    return move(tx, image_id, "finish", blob, **values)


def stage(tx: Tx, image_id: str, blob: str, size: int) -> bool:
    """Note that staged bytes are complete; False when the upload is no longer ours."""
    ours = (image.c.id == image_id, image.c.blob == blob, image.c.status == UPLOADING)
    return bool(tx.execute(update(image).where(*ours).values(staged=size, size=size, updated_at=tx.now)).rowcount)


def give_up_upload(tx: Tx, image_id: str, blob: str) -> bool:
    """Back to queued without bytes, if it is still this upload's; its charges are refunded."""
    account.end(tx, blob)
    return move(tx, image_id, "give_up", blob, blob=None, staged=None, size=None)


def stalled(tx: Tx, before: int) -> list[tuple[str, str]]:
    """(id, blob) of images being filled without a sign of life since `before`, at most 500. What is staged waits."""
    quiet = (image.c.status.in_(_FILLING), image.c.staged.is_(None), image.c.progress_at < before)
    rows = tx.execute(select(image.c.id, image.c.blob).where(*quiet).order_by(image.c.progress_at).limit(CHUNK))
    return [(row.id, row.blob) for row in rows]


def bury(tx: Tx, old: Image) -> None:
    """Remove the record; history keeps whose it was, its name and its times. Raises NotFound when it is gone already,
    Lost when its state or its bytes are others than those of `old`."""
    LIFE.next("delete", old.status)
    held = image.c.blob.is_(None) if old.blob is None else image.c.blob == old.blob
    if not tx.execute(delete(image).where(image.c.id == old.id, image.c.status == old.status, held)).rowcount:
        get(tx, ALL, old.id)
        raise Lost(f"Image {old.id} was changed by someone else")
    times = {"created_at": old.created_at, "updated_at": old.updated_at}
    kept = {"id": old.id, "owner": old.owner, "name": old.name, "deleted_at": tx.now, "document": times}
    tx.execute(insert(image_history).values(**kept))


def forget(tx: Tx, before: int) -> int:
    """Drop the history of images deleted before then, at most 500; how many. Their ids may be taken again."""
    old = image_history.c.deleted_at < before
    some = select(image_history.c.id).where(old).order_by(image_history.c.deleted_at).limit(CHUNK)
    return tx.execute(delete(image_history).where(image_history.c.id.in_(some))).rowcount


def named(tx: Tx, owner: str, name: str, sha512: str) -> Image | None:
    """The oldest active image of an owner with this name and content."""
    same = (image.c.owner == owner, image.c.name == name, image.c.sha512 == sha512, image.c.status == ACTIVE)
    row = tx.execute(select(image).where(*same).order_by(image.c.created_at, image.c.id).limit(1)).one_or_none()
    return None if row is None else to_image(row)


def hide_others(tx: Tx, keep: Image) -> None:
    """Hide the owner's other images of the same name: they are outdated."""
    others = (image.c.owner == keep.owner, image.c.name == keep.name, image.c.id != keep.id)
    tx.execute(update(image).where(*others, image.c.hidden.is_(False)).values(hidden=True, updated_at=tx.now))


def blobs_in_use(tx: Tx, keys: Sequence[str]) -> set[str]:
    """Which of these blobs belong to an image."""
    used: set[str] = set()
    for start in range(0, len(keys), CHUNK):
        some = keys[start : start + CHUNK]
        used.update(row.blob for row in tx.execute(select(image.c.blob).where(image.c.blob.in_(some))))
    return used


def missing_blobs(tx: Tx, present: set[str]) -> list[str]:
    """Ids of images that should have bytes and whose blob is not in `present`, for the audit."""
    complete = or_(image.c.status.in_((ACTIVE, DEACTIVATED)), image.c.staged.is_not(None))
    rows = tx.execute(select(image.c.id, image.c.blob).where(complete))
    return [row.id for row in rows if row.blob not in present]


def to_image(row: Row[Any]) -> Image:
    """A row of `image` as what it means."""
    values = {name: getattr(row, name) for name in COLUMNS}
    return Image(**{**values, "tags": tuple(values["tags"])})


def _values(new: Image) -> dict[str, Any]:
    values = {name: getattr(new, name) for name in COLUMNS}
    return {**values, "properties": dict(new.properties), "tags": list(new.tags)}


def _write_labels(tx: Tx, new: Image) -> None:
    labels = list(_labels(new))
    if labels:
        tx.execute(insert(image_label), labels)


def _labels(new: Image) -> Iterator[dict[str, str]]:
    for tag in new.tags:
        yield {"image_id": new.id, "kind": "t", "name": tag, "value": ""}
    for name, value in new.properties.items():
        yield {"image_id": new.id, "kind": "p", "name": name, "value": value[:255]}
