"""What every command of this noun stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kilonova.cloud.network.model import Change, Notify
from kilonova.core.context import ALL, Context, Scope
from kilonova.core.ids import NewId
from kilonova.kit.db import Database, Tx


@dataclass(frozen=True, slots=True)
class Ground:
    """Database, randomness (`address.mac_source` makes a `new_mac`), and who is told of changes once they are durable.

    `notify` is a hint only: a node that never hears of it learns the same from its next digest.
    """

    db: Database
    new_id: NewId
    new_mac: Callable[[], str]
    notify: Notify

    def tell(self, tx: Tx, *changes: Change) -> None:
        """Give the hints after the commit."""

        def effect() -> None:
            for change in changes:
                self.notify(change)

        tx.after_commit(effect)


def sight(context: Context) -> Scope:
    """What the caller may see and change: an administrator everything, others their project's."""
    return ALL if context.is_admin else context.scope
