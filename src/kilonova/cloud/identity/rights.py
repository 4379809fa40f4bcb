"""Commands and queries on who has which role where, and on roles that imply others. Policy was asked in the edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilonova.cloud.identity import (
    store,
    store_assignment,
    store_effective,
    store_epoch,
    store_group,
    store_implication,
)
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.model import Assignment, Domain, Effective, Project, Role, Sought
from kilonova.core.errors import Forbidden, NotFound
from kilonova.kit.db import Database, Tx

NEVER_IMPLIED: Final = frozenset({"admin"})
"""Roles that no other role may imply, as Keystone's `prohibited_implied_role`."""
NEVER_MANAGED: Final = frozenset({"admin", "service"})
"""Roles that give rights in the whole cloud wherever they are held."""
LISTED: Final = store_assignment.LISTED
"""A list of so many assignments may have left some out."""
MANY: Final = 100
"""How many members of a group are told one by one that their rights changed; of more, everybody is."""


class Rights:
    """Assignments and implications. Each change raises the epochs of all whom it concerns in its own transaction."""

    def __init__(self, db: Database, epochs: Epochs) -> None:
        self._db = db
        self._epochs = epochs

    async def grant(self, one: Assignment) -> None:
        """Give a role to a user or a group on a project, a domain or the system; again does nothing. Raises NotFound,
        and Forbidden for a domain's role where it does not fit."""

        def work(tx: Tx) -> None:
            _check_fit(one, *_check_named(tx, one))
            if store_assignment.grant(tx, one):
                self._touch(tx, one)

        await self._db.write(work)

    async def revoke(self, one: Assignment) -> None:
        """Take such a role away. Raises NotFound."""

        def work(tx: Tx) -> None:
            _check_named(tx, one)
            store_assignment.revoke(tx, one)
            self._touch(tx, one)

        await self._db.write(work)

    async def holds(self, one: Assignment) -> None:
        """Nothing, if exactly this was given. Raises NotFound."""

        def work(tx: Tx) -> None:
            _check_place(tx, Sought(one.actor_kind, one.actor_id, None, one.target_kind, one.target_id))
            if not store_assignment.holds(tx, one):
                raise NotFound(f"Could not find role assignment with role: {one.role_id}.")

        await self._db.read(work)

    async def roles_given(self, sought: Sought) -> Sequence[Role]:
        """The roles given there directly. Raises NotFound when the actor or the target does not exist."""

        def work(tx: Tx) -> Sequence[Role]:
            _check_place(tx, sought)
            ids = sorted({one.role_id for one in store_assignment.list_assignments(tx, sought)})
            return store.list_all(tx, "role", {}, ids=ids)

        return await self._db.read(work)

    async def assignments(self, sought: Sought) -> Sequence[Assignment]:
        """What was given, as far as `sought` says."""
        return await self._db.read(lambda tx: store_assignment.list_assignments(tx, sought))

    async def effective(self, sought: Sought) -> Sequence[Effective]:
        """What users really have, as far as `sought` says."""
        return await self._db.read(lambda tx: store_effective.list_effective(tx, sought))

    async def projects_of(self, user_id: str, *, enabled: bool | None = None) -> Sequence[Project]:
        """The projects on which a user has a role. Raises NotFound."""

        def work(tx: Tx) -> Sequence[Project]:
            store.get(tx, "user", user_id)
            return store_effective.projects_of(tx, user_id, {} if enabled is None else {"enabled": enabled})

        return await self._db.read(work)

    async def domains_of(self, user_id: str) -> Sequence[Domain]:
        """The enabled domains on which a user has a role."""
        return await self._db.read(lambda tx: store_effective.domains_of(tx, user_id, {"enabled": True}))

    async def holds_system(self, user_id: str) -> bool:
        """Whether a user has a role on the system."""
        return await self._db.read(lambda tx: store_effective.holds_system(tx, user_id))

    async def check_managed(self, actor_id: str, domain_id: str, *, by_admin: bool) -> None:
        """Nothing, if a domain's manager may take over a user or a group: who sets a password, or says who is in a
        group, has its rights. Raises Forbidden where they are more than the manager's own: outside the domain, or of a
        role that no manager gives (on the domain itself `by_admin`, its administrator, has those too)."""

        def work(tx: Tx) -> bool:
            return store_effective.holds_beyond(tx, actor_id, domain_id, NEVER_MANAGED, own=by_admin)

        if await self._db.read(work):
            raise Forbidden(f"{actor_id} has rights beyond those of a manager of domain {domain_id}.")

    async def implications(self, prior_id: str | None = None) -> Sequence[tuple[Role, Role]]:
        """Every (prior role, implied role), or those of one prior role. Raises NotFound when it does not exist."""

        def work(tx: Tx) -> Sequence[tuple[Role, Role]]:
            if prior_id is not None:
                store.get(tx, "role", prior_id)
            pairs = [p for p in store_implication.implications(tx) if prior_id in (None, p[0])]
            role: dict[str, Role] = {one.id: one for one in store.list_all(tx, "role", {})}
            return [(role[a], role[b]) for a, b in pairs if a in role and b in role]

        return await self._db.read(work)

    async def implication(self, prior_id: str, implied_id: str) -> tuple[Role, Role]:
        """One (prior role, implied role). Raises NotFound."""

        def work(tx: Tx) -> tuple[Role, Role]:
            pair = store.get(tx, "role", prior_id), store.get(tx, "role", implied_id)
            if (prior_id, implied_id) not in store_implication.implications(tx):
                raise NotFound(f"Could not find implied role {implied_id} of {prior_id}.")
            return pair

        return await self._db.read(work)

    async def imply(self, prior_id: str, implied_id: str) -> tuple[Role, Role]:
        """Let one role imply another; again does nothing. Raises NotFound; Forbidden for `admin`, for a domain's role
        implied by one of the whole cloud, and for a ring."""

        def work(tx: Tx) -> tuple[Role, Role]:
            first, second = (store.hold(tx, "role", one, alone=True) for one in sorted((prior_id, implied_id)))
            prior, implied = (first, second) if first.id == prior_id else (second, first)
            if implied.name in NEVER_IMPLIED:
                raise Forbidden(f"{implied_id} cannot be an implied role.")
            if prior.domain_id is None and implied.domain_id is not None:
                raise Forbidden("A global role cannot imply a domain-specific role.")
            if prior_id in store_implication.implied_by(tx, [implied_id]) | {implied_id}:
                raise Forbidden(f"{implied_id} implies {prior_id} already; roles may not imply each other.")
            if store_implication.imply(tx, prior_id, implied_id):
                self._epochs.bump(tx, store_epoch.GLOBAL)
            return prior, implied

        return await self._db.write(work)

    async def imply_no_more(self, prior_id: str, implied_id: str) -> None:
        """End an implication. Raises NotFound."""

        def work(tx: Tx) -> None:
            store_implication.imply_no_more(tx, prior_id, implied_id)
            self._epochs.bump(tx, store_epoch.GLOBAL)

        await self._db.write(work)

    def _touch(self, tx: Tx, one: Assignment) -> None:
        if one.actor_kind == "group":
            touch_members(tx, self._epochs, one.actor_id)
        else:
            self._epochs.bump(tx, store_epoch.user(one.actor_id))


