"""The tree of projects, and their tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Index,
    String,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    not_,
    select,
)

from kilonova.cloud.identity import store
from kilonova.cloud.identity.model import Domain, Kind, Project
from kilonova.cloud.identity.store import identity_domain, identity_project
from kilonova.kit.db import Tx, metadata

identity_tag = Table(
    "identity_tag",
    metadata,
    Column("project_id", String(64), primary_key=True),
    Column("name", String(255), primary_key=True),
    Index("identity_tag_name", "name"),
)
"""Of projects, and of domains, which are projects to whoever asks for tags."""

Tagged = TypeVar("Tagged", bound=Project | Domain)
BELOW = "below"


def above(project_id: Any) -> CTE:
    """A query for the ids of everything above a project, its domain's among them."""
    columns = identity_project.c
    chain = select(columns.parent_id.label("id")).where(columns.id == project_id).cte("above", recursive=True)
    return chain.union(select(columns.parent_id).where(columns.id == chain.c.id))


def below(roots: ColumnElement[bool]) -> CTE:
    """A query for the ids of everything below the projects (or domains) whose `parent_id` fulfils `roots`."""
    columns = identity_project.c
    tree = select(columns.id).where(roots).cte(BELOW, recursive=True)
    return tree.union(select(columns.id).where(columns.parent_id == tree.c.id))


def parents(tx: Tx, project: Project) -> list[Project]:
    """The projects above, the nearest first."""
    inside = select(above(bindparam("target")).c.id)
    rows = {row.id: row for row in _some(tx, inside, {"target": project.id})}
    found: list[Project] = []
    at = rows.pop(project.parent_id or "", None)
    while at is not None:
        found.append(at)
        at = rows.pop(at.parent_id or "", None)
    return found


def subtree(tx: Tx, project_id: str) -> list[Project]:
    """The projects below, at any distance, by creation: each after its parent."""
    return _some(tx, select(below(identity_project.c.parent_id == project_id).c.id), {})


def with_tags(tx: Tx, rows: Sequence[Tagged]) -> list[Tagged]:
    """The same projects or domains, with their tags in order."""
    found: dict[str, list[str]] = {}
    ids = [row.id for row in rows]
    for at in range(0, len(ids), 500):
        some = (
            select(identity_tag).where(identity_tag.c.project_id.in_(ids[at : at + 500])).order_by(identity_tag.c.name)
        )
        for row in tx.execute(some):
            found.setdefault(row.project_id, []).append(row.name)
    return [replace(row, tags=tuple(found[row.id])) if row.id in found else row for row in rows]


def set_tags(tx: Tx, project_id: str, names: Iterable[str]) -> None:
    """Give a project exactly these tags."""
    tx.execute(delete(identity_tag).where(identity_tag.c.project_id == project_id))
    if rows := [{"project_id": project_id, "name": name} for name in sorted(set(names))]:
        tx.execute(insert(identity_tag), rows)


def forget_domain_tags(tx: Tx, domain_id: str) -> None:
    """Drop the tags of a domain and of its projects."""
    inside = select(identity_project.c.id).where(identity_project.c.domain_id == domain_id)
    tagged = identity_tag.c.project_id
    tx.execute(delete(identity_tag).where((tagged == domain_id) | tagged.in_(inside)))


def tagged(kind: Kind, wanted: Mapping[str, Sequence[str]]) -> list[Any]:
    """Conditions on projects or domains: `tags` (all of them), `tags-any`, `not-tags` (not all of them),
    `not-tags-any` (none of them)."""
    table = identity_domain if kind == "domain" else identity_project
    return [_tagged(table, how, names) for how, names in wanted.items()]


def _tagged(table: Table, how: str, names: Sequence[str]) -> Any:
    tag = identity_tag.c
    if how.endswith("any"):
        found: Any = table.c.id.in_(select(tag.project_id).where(tag.name.in_(names)))
    else:
        found = and_(*(table.c.id.in_(select(tag.project_id).where(tag.name == name)) for name in names))
    return not_(found) if how.startswith("not-") else found


def _some(tx: Tx, inside: Any, values: Mapping[str, Any]) -> list[Project]:
    if values:
        inside = inside.params(**values)
    return store.list_all(tx, "project", {}, also=[identity_project.c.id.in_(inside)])
