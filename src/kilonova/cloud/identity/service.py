"""Commands and queries on domains, projects, users, groups and roles. Policy was asked in the edge.

Whatever takes rights away raises the epochs of those it concerns in the same transaction, and declares older tokens
void where the rights may come back (a user disabled and enabled again).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kilonova.cloud.identity import store, store_assignment, store_epoch, store_group, store_implication, store_project
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.group import Groups
from kilonova.cloud.identity.guard import DEFAULT, Lockout, PasswordGuard
from kilonova.cloud.identity.model import DEFAULT_DOMAIN, Kind, Named
from kilonova.cloud.identity.option import check_change, check_delete, merge
from kilonova.cloud.identity.password import Passwords
from kilonova.cloud.identity.project import Projects, check_enabled, check_leaf, place
from kilonova.cloud.identity.rights import Rights, touch_members
from kilonova.core.errors import Forbidden, Invalid
from kilonova.core.ids import new_hex
from kilonova.kit.clock import SECOND
from kilonova.kit.db import Database, Tx

DAY: Final = 86_400 * SECOND
TAGGED: Final = ("project", "domain")


class Directory:
    """Everything of identity but tokens. `password_days`: how long a new password counts, 0 for ever."""

    def __init__(
        self,
        db: Database,
        passwords: Passwords,
        epochs: Epochs,
        *,
        lockout: Lockout = DEFAULT,
        password_days: int = 0,
        new_id: Callable[[], str] = new_hex,
    ) -> None:
        self._db = db
        self._passwords = passwords
        self._epochs = epochs
        self._guard = PasswordGuard(db, passwords, lockout)
        self._password_days = password_days
        self._new_id = new_id
        self.groups = Groups(db, epochs)
        self.projects = Projects(db)
        self.rights = Rights(db, epochs)

    async def show(self, kind: Kind, identifier: str) -> Any:
        """A Domain, Project, User, Group or Role. Raises NotFound."""
        return await self._db.read(lambda tx: _tagged(tx, kind, [store.get(tx, kind, identifier)])[0])

    async def list(
        self,
        kind: Kind,
        where: Mapping[str, Any],
        *,
        tags: Mapping[str, Sequence[str]] | None = None,
        marker: str | None = None,
        limit: int = 10_000,
    ) -> list[Any]:
        """Those whose fields equal `where` (`name__contains` and the like: `store.list_all`) and that are tagged so
        (`store_project.tagged`), oldest first, after the id `marker`."""

        def work(tx: Tx) -> list[Any]:
            also = store_project.tagged(kind, tags) if tags else []
            return _tagged(tx, kind, store.list_all(tx, kind, where, also=also, marker=marker, limit=limit))

        return await self._db.read(work)

    async def create(self, kind: Kind, values: Mapping[str, Any]) -> Any:
        """A new one with these fields (a user's `password` in the clear). Raises Conflict when the name is taken,
        NotFound when its domain, parent or default project does not exist, Invalid and Forbidden for a project that may
        not be where it says."""
        row = {"id": self._new_id(), **values}
        names = row.pop("tags", ())
        if kind == "project":
            row["parent_id"] = row.get("parent_id") or row["domain_id"]
        if row.get("password") is not None:
            row["password"] = await self._passwords.hash(row["password"])
        row |= {"options": merge({}, row["options"])} if "options" in row else {}

        def work(tx: Tx) -> Any:
            _check_links(tx, kind, row)
            if kind == "project":
                place(tx, row)
            made = row | ({"password_expires_at": self._expiry(tx.now)} if row.get("password") else {})
            store.create(tx, kind, made)
            if names:
                store_project.set_tags(tx, row["id"], names)
            return _tagged(tx, kind, [store.get(tx, kind, row["id"])])[0]

        return await self._db.write(work)

    async def change(self, kind: Kind, identifier: str, values: Mapping[str, Any]) -> Any:
        """Set fields of one; options are merged. Raises NotFound, Conflict; Forbidden when it is immutable, or for a
        project below a disabled or above an enabled one. Disabling, or a new password, voids the tokens issued
        before."""
        given = dict(values)
        if given.get("password") is not None:
            given["password"] = await self._passwords.hash(given["password"])

        def work(tx: Tx) -> Any:
            before = store.hold(tx, kind, identifier, alone=True)
            check_change(kind, before, values)
            row = self._changed(tx, before, given)
            _check_links(tx, kind, row)
            if kind == "project" and "enabled" in row:
                check_enabled(tx, before, row["enabled"])
            names = row.pop("tags", None)
            if names is not None:
                store_project.set_tags(tx, identifier, names)
            if row:
                store.change(tx, kind, identifier, row)
            if kind != "group":  # whose name is nobody's right
                self._epochs.bump(tx, _subject(kind, identifier))
            return _tagged(tx, kind, [store.get(tx, kind, identifier)])[0]

        return await self._db.write(work)

    async def change_password(self, user_id: str, original: str, password: str) -> None:
        """Let a user set a new password. Raises Unauthenticated when the original one is wrong, Invalid when the user
        may not change it."""
        now = await self._db.read(lambda tx: tx.now)
        user = await self._guard.check(Named(id=user_id), original, now)
        if user.options.get("lock_password"):
            raise Invalid("You cannot change your password: it is locked. An administrator can set another one.")
        # What was counted stays: the password may be half of a proof, and the other half being guessed.
        await self.change("user", user_id, {"password": password, "failures": user.failures})

    async def delete(self, kind: Kind, identifier: str) -> None:
        """Remove one with its assignments; a domain with all that is in it. Raises NotFound; Forbidden for what is
        immutable, a domain that is enabled or the default one, and a project with children."""

        def work(tx: Tx) -> None:
            row = store.hold(tx, kind, identifier, alone=True)
            check_delete(kind, row)
            if kind == "domain":
                self._empty(tx, row)
            elif kind == "project":
                check_leaf(tx, identifier)
                store.forget_projects(tx, {"id": identifier})
                store_project.set_tags(tx, identifier, ())
            elif kind == "user":
                store_group.forget(tx, user_id=identifier)
            elif kind == "role":
                store_implication.forget(tx, identifier)
            store.remove(tx, kind, identifier)
            store_assignment.revoke_all(tx, kind, identifier)
            if kind == "group":
                touch_members(tx, self._epochs, identifier)
                store_group.forget(tx, group_id=identifier)
            else:
                self._epochs.bump(tx, _subject(kind, identifier))

        await self._db.write(work)

    async def rows(self, ids: Mapping[Kind, str]) -> dict[Kind, Any]:
        """One row of each kind by its id, as far as it exists: what policy asks about."""

        def work(tx: Tx) -> dict[Kind, Any]:
            found = {kind: store.find(tx, kind, Named(id=identifier)) for kind, identifier in ids.items()}
            return {kind: row for kind, row in found.items() if row is not None}

        return await self._db.read(work)

    async def names(self, ids: Mapping[Kind, Sequence[str]]) -> dict[Kind, dict[str, Any]]:
        """Rows by kind and id, for answers that show names beside ids."""

        def work(tx: Tx) -> dict[Kind, dict[str, Any]]:
            return {
                kind: {
                    row.id: row for at in range(0, len(wanted), 500) for row in _some(tx, kind, wanted[at : at + 500])
                }
                for kind, wanted in ids.items()
            }

        return await self._db.read(work)

    def _changed(self, tx: Tx, before: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """The columns (and tags) that a change sets."""
        row = dict(given)
        if "domain_id" in row and (row["domain_id"] or None) != before.domain_id:
            raise Invalid("The domain_id cannot be changed.")
        if row.get("enabled") is False or "password" in row:
            row["valid_after"] = tx.now
        if "password" in row:
            row |= {"password_expires_at": self._expiry(tx.now), "failures": row.get("failures", 0)}
        if isinstance(row.get("extra"), dict):
            row["extra"] = {**before.extra, **row["extra"]}
        if "options" in row:
            row["options"] = merge(before.options, row["options"])
        return row

    def _empty(self, tx: Tx, domain: Any) -> None:
        """Remove everything in a domain that may go."""
        if domain.id == DEFAULT_DOMAIN:
            raise Forbidden("The default domain cannot be deleted.")
        if domain.enabled:
            raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
        kinds: tuple[Kind, ...] = ("project", "user", "group", "role")
        for kind in kinds:
            store.hold_domain(tx, kind, domain.id)
        for project in store.list_all(tx, "project", {"domain_id": domain.id}):
            check_delete("project", project)
        store_assignment.revoke_domain(tx, domain.id)
        store_implication.forget_domain(tx, domain.id)
        store_group.forget_domain(tx, domain.id)
        store_project.forget_domain_tags(tx, domain.id)
        store.forget_projects(tx, {"domain_id": domain.id})
        for kind in kinds:
            gone = store.remove_of_domain(tx, kind, domain.id)
            for identifier in gone if kind in ("project", "user") else ():
                self._epochs.bump(tx, _subject(kind, identifier))

    def _expiry(self, now: int) -> int | None:
        return now + self._password_days * DAY if self._password_days else None


def _some(tx: Tx, kind: Kind, ids: Sequence[str]) -> Sequence[Any]:
    return store.list_all(tx, kind, {}, ids=ids)


def _tagged(tx: Tx, kind: Kind, rows: list[Any]) -> list[Any]:
    return store_project.with_tags(tx, rows) if kind in TAGGED else rows


def _check_links(tx: Tx, kind: Kind, row: Mapping[str, Any]) -> None:
    if row.get("domain_id"):
        store.hold(tx, "domain", row["domain_id"])
    if kind == "user" and row.get("default_project_id"):
        store.hold(tx, "project", row["default_project_id"])


def _subject(kind: Kind, identifier: str) -> str:
    """Whose epoch a change raises. A change of a domain or a role may concern anyone, and is rare."""
    subjects = {"user": store_epoch.user(identifier), "project": store_epoch.project(identifier)}
    return subjects.get(kind, store_epoch.GLOBAL)
