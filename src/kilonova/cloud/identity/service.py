"""Commands and queries on domains, projects, users, roles and assignments. Policy was asked in the edge.

Whatever takes rights away raises the epochs of those it concerns in the same transaction, and declares older tokens
void where the rights may come back (a user disabled and enabled again).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kilonova.cloud.identity import store, store_assignment, store_epoch
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.login import REFUSED
from kilonova.cloud.identity.model import DEFAULT_DOMAIN, Assignment, Kind, Named, Project, Role
from kilonova.cloud.identity.password import Passwords
from kilonova.core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from kilonova.core.ids import new_hex
from kilonova.kit.db import Database, Tx


class Directory:
    """Everything of identity but tokens."""

    def __init__(
        self, db: Database, passwords: Passwords, epochs: Epochs, *, new_id: Callable[[], str] = new_hex
    ) -> None:
        self._db = db
        self._passwords = passwords
        self._epochs = epochs
        self._new_id = new_id

    async def show(self, kind: Kind, identifier: str) -> Any:
        """A Domain, Project, User or Role. Raises NotFound."""
        return await self._db.read(lambda tx: store.get(tx, kind, identifier))

    async def list(self, kind: Kind, where: Mapping[str, Any]) -> list[Any]:
        """Those whose fields equal `where` (or `name__contains`, `name__startswith`), oldest first."""
        return await self._db.read(lambda tx: store.list_all(tx, kind, where))

    async def create(self, kind: Kind, values: Mapping[str, Any]) -> Any:
        """A new one with these fields (a user's `password` in the clear). Raises Conflict when the name is taken,
        NotFound when its domain, parent or default project does not exist."""
        row = {"id": self._new_id(), **values}
        if row.get("password") is not None:
            row["password"] = await self._passwords.hash(row["password"])

        def work(tx: Tx) -> Any:
            _check_links(tx, kind, row)
            store.create(tx, kind, row)
            return store.get(tx, kind, row["id"])

        return await self._db.write(work)

    async def change(self, kind: Kind, identifier: str, values: Mapping[str, Any]) -> Any:
        """Set fields of one. Raises NotFound, Conflict. Disabling, or a new password, voids the tokens issued
        before."""
        row = dict(values)
        if row.get("password") is not None:
            row["password"] = await self._passwords.hash(row["password"])

        def work(tx: Tx) -> Any:
            before = store.get(tx, kind, identifier)
            if "domain_id" in row and row["domain_id"] != before.domain_id:
                raise Invalid("The domain_id cannot be changed.")
            if row.get("enabled") is False or "password" in row:
                row["valid_after"] = tx.now
            if isinstance(row.get("extra"), dict):
                row["extra"] = {**before.extra, **row["extra"]}
            _check_links(tx, kind, row)
            if row:
                store.change(tx, kind, identifier, row)
            self._epochs.bump(tx, _subject(kind, identifier))
            return store.get(tx, kind, identifier)

        return await self._db.write(work)

    async def change_password(self, user_id: str, original: str, password: str) -> None:
        """Let a user set a new password. Raises Unauthenticated when the original one is wrong."""
        found = await self._db.read(lambda tx: store.find_login(tx, Named(id=user_id)))
        if not await self._passwords.verify(found[1] if found else None, original):
            raise Unauthenticated(REFUSED)
        await self.change("user", user_id, {"password": password})

    async def delete(self, kind: Kind, identifier: str) -> None:
        """Remove one with its assignments. Raises NotFound; Forbidden for a domain that is enabled or the default one,
        and for a project with children; Conflict for a domain that is not empty."""

        def work(tx: Tx) -> None:
            row = store.get(tx, kind, identifier)
            if kind == "domain":
                _check_domain_goes(tx, row)
            if kind == "project" and store.has_children(tx, identifier):
                raise Forbidden(f"Cannot delete project {identifier} since it is not a leaf in the hierarchy.")
            store.remove(tx, kind, identifier)
            if kind in ("user", "role"):
                store_assignment.revoke_all(tx, **{f"{kind}_id": identifier})
            else:
                store_assignment.revoke_all(tx, target_kind=kind, target_id=identifier)
            self._epochs.bump(tx, _subject(kind, identifier))

        await self._db.write(work)

    async def grant(self, one: Assignment) -> None:
        """Give a role to a user on a project, a domain or the system; again does nothing. Raises NotFound."""

        def work(tx: Tx) -> None:
            _check_assignment(tx, one)
            if store_assignment.grant(tx, one):
                self._epochs.bump(tx, store_epoch.user(one.user_id))

        await self._db.write(work)

    async def revoke(self, one: Assignment) -> None:
        """Take such a role away. Raises NotFound."""

        def work(tx: Tx) -> None:
            _check_assignment(tx, one)
            store_assignment.revoke(tx, one)
            self._epochs.bump(tx, store_epoch.user(one.user_id))

        await self._db.write(work)

    async def holds(self, one: Assignment) -> None:
        """Nothing, if the user has exactly this assignment. Raises NotFound."""

        def work(tx: Tx) -> None:
            _check_assignment(tx, one)
            if not store_assignment.list_assignments(tx, _fields(one)):
                raise NotFound(f"Could not find role assignment with role: {one.role_id}.")

        await self._db.read(work)

    async def roles_given(self, user_id: str, target_kind: str, target_id: str) -> Sequence[Role]:
        """The roles assigned there directly."""

        def work(tx: Tx) -> Sequence[Role]:
            where = {"user_id": user_id, "target_kind": target_kind, "target_id": target_id}
            ids = [one.role_id for one in store_assignment.list_assignments(tx, where)]
            return store.list_all(tx, "role", {}, ids=ids)

        return await self._db.read(work)

    async def assignments(self, where: Mapping[str, str], *, effective: bool) -> Sequence[Assignment]:
        """Assignments whose fields equal `where`; `effective` adds those that follow by implication."""

        def work(tx: Tx) -> Sequence[Assignment]:
            direct = {key: value for key, value in where.items() if key != "role_id" or not effective}
            found = store_assignment.list_assignments(tx, direct)
            if not effective:
                return found
            spread = {
                Assignment(one.user_id, one.target_kind, one.target_id, role_id): None
                for one in found
                for role_id in (one.role_id, *sorted(store_assignment.implied_by(tx, [one.role_id])))
            }
            return [one for one in spread if where.get("role_id", one.role_id) == one.role_id]

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

    async def projects_of(self, user_id: str) -> Sequence[Project]:
        """The enabled projects on which a user has a role."""
        return await self._db.read(lambda tx: _places_of(tx, user_id, "project"))

    async def domains_of(self, user_id: str) -> Sequence[Any]:
        """The enabled domains on which a user has a role."""
        return await self._db.read(lambda tx: _places_of(tx, user_id, "domain"))

    async def implications(self) -> Sequence[tuple[Role, Role]]:
        """Every (prior role, implied role)."""

        def work(tx: Tx) -> Sequence[tuple[Role, Role]]:
            role = {one.id: one for one in store.list_all(tx, "role", {})}
            return [(role[a], role[b]) for a, b in store_assignment.implications(tx) if a in role and b in role]

        return await self._db.read(work)


def _some(tx: Tx, kind: Kind, ids: Sequence[str]) -> Sequence[Any]:
    return store.list_all(tx, kind, {}, ids=ids)


def _places_of(tx: Tx, user_id: str, kind: Kind) -> Sequence[Any]:
    where = {"user_id": user_id, "target_kind": kind}
    ids = sorted({one.target_id for one in store_assignment.list_assignments(tx, where)})
    return store.list_all(tx, kind, {"enabled": True}, ids=ids)


def _fields(one: Assignment) -> dict[str, str]:
    return {
        "user_id": one.user_id,
        "target_kind": one.target_kind,
        "target_id": one.target_id,
        "role_id": one.role_id,
    }


def _check_assignment(tx: Tx, one: Assignment) -> None:
    store.get(tx, "user", one.user_id)
    store.get(tx, "role", one.role_id)
    if one.target_kind == "project" or one.target_kind == "domain":
        store.get(tx, one.target_kind, one.target_id)


def _check_links(tx: Tx, kind: Kind, row: Mapping[str, Any]) -> None:
    if row.get("domain_id"):
        store.get(tx, "domain", row["domain_id"])
    if kind == "project" and row.get("parent_id") and row["parent_id"] != row.get("domain_id"):
        parent = store.get(tx, "project", row["parent_id"])
        if parent.domain_id != row.get("domain_id", parent.domain_id):
            raise Invalid("A project lies in the domain of its parent.")
    if kind == "user" and row.get("default_project_id"):
        store.get(tx, "project", row["default_project_id"])


def _check_domain_goes(tx: Tx, domain: Any) -> None:
    if domain.id == DEFAULT_DOMAIN:
        raise Forbidden("The default domain cannot be deleted.")
    if domain.enabled:
        raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    if store.holds_anything(tx, domain.id):
        raise Conflict("The domain still has projects or users.")


def _subject(kind: Kind, identifier: str) -> str:
    """Whose epoch a change raises. A change of a domain or a role may concern anyone, and is rare."""
    subjects = {"user": store_epoch.user(identifier), "project": store_epoch.project(identifier)}
    return subjects.get(kind, store_epoch.GLOBAL)
