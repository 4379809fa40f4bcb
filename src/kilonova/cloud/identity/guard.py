"""Whether somebody knows a user's password, and how often they may be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kilonova.cloud.identity import store
from kilonova.cloud.identity.model import Named, User
from kilonova.cloud.identity.password import Passwords
from kilonova.core.errors import NotFound, Unauthenticated
from kilonova.kit.clock import SECOND
from kilonova.kit.db import Database, Tx

REFUSED: Final = "The request you have made requires authentication."
"""One answer for every reason, so that nobody learns which users or projects exist."""


@dataclass(frozen=True, slots=True)
class Lockout:
    """After `failures` wrong passwords of either kind without a login in between (0: never) a user is locked out until
    `seconds` after the last one."""

    failures: int = 10
    seconds: int = 300

    def holds(self, user: User, now: int) -> bool:
        """Whether the user is locked out now (µs)."""
        if not self.failures or user.options.get("ignore_lockout_failure_attempts"):
            return False
        return user.failures >= self.failures and now < user.failed_at + self.seconds * SECOND

    def admit(self, tx: Tx, user_id: str, now: int, is_right: Callable[[], bool]) -> User | None:
        """The user, if what was offered is right and nobody is locked out; a wrong one is counted in the same
        transaction, so that of many at once none is looked at beyond the limit."""
        try:
            user: User = store.hold(tx, "user", user_id, alone=True)
        except NotFound:
            return None
        if self.holds(user, now):
            return None
        if is_right():
            return user
        store.count_failure(tx, user_id, now, now - self.seconds * SECOND)
        return None


DEFAULT: Final = Lockout()


class PasswordGuard:
    """Checks passwords, counts the wrong ones and locks users out. What was counted is forgotten by who logs in: a
    right password alone may be half of a proof."""

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
        # Also for nobody, so that the time does not tell.
        known = user.id if user else ""
        admitted = await self._db.write(lambda tx: self._lockout.admit(tx, known, now, lambda: is_right))
        if admitted is None:
            raise Unauthenticated(REFUSED)
        return admitted
