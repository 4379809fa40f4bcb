"""The tree of projects and their tags: queries, commands, and what a new, changed or leaving project must keep to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kilonova.cloud.identity import store, store_effective, store_project
from kilonova.cloud.identity.model import Domain, Kind, Named, Project
from kilonova.cloud.identity.option import check_change
from kilonova.core.errors import Forbidden, Invalid, NotFound
from kilonova.kit.db import Database, Tx

DEPTH: Final = 5
"""Projects from the domain to the farthest leaf, as Keystone's `max_project_tree_depth`."""
MAX_TAGS: Final = 80


class Projects:
    """Queries on the tree, and tags."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def show(self, identifier: str) -> Project | Domain:
        """A project, or the domain that is one to whoever asks for it, with its tags. Raises NotFound."""
        return await self._db.read(lambda tx: store_project.with_tags(tx, [_find(tx, identifier)])[0])

    async def parents(self, project_id: str) -> Sequence[Project]:
        """The projects above, the nearest first. Raises NotFound."""

        def work(tx: Tx) -> Sequence[Project]:
            found = _find(tx, project_id)
            return store_project.with_tags(tx, store_project.parents(tx, found)) if isinstance(found, Project) else []

        return await self._db.read(work)

    async def subtree(self, project_id: str) -> Sequence[Project]:
        """The projects below, each after its parent."""

        def work(tx: Tx) -> Sequence[Project]:
            return store_project.with_tags(tx, store_project.subtree(tx, project_id))

        return await self._db.read(work)

    async def visible_to(self, user_id: str, rows: Sequence[Project]) -> Sequence[Project]:
        """Those of `rows` on which a user has a role."""
        held = await self._db.read(lambda tx: {row.id for row in store_effective.projects_of(tx, user_id, {})})
        return [row for row in rows if row.id in held]

    async def tags(self, project_id: str) -> tuple[str, ...]:
        """The tags in order. Raises NotFound."""
        return (await self.show(project_id)).tags

    async def check_tag(self, project_id: str, name: str) -> None:
        """Nothing, if the project has this tag. Raises NotFound."""
        if name not in await self.tags(project_id):
            raise NotFound(f"Could not find project tag: {name}.")

    async def set_tags(self, project_id: str, names: Sequence[str]) -> tuple[str, ...]:
        """Give exactly these tags. Raises NotFound; Forbidden when the project is immutable; Invalid when there are too
        many."""

        def work(tx: Tx) -> tuple[str, ...]:
            _find_changeable(tx, project_id)
            return _set_tags(tx, project_id, names)

        return await self._db.write(work)

    async def add_tag(self, project_id: str, name: str) -> None:
        """One more tag; again does nothing. Raises as `set_tags`."""

        def work(tx: Tx) -> None:
            row = store_project.with_tags(tx, [_find_changeable(tx, project_id)])[0]
            _set_tags(tx, project_id, [*row.tags, name])

        await self._db.write(work)

    async def drop_tag(self, project_id: str, name: str) -> None:
        """One tag less. Raises as `set_tags`, and NotFound when it was not there."""

        def work(tx: Tx) -> None:
            row = store_project.with_tags(tx, [_find_changeable(tx, project_id)])[0]
            if name not in row.tags:
                raise NotFound(f"Could not find project tag: {name}.")
            _set_tags(tx, project_id, [tag for tag in row.tags if tag != name])

        await self._db.write(work)


def place(tx: Tx, row: Mapping[str, Any]) -> None:
    """Whether a new project may be where it says. Raises NotFound; Invalid for a parent in another domain or disabled;
    Forbidden when it would be too deep."""
    if row["parent_id"] == row["domain_id"]:
        return
    parent: Project = store.hold(tx, "project", row["parent_id"])
    if parent.domain_id != row["domain_id"]:
        raise Invalid("Cannot create project, since it specifies its domain_id, but its parent is in another domain.")
    line = [parent, *store_project.parents(tx, parent)]
    if not all(one.enabled for one in line):
        raise Invalid("Cannot create project in a branch containing a disabled project.")
    if len(line) >= DEPTH:
        raise Forbidden(f"Max hierarchy depth reached for {parent.id} branch.")


def check_enabled(tx: Tx, before: Project, enabled: bool) -> None:
    """Whether a project may be enabled or disabled. Raises Forbidden below a disabled one, and above an enabled one."""
    if enabled and not before.enabled:
        home: Domain = store.get(tx, "domain", before.domain_id)
        if not home.enabled or not all(one.enabled for one in store_project.parents(tx, before)):
            raise Forbidden(f"Cannot enable project {before.id} since it has disabled parents.")
    if before.enabled and not enabled and any(one.enabled for one in store_project.subtree(tx, before.id)):
        raise Forbidden(f"Cannot disable project {before.id} since its subtree contains enabled projects.")


def check_leaf(tx: Tx, project_id: str) -> None:
    """Raises Forbidden for a project that others have as their parent."""
    if store.has_children(tx, project_id):
        raise Forbidden(f"Cannot delete the project {project_id} since it is not a leaf in the hierarchy.")


def _find(tx: Tx, identifier: str) -> Project | Domain:
    found: Project | Domain | None = store.find(tx, "project", Named(id=identifier))
    if found is None:
        found = store.find(tx, "domain", Named(id=identifier))
    if found is None:
        raise NotFound(f"Could not find project: {identifier}.", kind="project")
    return found


def _find_changeable(tx: Tx, identifier: str) -> Project | Domain:
    kind: Kind = "project" if isinstance(_find(tx, identifier), Project) else "domain"
    found: Project | Domain = store.hold(tx, kind, identifier, alone=True)
    check_change("project", found, {"tags": ()})
    return found


def _set_tags(tx: Tx, project_id: str, names: Sequence[str]) -> tuple[str, ...]:
    clean = tuple(dict.fromkeys(name.strip() for name in names))
    if len(clean) > MAX_TAGS:
        raise Invalid(f"A project has at most {MAX_TAGS} tags.")
    store_project.set_tags(tx, project_id, clean)
    return clean
