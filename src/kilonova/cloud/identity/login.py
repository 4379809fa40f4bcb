"""From a password or a token to a session, and what a token means now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kilonova.cloud.identity import store, store_effective, store_epoch
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.guard import DEFAULT, REFUSED, Lockout, PasswordGuard
from kilonova.cloud.identity.model import SYSTEM, Domain, Named, Project, ScopeKind, Session, Ticket, User, Wish
from kilonova.cloud.identity.option import suffices
from kilonova.cloud.identity.password import Passwords
from kilonova.cloud.identity.token import Tokens, new_audit_id
from kilonova.core.errors import NotFound, Unauthenticated
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.db import Database, Tx


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and what it means."""

    token: str
    session: Session


class Login:
    """Issues, validates and revokes tokens. `lifetime`: seconds that a token by password lasts."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        tokens: Tokens,
        passwords: Passwords,
        epochs: Epochs,
        *,
        lifetime: int = 3600,
        lockout: Lockout = DEFAULT,
        audit_id: Callable[[], str] = new_audit_id,
    ) -> None:
        self._db = db
        self._clock = clock
        self._tokens = tokens
        self._guard = PasswordGuard(db, passwords, lockout)
        self._epochs = epochs
        self._lifetime = lifetime
        self._audit_id = audit_id

    async def by_password(self, who: Named, password: str, wish: Wish) -> Issued:
        """A token for a user who knows the password. Raises Unauthenticated, after the same time, for whatever
        reason."""
        # The moment before the check: a password changed meanwhile voids the token that the old one is about to get.
        now = self._clock.now()
        user = await self._guard.check(who, password, now)
        if expired(user, now):
            raise Unauthenticated("The password is expired and needs to be changed.")
        expires = (now // SECOND + self._lifetime) * SECOND
        audit = (self._audit_id(),)
        return await self._issue(wish, Ticket(user.id, "unscoped", "", ("password",), now, expires, audit))

    async def by_token(self, token: str, wish: Wish) -> Issued:
        """Another scope for who holds a token; it expires when the first one does. Raises NotFound for one that does
        not count any more (as Keystone answers), Unauthenticated for a scope without roles."""
        now = self._clock.now()
        try:
            ticket = (await self.validate(token)).ticket
        except Unauthenticated:
            raise NotFound("Could not find token.") from None
        methods = ticket.methods if "token" in ticket.methods else (*ticket.methods, "token")
        audit = (self._audit_id(), ticket.audit_ids[-1])
        return await self._issue(wish, Ticket(ticket.user_id, "unscoped", "", methods, now, ticket.expires_at, audit))

    async def validate(self, token: str) -> Session:
        """What a token means now. Raises Unauthenticated when it is forged, expired or revoked, or when the user, the
        scope or the roles are gone."""
        ticket = self._tokens.open(token, self._clock.now())
        return await self._db.read(lambda tx: load_session(tx, ticket))

    async def revoke(self, token: str) -> None:
        """Make one token void at once, everywhere. Raises Unauthenticated when it already is."""
        ticket = (await self.validate(token)).ticket

        def work(tx: Tx) -> None:
            store_epoch.revoke(tx, ticket.audit_ids[0], ticket.expires_at)
            self._epochs.bump(tx, store_epoch.user(ticket.user_id))
            store_epoch.forget_revocations(tx, tx.now)

        await self._db.write(work)

    async def _issue(self, wish: Wish, unscoped: Ticket) -> Issued:
        def work(tx: Tx) -> Session:
            kind, target = _resolve(tx, unscoped.user_id, wish)
            session = load_session(tx, replace(unscoped, kind=kind, target_id=target))
            if not suffices(session.user.options, unscoped.methods):
                raise Unauthenticated(REFUSED)
            return session

        session = await self._db.read(work)
        return Issued(self._tokens.seal(session.ticket), session)


def expired(user: User, now: int) -> bool:
    """Whether the user's password has to be changed before it counts again."""
    ends = user.password_expires_at
    return ends is not None and ends <= now and not user.options.get("ignore_password_expiry")


def load_session(tx: Tx, ticket: Ticket) -> Session:
    """What a ticket means in this transaction. Raises Unauthenticated when it means nothing any more."""
    try:
        session = _load(tx, ticket)
    except NotFound:
        raise Unauthenticated(REFUSED) from None
    if store_epoch.is_revoked(tx, ticket.audit_ids[0]):
        raise Unauthenticated(REFUSED)
    return session


def _load(tx: Tx, ticket: Ticket) -> Session:
    user: User = store.get(tx, "user", ticket.user_id)
    home: Domain = store.get(tx, "domain", user.domain_id)
    _require(ticket, user, home)
    if ticket.kind == "unscoped":
        return Session(ticket, user, home, ())
    project: Project | None = None
    domain: Domain | None = None
    if ticket.kind == "project":
        project = store.get(tx, "project", ticket.target_id)
        domain = home if project.domain_id == home.id else store.get(tx, "domain", project.domain_id)
        _require(ticket, project, domain)
    elif ticket.kind == "domain":
        domain = home if ticket.target_id == home.id else store.get(tx, "domain", ticket.target_id)
        _require(ticket, domain)
    roles = tuple(store_effective.roles_on(tx, user.id, ticket.kind, ticket.target_id))
    if not roles:
        raise Unauthenticated(REFUSED)
    return Session(ticket, user, home, roles, project, domain)


def _require(ticket: Ticket, *rows: User | Project | Domain) -> None:
    """Each enabled, and the ticket no older than the moment at which its tokens were last declared void."""
    for row in rows:
        if not row.enabled or ticket.issued_at <= row.valid_after:
            raise Unauthenticated(REFUSED)


def _resolve(tx: Tx, user_id: str, wish: Wish) -> tuple[ScopeKind, str]:
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


def _default_scope(tx: Tx, user_id: str) -> tuple[ScopeKind, str]:
    user = store.find(tx, "user", Named(id=user_id))
    project_id = user.default_project_id if user else None
    if project_id:
        project = store.find(tx, "project", Named(id=project_id))
        if project and project.enabled and store_effective.roles_on(tx, user_id, "project", project_id):
            return "project", project_id
    return "unscoped", ""
