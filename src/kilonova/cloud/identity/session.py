"""What a ticket means now, and which scope a login gets."""

from __future__ import annotations

from kilonova.cloud.identity import (
    application_credential_store,
    store,
    store_effective,
    store_epoch,
    store_implication,
    trust_store,
)
from kilonova.cloud.identity.guard import REFUSED
from kilonova.cloud.identity.model import (
    SYSTEM,
    ApplicationCredential,
    Domain,
    Named,
    Project,
    Role,
    ScopeKind,
    Session,
    Ticket,
    Trust,
    User,
    Wish,
)
from kilonova.core.errors import NotFound, Unauthenticated
from kilonova.kit.db import Tx


def load_session(tx: Tx, ticket: Ticket) -> Session:
    """What a ticket means in this transaction. Raises Unauthenticated when it means nothing any more."""
    try:
        session = _load(tx, ticket)
    except NotFound:
        raise Unauthenticated(REFUSED) from None
    if store_epoch.is_revoked(tx, ticket.audit_ids[0]):
        raise Unauthenticated(REFUSED)
    return session


def resolve(tx: Tx, user_id: str, wish: Wish) -> tuple[ScopeKind, str]:
    """The scope that a user gets who asks for `wish`. Raises Unauthenticated."""
    if wish.kind is None:
        return _default_scope(tx, user_id)
    if wish.kind == "system":
        return "system", SYSTEM
    if wish.kind == "project" or wish.kind == "domain":
        found = store.find(tx, wish.kind, wish.target)
        if found is None:
            raise Unauthenticated(REFUSED)
        return wish.kind, found.id
    return "unscoped", ""


def _load(tx: Tx, ticket: Ticket) -> Session:
    user: User = store.get(tx, "user", ticket.user_id)
    home: Domain = store.get(tx, "domain", user.domain_id)
    _require(ticket, user, home)
    trust = trust_store.get(tx, ticket.trust_id, spent=True) if ticket.trust_id else None
    credential = application_credential_store.get(tx, ticket.credential_id) if ticket.credential_id else None
    if trust is not None:
        _require_user(tx, ticket, trust.other(user.id))
    if ticket.kind == "unscoped":
        return Session(ticket, user, home, (), trust=trust)
    project: Project | None = None
    domain: Domain | None = None
    if ticket.kind == "project":
        project = store.get(tx, "project", ticket.target_id)
        domain = home if project.domain_id == home.id else store.get(tx, "domain", project.domain_id)
        _require(ticket, project, domain)
    elif ticket.kind == "domain":
        domain = home if ticket.target_id == home.id else store.get(tx, "domain", ticket.target_id)
        _require(ticket, domain)
    roles = _roles(tx, ticket, trust, credential)
    if not roles:
        raise Unauthenticated(REFUSED)
    rules = None
    if credential is not None and credential.access_rules is not None:
        rules = application_credential_store.rules_of(tx, credential.access_rules)
    return Session(ticket, user, home, roles, project, domain, trust, credential, rules)


def _roles(tx: Tx, ticket: Ticket, trust: Trust | None, credential: ApplicationCredential | None) -> tuple[Role, ...]:
    """What the one whose rights these are still holds there, narrowed to what was delegated; nothing when a part of
    that is gone."""
    giver = trust.trustor_user_id if trust is not None else ticket.user_id
    held = tuple(store_effective.roles_on(tx, giver, ticket.kind, ticket.target_id))
    if trust is not None:
        if trust.project_id != ticket.target_id:
            return ()
        wanted = set(trust.roles)
        if not wanted <= {role.id for role in held}:
            return ()
        wanted |= store_implication.implied_by(tx, wanted)
        held = tuple(role for role in held if role.id in wanted)
    if credential is not None:
        ended = credential.expires_at is not None and credential.expires_at <= tx.now
        if ended or (ticket.kind, credential.project_id) != ("project", ticket.target_id):
            return ()
        held = tuple(role for role in held if role.id in credential.roles)
        if len(held) != len(credential.roles):
            return ()
    return held


def _require(ticket: Ticket, *rows: User | Project | Domain) -> None:
    """Each enabled, and the ticket no older than the moment at which its tokens were last declared void."""
    for row in rows:
        if not row.enabled or ticket.issued_at <= row.valid_after:
            raise Unauthenticated(REFUSED)


def _require_user(tx: Tx, ticket: Ticket, user_id: str) -> None:
    user: User = store.get(tx, "user", user_id)
    _require(ticket, user, store.get(tx, "domain", user.domain_id))


def _default_scope(tx: Tx, user_id: str) -> tuple[ScopeKind, str]:
    user = store.find(tx, "user", Named(id=user_id))
    project_id = user.default_project_id if user else None
    if project_id:
        project = store.find(tx, "project", Named(id=project_id))
        if project and project.enabled and store_effective.roles_on(tx, user_id, "project", project_id):
            return "project", project_id
    return "unscoped", ""
