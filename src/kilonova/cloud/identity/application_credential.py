"""Commands and queries on application credentials and access rules. Policy was asked in the edge."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kilonova.cloud.identity import application_credential_store as rows
from kilonova.cloud.identity import store, store_effective, store_epoch, store_implication
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.model import ApplicationCredential, Named, Role
from kilonova.cloud.identity.password import Passwords
from kilonova.core.access import AccessRule
from kilonova.core.context import Context
from kilonova.core.errors import Invalid
from kilonova.core.ids import new_hex
from kilonova.kit.db import Database, Tx


@dataclass(frozen=True, slots=True)
class Shown:
    """An application credential with what it names."""

    credential: ApplicationCredential
    roles: tuple[Role, ...]
    rules: tuple[AccessRule, ...] | None


class ApplicationCredentials:
    """What programs log in with instead of their user's password."""

    def __init__(
        self, db: Database, passwords: Passwords, epochs: Epochs, *, new_id: Callable[[], str] = new_hex
    ) -> None:
        self._db = db
        self._passwords = passwords
        self._epochs = epochs
        self._new_id = new_id

    async def create(
        self,
        context: Context,
        values: Mapping[str, Any],
        roles: Sequence[Named],
        rules: Sequence[Mapping[str, str]] | None,
    ) -> tuple[Shown, str]:
        """A new one of the caller's, for its project, and its secret (the only time that anybody sees it). `roles` are
        some of the caller's, none means all; `rules` are access rules, new ones or `{"id"}` of the user's.

        Raises Invalid for a role that the caller has not, or without a project; Conflict when the name is taken;
        NotFound for an access rule that does not exist.
        """
        project_id = context.project_id
        if project_id is None:
            raise Invalid("An application credential needs a token with a project.")
        secret = values.get("secret") or secrets.token_urlsafe(64)
        row = {**values, "id": self._new_id(), "user_id": context.user_id, "project_id": project_id}
        row["secret"] = await self._passwords.hash(secret)

        def work(tx: Tx) -> Shown:
            held = store_effective.roles_on(tx, context.user_id, "project", project_id)
            # What the caller's own token is narrowed to narrows what it may give on.
            chosen = _choose(tx, [role for role in held if role.name in context.roles], roles)
            kept = None if rules is None else [self._rule(tx, context.user_id, one).id for one in rules]
            rows.create(tx, {**row, "roles": chosen, "access_rules": kept})
            return _shown(tx, rows.get(tx, row["id"]))

        return await self._db.write(work), secret

    async def list(self, user_id: str, name: str | None = None) -> Sequence[Shown]:
        """A user's. Raises NotFound."""
        where = {"user_id": user_id, **({} if name is None else {"name": name})}

        def work(tx: Tx) -> Sequence[Shown]:
            store.get(tx, "user", user_id)
            return _all_shown(tx, rows.list_credentials(tx, where), user_id)

        return await self._db.read(work)

    async def show(self, user_id: str, identifier: str) -> Shown:
        """One of a user's. Raises NotFound."""
        return await self._db.read(lambda tx: _shown(tx, rows.get(tx, identifier, user_id)))

    async def delete(self, user_id: str, identifier: str) -> None:
        """Remove one; its tokens are void at once. Raises NotFound."""

        def work(tx: Tx) -> None:
            rows.remove(tx, identifier, user_id)
            self._epochs.bump(tx, store_epoch.user(user_id))

        await self._db.write(work)

    async def list_rules(self, user_id: str, where: Mapping[str, str]) -> Sequence[AccessRule]:
        """A user's access rules, those whose fields equal `where`."""
        return await self._db.read(lambda tx: rows.list_rules(tx, user_id, **where))

    async def show_rule(self, user_id: str, identifier: str) -> AccessRule:
        """One. Raises NotFound."""
        return await self._db.read(lambda tx: rows.get_rule(tx, identifier, user_id))

    async def delete_rule(self, user_id: str, identifier: str) -> None:
        """Remove one. Raises NotFound, Forbidden while it is used."""
        await self._db.write(lambda tx: rows.remove_rule(tx, identifier, user_id))

    def _rule(self, tx: Tx, user_id: str, given: Mapping[str, str]) -> AccessRule:
        if "id" in given and "path" not in given:
            return rows.get_rule(tx, given["id"], user_id)
        rule = AccessRule(self._new_id(), given["service"], given["method"], given["path"])
        return rows.ensure_rule(tx, user_id, rule)


def _choose(tx: Tx, held: Sequence[Role], wanted: Sequence[Named]) -> list[str]:
    if not wanted:
        if not held:
            raise Invalid("Invalid application credential: no role to give.")
        return [role.id for role in held]
    by_id = {role.id: role for role in held}
    by_name = {role.name: role for role in held}
    found = []
    for one in wanted:
        role = by_id.get(one.id) if one.id is not None else by_name.get(one.name or "")
        if role is None:
            raise Invalid(
                "Invalid application credential: Cannot create an application credential with unassigned role"
            )
        found.append(role.id)
    implied = store_implication.implied_by(tx, found)
    return [role.id for role in held if role.id in {*found, *implied}]


def _shown(tx: Tx, one: ApplicationCredential) -> Shown:
    return _all_shown(tx, [one], one.user_id)[0]


def _all_shown(tx: Tx, found: Sequence[ApplicationCredential], user_id: str) -> list[Shown]:
    if not found:
        return []
    role_ids = sorted({role_id for one in found for role_id in one.roles})
    roles = {role.id: role for role in store.list_all(tx, "role", {}, ids=role_ids)}
    rules = {rule.id: rule for rule in rows.list_rules(tx, user_id)}
    return [
        Shown(
            one,
            tuple(roles[i] for i in one.roles if i in roles),
            None if one.access_rules is None else tuple(rules[i] for i in one.access_rules if i in rules),
        )
        for one in found
    ]
