"""Who holds this token: asked by every edge for every request, so answered from a cache that is never stale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from kilonova.cloud.identity import store_epoch
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.login import GRACE
from kilonova.cloud.identity.model import Session, Ticket
from kilonova.cloud.identity.session import load_session
from kilonova.cloud.identity.token import Tokens
from kilonova.core.context import Context
from kilonova.core.errors import Unauthenticated
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database, Tx

CAPACITY: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    ticket: Ticket
    seen: store_epoch.Seen
    generation: int
    context: Context
    other_id: str
    """The other party to the trust that the token is for."""


class Authenticator:
    """Contexts by token. A change of role, user, project or token raises an epoch in its own transaction, so what is
    cached is used only while nothing has changed: one read of the epochs a request tells, or none where this process is
    the only one that writes."""

    def __init__(self, db: Database, clock: Clock, tokens: Tokens, epochs: Epochs) -> None:
        self._db = db
        self._clock = clock
        self._tokens = tokens
        self._epochs = epochs
        self._known: dict[bytes, _Known] = {}

    async def context(self, token: str, request_id: str) -> Context:
        """The caller. Raises Unauthenticated when the token is forged, expired or revoked, or when its user, scope or
        roles are gone or disabled."""
        key = sha256(token.encode("utf-8", "replace")).digest()
        known = self._known.get(key)
        if known is None:
            ticket = self._tokens.open(token, self._clock.now())
            return await self._load(key, ticket, request_id)
        if known.ticket.expires_at <= self._clock.now():
            self._known.pop(key, None)
            raise Unauthenticated("The token has expired.")
        if not await self._is_fresh(known):
            return await self._load(key, known.ticket, request_id)
        return replace(known.context, request_id=request_id)

    async def _is_fresh(self, known: _Known) -> bool:
        if self._epochs.sole:
            return known.generation == self._epochs.generation
        ticket = known.ticket
        other_id = known.other_id
        return known.seen == await self._db.read(
            lambda tx: store_epoch.read(tx, ticket.user_id, ticket.project_id, other_id)
        )

    async def lenient_context(self, token: str, request_id: str) -> Context:
        """As `context`, for a token that a service hands on: it may have expired within GRACE (the work that it began
        went on). Raises Unauthenticated."""
        ticket = self._tokens.open(token, self._clock.now(), grace=GRACE)
        if ticket.expires_at > self._clock.now():
            return await self.context(token, request_id)
        return to_context(await self._db.read(lambda tx: load_session(tx, ticket)), request_id)

    async def _load(self, key: bytes, ticket: Ticket, request_id: str) -> Context:
        self._known.pop(key, None)
        # Taken before the read: whatever is committed from here on makes what is read stale, at worst once too often.
        generation = self._epochs.generation

        def work(tx: Tx) -> tuple[store_epoch.Seen, Session]:
            session = load_session(tx, ticket)
            other_id = session.trust.other(ticket.user_id) if session.trust else ""
            return store_epoch.read(tx, ticket.user_id, ticket.project_id, other_id), session

        seen, session = await self._db.read(work)
        context = to_context(session, request_id)
        while len(self._known) >= CAPACITY:
            self._known.pop(next(iter(self._known)))
        other_id = session.trust.other(ticket.user_id) if session.trust else ""
        self._known[key] = _Known(ticket, seen, generation, context, other_id)
        return context


def to_context(session: Session, request_id: str) -> Context:
    """A session as the rest of the cloud sees it."""
    roles = frozenset(role.name for role in session.roles)
    project, domain, ticket = session.project, session.domain, session.ticket
    return Context(
        user_id=session.user.id,
        project_id=project.id if project else None,
        roles=roles,
        request_id=request_id,
        user_name=session.user.name,
        user_domain_id=session.user.domain_id,
        project_name=project.name if project else "",
        project_domain_id=project.domain_id if project else "",
        domain_id=domain.id if domain and ticket.kind == "domain" else None,
        system=ticket.kind == "system",
        is_admin="admin" in roles and ticket.kind != "domain",
        expires_at=ticket.expires_at,
        restricted=session.credential is not None and not session.credential.unrestricted,
        delegated=session.is_delegated,
        by_application=session.credential is not None,
        access_rules=session.access_rules,
        trust_id=ticket.trust_id,
    )
