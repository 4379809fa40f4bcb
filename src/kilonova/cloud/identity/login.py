"""From proofs of who asks to a session, and what a token means now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kilonova.cloud.identity import store, store_epoch, trust_store
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.guard import DEFAULT, REFUSED, Lockout
from kilonova.cloud.identity.model import Named, Session, Ticket, User, Wish
from kilonova.cloud.identity.option import suffices
from kilonova.cloud.identity.password import Passwords
from kilonova.cloud.identity.proof import Proof, Proven, Prover
from kilonova.cloud.identity.session import load_session, resolve
from kilonova.cloud.identity.token import Tokens, new_audit_id
from kilonova.core.errors import Forbidden, NotFound, Unauthenticated
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.db import Database, Tx

GRACE: Final = 2 * 86400 * SECOND
"""How long after its end a token still tells a service whose work it was (Keystone's `allow_expired_window`)."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and what it means."""

    token: str
    session: Session


class Login:
    """Issues, validates and revokes tokens. `lifetime`: seconds that a token by password lasts; `rescope`: whether a
    token of one scope leads to one of another."""

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
        rescope: bool = True,
        audit_id: Callable[[], str] = new_audit_id,
        open_blob: Callable[[str], Mapping[str, Any]] | None = None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._tokens = tokens
        self._epochs = epochs
        self._lifetime = lifetime
        self._rescope = rescope
        self._audit_id = audit_id
        self._prover = Prover(db, passwords, lockout, open_blob)

    async def log_in(self, proofs: Sequence[Proof], wish: Wish) -> Issued:
        """A token for a user who proves itself in each of these ways, and in as many as the user's own rules want.
        Raises Unauthenticated; NotFound for a token that does not count any more (as Keystone answers), Forbidden for
        one that may not lead to another."""
        # The moment before the check: a password changed meanwhile voids the token that the old one is about to get.
        now = self._clock.now()
        proven = [await self._prove(proof, wish, now) for proof in proofs]
        first = proven[0]
        if any(one.user_id != first.user_id for one in proven):
            raise Unauthenticated(REFUSED)
        methods = tuple(dict.fromkeys(method for one in proven for method in one.methods))
        ends = [one.expires_at for one in proven if one.expires_at is not None]
        expires = min([(now // SECOND + self._lifetime) * SECOND, *ends])
        if any(proof.method == "token" for proof in proofs):
            expires = min(ends)
        audit = (self._audit_id(), *(one.audit_id for one in proven if one.audit_id))[:2]
        credential = next((one.credential for one in proven if one.credential), None)
        ticket = Ticket(first.user_id, "unscoped", "", methods, now, expires, audit)
        if credential is not None:
            ticket = replace(ticket, credential_id=credential.id)
            wish = Wish("project", Named(id=credential.project_id))
        if wish.kind is None and any(one.of_system for one in proven):
            wish = Wish("unscoped")
        issued = await self._issue(wish, ticket)
        if any(one.failures for one in proven):
            await self._db.write(lambda tx: store.change(tx, "user", first.user_id, {"failures": 0}))
        return issued

    async def by_access_key(self, user_id: str, project_id: str) -> Issued:
        """A token for whoever signed a request with one of the user's access keys; whose signature was checked before.
        Raises Unauthenticated."""
        now = self._clock.now()
        expires = (now // SECOND + self._lifetime) * SECOND
        ticket = Ticket(user_id, "unscoped", "", ("ec2credential",), now, expires, (self._audit_id(),))
        return await self._issue(Wish("project", Named(id=project_id)), ticket)

    async def validate(self, token: str, *, allow_expired: bool = False) -> Session:
        """What a token means now. Raises Unauthenticated when it is forged, expired or revoked, or when the user, the
        scope or the roles are gone. `allow_expired` takes one that ended within GRACE."""
        ticket = self._tokens.open(token, self._clock.now(), grace=GRACE if allow_expired else 0)
        return await self._db.read(lambda tx: load_session(tx, ticket))

    async def revoke(self, token: str) -> None:
        """Make one token void at once, everywhere. Raises Unauthenticated when it already is."""
        ticket = (await self.validate(token)).ticket

        def work(tx: Tx) -> None:
            store_epoch.revoke(tx, ticket.audit_ids[0], ticket.expires_at)
            self._epochs.bump(tx, store_epoch.user(ticket.user_id))
            # Kept as long as services may ask about tokens that have expired.
            store_epoch.forget_revocations(tx, tx.now - GRACE)

        await self._db.write(work)

    async def _prove(self, proof: Proof, wish: Wish, now: int) -> Proven:
        if proof.method != "token":
            return await self._prover.prove(proof, now)
        try:
            session = await self.validate(proof.secret)
        except Unauthenticated:
            raise NotFound("Could not find token.") from None
        ticket = session.ticket
        _check_leads_on(session, wish, rescope=self._rescope)
        methods = ticket.methods if "token" in ticket.methods else (*ticket.methods, "token")
        is_system = ticket.kind == "system"
        return Proven(ticket.user_id, methods, ticket.expires_at, ticket.audit_ids[-1], of_system=is_system)

    async def _issue(self, wish: Wish, unscoped: Ticket) -> Issued:
        if wish.trust_id:
            return await self._issue_trusted(wish.trust_id, unscoped)

        def work(tx: Tx) -> Session:
            kind, target = resolve(tx, unscoped.user_id, wish)
            return load_session(tx, replace(unscoped, kind=kind, target_id=target))

        session = await self._db.read(work)
        _check_methods(session.user, unscoped.methods)
        return Issued(self._tokens.seal(session.ticket), session)

    async def _issue_trusted(self, trust_id: str, unscoped: Ticket) -> Issued:
        """A token for the trustee of a trust. Raises Forbidden for anybody else, when the trust is spent, or when the
        trustor no longer holds what it delegates."""

        def work(tx: Tx) -> Session:
            _check_methods(store.get(tx, "user", unscoped.user_id), unscoped.methods)
            try:
                trust = trust_store.get(tx, trust_id)
            except NotFound:
                raise Forbidden(f"Could not find trust: {trust_id}.") from None
            if trust.trustee_user_id != unscoped.user_id:
                raise Forbidden("User is not a trustee.")
            trust_store.use(tx, trust_id)
            user_id = trust.trustor_user_id if trust.impersonation else trust.trustee_user_id
            ends = min(unscoped.expires_at, trust.expires_at or unscoped.expires_at)
            ticket = replace(unscoped, user_id=user_id, trust_id=trust_id, expires_at=ends)
            if trust.project_id:
                ticket = replace(ticket, kind="project", target_id=trust.project_id)
            try:
                return load_session(tx, ticket)
            except Unauthenticated:
                raise Forbidden("Trustee has no delegated roles.") from None

        session = await self._db.write(work)
        return Issued(self._tokens.seal(session.ticket), session)


def _check_leads_on(session: Session, wish: Wish, *, rescope: bool) -> None:
    """Whether this token may lead to another one (as Keystone restricts it). Raises Forbidden."""
    ticket = session.ticket
    if session.trust is not None:
        raise Forbidden(
            "You are not authorized to perform the requested action: Using trust-scoped token to create "
            "another token. Create a new trust-scoped token instead."
        )
    if ticket.kind == "system" and wish.kind in ("project", "domain"):
        raise Forbidden(
            "You are not authorized to perform the requested action: Using a system-scoped token to create "
            "a project-scoped or domain-scoped token is not allowed."
        )
    if session.credential is not None or "ec2credential" in ticket.methods:
        raise Forbidden(
            "You are not authorized to perform the requested action: Using a delegated token to create "
            "another token is not allowed."
        )
    if not rescope and ticket.kind != "unscoped":
        raise Forbidden("You are not authorized to perform the requested action: rescope a scoped token.")


def _check_methods(user: User, methods: Sequence[str]) -> None:
    """Whether these methods are enough for the user's own rules. Raises Unauthenticated."""
    if list(methods) != ["ec2credential"] and not suffices(user.options, methods):
        raise Unauthenticated(REFUSED)