def touch_members(tx: Tx, epochs: Epochs, group_id: str) -> None:
    """Make the contexts of everybody in a group stale."""
    members = store_group.member_ids(tx, [group_id], limit=MANY + 1)
    if len(members) > MANY:
        epochs.bump(tx, store_epoch.GLOBAL)
        return
    for _, user_id in members:
        epochs.bump(tx, store_epoch.user(user_id))


def _check_named(tx: Tx, one: Assignment) -> tuple[Role, Project | Domain | None]:
    # A group alone: whoever joins it meanwhile would neither be told now nor read what this changes.
    store.hold(tx, one.actor_kind, one.actor_id, alone=one.actor_kind == "group")
    role: Role = store.hold(tx, "role", one.role_id)
    if one.target_kind == "project" or one.target_kind == "domain":
        return role, store.hold(tx, one.target_kind, one.target_id)
    return role, None


def _check_fit(one: Assignment, role: Role, target: Project | Domain | None) -> None:
    """A domain's role fits its own domain and the projects in it."""
    if role.domain_id is None:
        return
    if target is None:
        raise Forbidden(f"Role {role.id} is a domain-specific role, which cannot be given on the system.")
    if isinstance(target, Domain) and target.id != role.domain_id:
        raise Forbidden(f"Role {role.id} is a role of another domain than {target.id}, where it is being assigned.")
    if isinstance(target, Project) and target.domain_id != role.domain_id:
        raise Forbidden(f"Project {target.id} must be in the same domain as the role {role.id} being assigned.")


def _check_place(tx: Tx, sought: Sought) -> None:
    if sought.actor_kind is not None and sought.actor_id is not None:
        store.get(tx, sought.actor_kind, sought.actor_id)
    if (sought.target_kind == "project" or sought.target_kind == "domain") and sought.target_id is not None:
        store.get(tx, sought.target_kind, sought.target_id)
