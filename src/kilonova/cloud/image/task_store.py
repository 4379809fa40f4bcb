"""All SQL of tasks: the records of imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update

from kilonova.cloud.image.model import Task
from kilonova.cloud.image.table import image_task
from kilonova.core.context import Scope
from kilonova.core.errors import Invalid, NotFound
from kilonova.kit.db import Tx

CHUNK: Final = 500
RUNNING: Final = ("pending", "processing")
SORT_COLUMNS: Final = frozenset({"created_at", "updated_at", "id", "status"})
_COLUMNS: Final = tuple(field.name for field in fields(Task))


def add(tx: Tx, new: Task) -> Task:
    """Store a new task."""
    new = replace(new, created_at=tx.now, updated_at=tx.now)
    tx.execute(insert(image_task).values(**{**asdict(new), "input": dict(new.input)}))
    return new


def get(tx: Tx, scope: Scope, task_id: str) -> Task:
    """One task of the scope. Raises NotFound."""
    row = tx.execute(select(image_task).where(image_task.c.id == task_id, *_of(scope))).one_or_none()
    if row is None:
        raise NotFound(f"No task found with ID {task_id}")
    return _task(row)


def of_image(tx: Tx, scope: Scope, image_id: str) -> list[Task]:
    """The latest 500 tasks of the scope for an image, newest first."""
    order = (image_task.c.created_at.desc(), image_task.c.id.desc())
    wanted = (image_task.c.image_id == image_id, *_of(scope))
    rows = tx.execute(select(image_task).where(*wanted).order_by(*order).limit(CHUNK))
    return [_task(row) for row in rows]


def page(
    tx: Tx, scope: Scope, equal: Mapping[str, str], sort: tuple[str, bool], limit: int, marker: str | None
) -> list[Task]:
    """One page of tasks whose columns are `equal`, in the order of `sort` (column, descending), then by id. Raises
    Invalid for an unknown marker."""
    column, descending = image_task.c[sort[0]], sort[1]
    wanted = [*_of(scope), *(image_task.c[name] == value for name, value in equal.items())]
    if marker is not None:
        last = tx.execute(select(image_task).where(image_task.c.id == marker, *_of(scope))).one_or_none()
        if last is None:
            raise Invalid(f"Marker task {marker} could not be found.")
        wanted.append(_after(column, image_task.c.id, getattr(last, sort[0]), marker, descending))
    order = [c.desc() if descending else c.asc() for c in (column, image_task.c.id)]
    return [_task(row) for row in tx.execute(select(image_task).where(*wanted).order_by(*order).limit(limit))]


def move(tx: Tx, task_id: str, status: str, message: str = "") -> None:
    """Change the status of a task that has not ended."""
    running = (image_task.c.id == task_id, image_task.c.status.in_(RUNNING))
    tx.execute(update(image_task).where(*running).values(status=status, message=message[:1024], updated_at=tx.now))


def end_of_image(tx: Tx, image_id: str) -> None:
    """The image was deleted: what was to fill it has failed."""
    running = (image_task.c.image_id == image_id, image_task.c.status.in_(RUNNING))
    values = {"status": "failure", "message": "The image was deleted.", "updated_at": tx.now}
    tx.execute(update(image_task).where(*running).values(**values))


def forget(tx: Tx, before: int) -> int:
    """Drop tasks that ended before then, at most 500; how many."""
    old = and_(image_task.c.created_at < before, image_task.c.status.not_in(RUNNING))
    some = select(image_task.c.id).where(old).order_by(image_task.c.created_at).limit(CHUNK)
    return tx.execute(delete(image_task).where(image_task.c.id.in_(some))).rowcount


def _of(scope: Scope) -> list[ColumnElement[bool]]:
    return [] if scope.is_all else [image_task.c.owner == scope.project_id]


def _after(column: Any, last: Any, value: Any, marker: str, descending: bool) -> ColumnElement[bool]:
    beyond, level = (column < value, last < marker) if descending else (column > value, last > marker)
    return or_(beyond, and_(column == value, level))


def _task(row: Row[Any]) -> Task:
    return Task(**{name: getattr(row, name) for name in _COLUMNS})
