"""Whether anything about users, projects, roles or tokens may have changed since a moment."""

from __future__ import annotations

from kilonova.cloud.identity import dependent, store_epoch
from kilonova.kit.db import Tx


class Epochs:
    """Everything that raises an epoch does it here; one object a process, given to all who change or cache.

    `sole`: no other process writes this database (SQLite). Then `generation` alone says that nothing changed, and a
    cached context needs no read at all.
    """

    def __init__(self, *, sole: bool) -> None:
        self.sole = sole
        self.generation = 0

    def bump(self, tx: Tx, subject: str) -> None:
        """Make every cached context of `subject` stale, here and everywhere, once `tx` is durable. What rests on rights
        that `tx` took away ends with them. Asked after the change."""
        store_epoch.bump(tx, subject)
        dependent.end(tx, subject)
        tx.after_commit(self._advance)

    def touch(self, tx: Tx) -> None:
        """Something else that is remembered by `generation` has changed, though nobody's rights."""
        tx.after_commit(self._advance)

    def _advance(self) -> None:
        self.generation += 1
