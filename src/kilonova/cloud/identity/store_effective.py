"""What users may really do where: through their groups, from what is above a project, and by implication.

A role of a domain is not among the results; what it implies is (Identity API v3, "Domain-specific roles").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, not_, or_, select

from kilonova.cloud.identity import store, store_group
from kilonova.cloud.identity.model import SYSTEM, Assignment, Domain, Effective, Project, Role, ScopeKind, Sought
from kilonova.cloud.identity.store import identity_domain, identity_project, identity_role
from kilonova.cloud.identity.store_assignment import UNDER, identity_assignment, in_domain, kinds, to_assignment
from kilonova.cloud.identity.store_group import identity_member
from kilonova.cloud.identity.store_implication import by_prior, implications, implied_by, reach
from kilonova.cloud.identity.store_project import above, below
from kilonova.kit.db import Tx

LISTED: Final = 10_000
"""Most assignments that one list is made from."""
SPREAD: Final = 50_000
"""Most effective assignments that one list has."""
_ONE: Final = identity_assignment.c
_PROJECT: Final = identity_project.c


def _actor(user_id: Any) -> Any:
    groups = select(identity_member.c.group_id).where(identity_member.c.user_id == user_id)
    return or_(_ONE.user_id == user_id, _ONE.user_id.in_(groups))


def _reaches_project(project_id: Any) -> Any:
    """Assignments that hold on a project: on itself, below something above it, or in its domain."""
    home = select(_PROJECT.domain_id).where(_PROJECT.id == project_id).scalar_subquery()
    return or_(
        and_(_ONE.target_kind == "project", _ONE.target_id == project_id),
        and_(_ONE.target_kind == "under_project", _ONE.target_id.in_(select(above(project_id).c.id))),
        and_(_ONE.target_kind == "under_domain", _ONE.target_id == home),
    )


def _given(reaches: Any) -> Select[Any]:
    return select(_ONE.role_id).where(_actor(bindparam("user")), reaches).distinct()


_GIVEN: Final[Mapping[ScopeKind, Select[Any]]] = {
    "project": _given(_reaches_project(bindparam("target"))),
    "domain": _given(and_(_ONE.target_kind == "domain", _ONE.target_id == bindparam("target"))),
    "system": _given(and_(_ONE.target_kind == "system", _ONE.target_id == bindparam("target"))),
}


def roles_on(tx: Tx, user_id: str, kind: ScopeKind, target_id: str) -> list[Role]:
    """The user's effective roles there, by name."""
    if kind not in _GIVEN:
        return []
    given = {row.role_id for row in tx.execute(_GIVEN[kind], {"user": user_id, "target": target_id})}
    if not given:
        return []
    wanted = given | implied_by(tx, given)
    found: list[Role] = store.list_all(tx, "role", {"domain_id": ""}, ids=sorted(wanted))
    return sorted(found, key=lambda role: role.name)


def projects_of(tx: Tx, user_id: str, where: Mapping[str, Any]) -> list[Project]:
    """The projects on which a user has a role, as `store.list_all` filters them."""
    held = [_actor(user_id)]
    direct = select(_ONE.target_id).where(*held, _ONE.target_kind == "project")
    inherited = select(_ONE.target_id).where(*held, _ONE.target_kind == "under_project")
    homes = select(_ONE.target_id).where(*held, _ONE.target_kind == "under_domain")
    tree = below(_PROJECT.parent_id.in_(inherited))
    reached = or_(_PROJECT.id.in_(direct), _PROJECT.id.in_(select(tree.c.id)), _PROJECT.domain_id.in_(homes))
    return store.list_all(tx, "project", where, also=[reached])


def domains_of(tx: Tx, user_id: str, where: Mapping[str, Any]) -> list[Domain]:
    """The domains on which a user has a role, as `store.list_all` filters them."""
    held = select(_ONE.target_id).where(_actor(user_id), _ONE.target_kind == "domain")
    return store.list_all(tx, "domain", where, also=[identity_domain.c.id.in_(held)])


def list_effective(tx: Tx, sought: Sought) -> list[Effective]:
    """What really holds, as far as `sought` says (its actor is a user, or open); at most SPREAD of them."""
    sources = _sources(tx, sought)
    members = _members(tx, sources, sought.actor_id)
    places = _Places(tx, sources, sought)
    implied = by_prior(implications(tx))
    cloudwide = {row.id for row in tx.execute(select(identity_role.c.id).where(identity_role.c.domain_id == ""))}
    found: dict[tuple[str, str, str, str], Effective] = {}
    for one in _spread(sources, members, places):
        for role_id in (one.role_id, *sorted(reach(implied, [one.role_id]) - {one.role_id})):
            if role_id not in cloudwide or sought.role_id not in (None, role_id):
                continue
            prior = None if role_id == one.role_id else one.role_id
            here = Effective(one.user_id, one.target_kind, one.target_id, role_id, one.source, prior)
            found.setdefault((one.user_id, one.target_kind, one.target_id, role_id), here)
        if len(found) >= SPREAD:
            break
    return sorted(found.values(), key=lambda e: (e.user_id, e.target_kind, e.target_id))


