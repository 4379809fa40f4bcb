"""Proofs of who asks: a password, a one-time password, the secret of an application credential."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kilonova.cloud.identity import application_credential_store, credential_store, store, totp
from kilonova.cloud.identity.guard import REFUSED, Lockout, PasswordGuard
from kilonova.cloud.identity.model import ApplicationCredential, Named, User
from kilonova.cloud.identity.password import Passwords
from kilonova.core.errors import Unauthenticated
from kilonova.kit.clock import SECOND
from kilonova.kit.db import Database, Tx

_NOBODY: Final = Named()


@dataclass(frozen=True, slots=True)
class Proof:
    """What a caller offers: `secret` is a password, a token, a one-time password or an application credential's secret;
    `who` is the user; an application credential is named by its id, or by its name and `who`."""

    method: str
    secret: str = field(repr=False)
    who: Named = _NOBODY
    credential_id: str = ""
    credential_name: str = ""


@dataclass(frozen=True, slots=True)
class Proven:
    """Who it is by one proof. `failures`: how many wrong ones came before it;
    `of_system`: by a token of the system."""

    user_id: str
    methods: tuple[str, ...]
    expires_at: int | None = None
    audit_id: str = ""
    credential: ApplicationCredential | None = None
    failures: int = 0
    of_system: bool = False


class Prover:
    """Checks proofs other than tokens. `open_blob` decrypts a credential; without it no one-time password counts."""

    def __init__(
        self,
        db: Database,
        passwords: Passwords,
        lockout: Lockout,
        open_blob: Callable[[str], Mapping[str, Any]] | None,
    ) -> None:
        self._db = db
        self._guard = PasswordGuard(db, passwords, lockout)
        self._lockout = lockout
        self._passwords = passwords
        self._open_blob = open_blob

    async def prove(self, proof: Proof, now: int) -> Proven:
        """Who it is. Raises Unauthenticated, for whatever reason with the same words."""
        if proof.method == "password":
            return await self._password(proof, now)
        if proof.method == "totp":
            return await self._one_time(proof, now)
        if proof.method == "application_credential":
            return await self._application_credential(proof, now)
        raise Unauthenticated("Attempted to authenticate with an unsupported method.")

    async def _password(self, proof: Proof, now: int) -> Proven:
        user = await self._guard.check(proof.who, proof.secret, now)
        if expired(user, now):
            raise Unauthenticated("The password is expired and needs to be changed.")
        return Proven(user.id, ("password",), failures=user.failures)

    async def _one_time(self, proof: Proof, now: int) -> Proven:
        def work(tx: Tx) -> User | None:
            user: User | None = store.find(tx, "user", proof.who)
            known = user.id if user else ""
            return self._lockout.admit(tx, known, now, lambda: self._fits(tx, known, proof.secret, now))

        user = await self._db.write(work)
        if user is None:
            raise Unauthenticated(REFUSED)
        return Proven(user.id, ("totp",), failures=user.failures)

    def _fits(self, tx: Tx, user_id: str, passcode: str, now: int) -> bool:
        """Whether a one-time password is the user's, and not used yet: it is from now on, by whichever of the user's
        devices that show the same."""
        if self._open_blob is None:
            return False
        fresh = []
        for one in credential_store.list_credentials(tx, {"user_id": user_id, "type": "totp"}):
            step = totp.find_step(self._open_blob(one.secret)["blob"], passcode, now // SECOND)
            if step is not None:
                fresh.append(credential_store.use_step(tx, one.id, step))
        return bool(fresh) and all(fresh)

    async def _application_credential(self, proof: Proof, now: int) -> Proven:
        def work(tx: Tx) -> tuple[ApplicationCredential, str] | None:
            if proof.credential_id:
                return application_credential_store.find_secret(tx, id=proof.credential_id)
            user: User | None = store.find(tx, "user", proof.who)
            if user is None:
                return None
            return application_credential_store.find_secret(tx, user_id=user.id, name=proof.credential_name)

        found = await self._db.read(work)
        one, stored = found if found else (None, None)
        if not await self._passwords.verify(stored, proof.secret) or one is None:
            raise Unauthenticated(REFUSED)
        if one.expires_at is not None and one.expires_at <= now:
            raise Unauthenticated(REFUSED)
        return Proven(one.user_id, ("application_credential",), one.expires_at, credential=one)


def expired(user: User, now: int) -> bool:
    """Whether the user's password has to be changed before it counts again."""
    ends = user.password_expires_at
    return ends is not None and ends <= now and not user.options.get("ignore_password_expiry")
