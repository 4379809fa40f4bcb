"""What a new cloud has: a domain, two projects, two users, the default roles. Safe to run at every start."""

from __future__ import annotations

from dataclasses import dataclass

from kilonova.cloud.identity import store, store_assignment, store_epoch, store_implication
from kilonova.cloud.identity.model import DEFAULT_DOMAIN, IMPLICATIONS, ROLES, SYSTEM, Assignment, Named, ScopeKind
from kilonova.cloud.identity.password import Passwords
from kilonova.core.ids import NewId, new_hex
from kilonova.kit.db import Database, Tx


@dataclass(frozen=True, slots=True)
class Founded:
    """The ids of what every cloud has, and whether this call made the users."""

    domain_id: str
    admin_project_id: str
    demo_project_id: str
    admin_user_id: str
    demo_user_id: str
    role_ids: dict[str, str]
    is_new: bool


async def found(
    db: Database, passwords: Passwords, admin_password: str, demo_password: str, new_id: NewId = new_hex
) -> Founded:
    """Create whatever is missing of domain Default, projects and users admin and demo, and the roles reader, member,
    manager, admin and service (admin implies manager implies member implies reader).

    A user who exists keeps the password that it has; the ones given here are for users that are made now. Wrong
    passwords do not lock admin out: whoever can reach the cloud could lock it.
    """
    known = await db.read(lambda tx: store.find(tx, "user", Named(name="demo", domain_id=DEFAULT_DOMAIN)))
    hashes = {"admin": "", "demo": ""}
    if known is None:
        hashes = {
            "admin": await passwords.hash(admin_password),
            "demo": await passwords.hash(demo_password),
        }
    return await db.write(lambda tx: _found(tx, hashes, new_id, is_new=known is None))


def _found(tx: Tx, hashes: dict[str, str], new_id: NewId, *, is_new: bool) -> Founded:
    if store.find(tx, "domain", Named(id=DEFAULT_DOMAIN)) is None:
        store.create(tx, "domain", {"id": DEFAULT_DOMAIN, "name": "Default", "description": "The default domain"})
    roles = {name: _ensure_role(tx, name, new_id) for name in ROLES}
    for prior, implied in IMPLICATIONS:
        store_implication.imply(tx, roles[prior], roles[implied])
    projects = {name: _ensure_project(tx, name, new_id) for name in ("admin", "demo")}
    users = {name: _ensure_user(tx, name, projects[name], hashes[name], new_id) for name in ("admin", "demo")}
    if is_new:
        store.change(tx, "user", users["admin"], {"options": {"ignore_lockout_failure_attempts": True}})
        _ensure_grant(tx, users["admin"], "project", projects["admin"], roles["admin"])
        _ensure_grant(tx, users["admin"], "system", SYSTEM, roles["admin"])
        _ensure_grant(tx, users["demo"], "project", projects["demo"], roles["member"])
    return Founded(DEFAULT_DOMAIN, projects["admin"], projects["demo"], users["admin"], users["demo"], roles, is_new)


def _ensure_role(tx: Tx, name: str, new_id: NewId) -> str:
    known = store.list_all(tx, "role", {"name": name, "domain_id": ""})
    if known:
        return str(known[0].id)
    identifier = new_id()
    store.create(tx, "role", {"id": identifier, "name": name, "domain_id": ""})
    return identifier


def _ensure_project(tx: Tx, name: str, new_id: NewId) -> str:
    known = store.find(tx, "project", Named(name=name, domain_id=DEFAULT_DOMAIN))
    if known is not None:
        return str(known.id)
    values = {"id": new_id(), "name": name, "domain_id": DEFAULT_DOMAIN, "parent_id": DEFAULT_DOMAIN}
    store.create(tx, "project", values)
    return values["id"]


def _ensure_user(tx: Tx, name: str, project_id: str, password: str, new_id: NewId) -> str:
    known = store.find(tx, "user", Named(name=name, domain_id=DEFAULT_DOMAIN))
    if known is not None:
        return str(known.id)
    identifier = new_id()
    store.create(
        tx,
        "user",
        {
            "id": identifier,
            "name": name,
            "domain_id": DEFAULT_DOMAIN,
            "default_project_id": project_id,
            "password": password or None,
        },
    )
    return identifier


def _ensure_grant(tx: Tx, user_id: str, kind: ScopeKind, target_id: str, role_id: str) -> None:
    if store_assignment.grant(tx, Assignment(user_id, kind, target_id, role_id)):
        store_epoch.bump(tx, store_epoch.user(user_id))