def _sources(tx: Tx, sought: Sought) -> list[Assignment]:
    """The assignments from which anything sought may follow."""
    clauses: list[Any] = []
    if sought.actor_id is not None:
        clauses.append(_actor(sought.actor_id))
    if sought.inherited is not None:
        under = _ONE.target_kind.startswith(UNDER, autoescape=True)
        clauses.append(under if sought.inherited else ~under)
    if sought.domain_id is not None:
        clauses.append(in_domain(sought.domain_id))
    if sought.target_kind == "project" and sought.target_id is not None:
        tree = select(below(_PROJECT.id == sought.target_id).c.id)
        within = and_(_ONE.target_kind.in_(kinds("project")), _ONE.target_id.in_(tree))
        reaches = _reaches_project(sought.target_id)
        clauses.append(or_(reaches, within) if sought.subtree else reaches)
    elif sought.target_kind is not None:
        clauses.append(_ONE.target_kind == sought.target_kind)
        if sought.target_id is not None:
            clauses.append(_ONE.target_id == sought.target_id)
    rows = tx.execute(select(identity_assignment).where(*clauses).limit(LISTED))
    return [to_assignment(row) for row in rows]


def _members(tx: Tx, sources: Sequence[Assignment], user_id: str | None) -> Mapping[str, Sequence[str]]:
    groups = sorted({one.actor_id for one in sources if one.actor_kind == "group"})
    found: dict[str, list[str]] = {}
    for at in range(0, len(groups), 500):
        for group_id, member in store_group.member_ids(tx, groups[at : at + 500]):
            if user_id in (None, member):
                found.setdefault(group_id, []).append(member)
    return found


class _Places:
    """Where an assignment holds."""

    def __init__(self, tx: Tx, sources: Sequence[Assignment], sought: Sought) -> None:
        self._children: dict[str, list[str]] = {}
        self._of_domain: dict[str, list[str]] = {}
        self._wanted: set[str] | None = None
        if any(one.inherited for one in sources) or sought.subtree:
            self._read(tx, sources, sought)
        if sought.target_kind == "project" and sought.target_id is not None:
            self._wanted = {sought.target_id}
            if sought.subtree:
                self._wanted |= set(self._below(sought.target_id))

    def _read(self, tx: Tx, sources: Sequence[Assignment], sought: Sought) -> None:
        roots = {one.target_id for one in sources if one.inherited}
        if sought.target_id is not None:
            roots.add(sought.target_id)
        homes = select(_PROJECT.domain_id).where(_PROJECT.id.in_(sorted(roots)))
        here = or_(_PROJECT.domain_id.in_(homes), _PROJECT.domain_id.in_(sorted(roots)))
        for row in tx.execute(select(_PROJECT.id, _PROJECT.parent_id, _PROJECT.domain_id).where(here)):
            self._of_domain.setdefault(row.domain_id, []).append(row.id)
            self._children.setdefault(row.parent_id or row.domain_id, []).append(row.id)

    def of(self, one: Assignment) -> Iterable[tuple[ScopeKind, str]]:
        """The (kind, id) of each target on which the assignment holds, among those that are sought."""
        if not one.inherited:
            return [(one.target_kind, one.target_id)] if self._is_wanted(one.target_id) else []
        inside = self._of_domain.get(one.target_id, ()) if one.target_kind == "domain" else self._below(one.target_id)
        return [("project", project_id) for project_id in inside if self._is_wanted(project_id)]

    def _is_wanted(self, target_id: str) -> bool:
        return self._wanted is None or target_id in self._wanted

    def _below(self, project_id: str) -> Iterator[str]:
        waiting = [project_id]
        while waiting:
            for child in self._children.get(waiting.pop(), ()):
                waiting.append(child)
                yield child


def _spread(
    sources: Sequence[Assignment], members: Mapping[str, Sequence[str]], places: _Places
) -> Iterator[Effective]:
    """Assignments of users on what they hold for. Those of the user's own come first, the nearer target before the
    farther one, so that a link leads to the plainest reason."""
    for one in sorted(sources, key=lambda one: (one.actor_kind != "user", one.inherited)):
        users = [one.actor_id] if one.actor_kind == "user" else members.get(one.actor_id, ())
        for kind, target_id in places.of(one):
            for user_id in users:
                yield Effective(user_id, kind, target_id, one.role_id, one)


def holds_beyond(tx: Tx, actor_id: str, domain_id: str, names: Collection[str], *, own: bool) -> bool:
    """Whether a user (also through groups) or a group has any role outside a domain, or within it one that is, or
    implies, a role of the whole cloud with one of these names; `own`: those on the domain itself do not count."""
    roles = identity_role.c
    named = {row.id for row in tx.execute(select(roles.id).where(roles.domain_id == "", roles.name.in_(names)))}
    named |= reach(by_prior((implied_id, prior_id) for prior_id, implied_id in implications(tx)), named)
    counted = [_ONE.target_kind != "domain"] if own else []
    powerful = and_(_ONE.role_id.in_(sorted(named)), *counted)
    held = select(_ONE.role_id).where(_actor(actor_id), or_(not_(in_domain(domain_id)), powerful))
    return tx.execute(held.limit(1)).first() is not None


def holds_system(tx: Tx, user_id: str) -> bool:
    """Whether a user has any role on the system."""
    held = select(_ONE.role_id).where(_actor(user_id), _ONE.target_kind == "system", _ONE.target_id == SYSTEM)
    return tx.execute(held).first() is not None
