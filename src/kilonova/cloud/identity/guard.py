"""Whether somebody knows a user's password, and how often they may be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kilonova.cloud.identity import store
from kilonova.cloud.identity.model import Named, User
from kilonova.cloud.identity.password import Passwords
from kilonova.core.errors import Unauthenticated
from kilonova.kit.clock import SECOND
from kilonova.kit.db import Database

REFUSED: Final = "The request you have made requires authentication."
"""One answer for every reason, so that nobody learns which users or projects exist."""


@dataclass(frozen=True, slots=True)
class Lockout:
    """After `failures` wrong passwords in a row (0: never) a user is locked out until `seconds` after the last one."""

    failures: int = 10
    seconds: int = 300

    def holds(self, user: User, now: int) -> bool:
        """Whether the user is locked out now (µs)."""
        if not self.failures or user.options.get("ignore_lockout_failure_attempts"):
            return False
        return user.failures >= self.failures and now < user.failed_at + self.seconds * SECOND


DEFAULT: Final = Lockout()


class PasswordGuard:
    """Checks passwords, counts the wrong ones and locks users out."""

    def __init__(self, db: Database, passwords: Passwords, lockout: Lockout) -> None:
        self._db = db
        self._passwords = passwords
        self._lockout = lockout

    async def check(self, who: Named, password: str, now: int) -> User:
        """The user whose password this is; `now` in µs. Raises Unauthenticated, after the same time, for whatever
        reason; while the user is locked out, also for the right password."""
        found = await self._db.read(lambda tx: store.find_login(tx, who))
        user, stored = found if found else (None, None)
        is_right = await self._passwords.verify(stored, password)
        if user is not None and self._lockout.holds(user, now):
            raise Unauthenticated(REFUSED)
        if user is None or not is_right:
            # Also for nobody, so that the time does not tell.
            known, since = user.id if user else "", now - self._lockout.seconds * SECOND
            await self._db.write(lambda tx: store.count_failure(tx, known, now, since))
            raise Unauthenticated(REFUSED)
        if user.failures:
            await self._db.write(lambda tx: store.change(tx, "user", user.id, {"failures": 0}))
        return user
