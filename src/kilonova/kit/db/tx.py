"""One transaction, as the synchronous functions that work in it see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import CursorResult

from kilonova.kit.db.signal import Signals
from kilonova.kit.log import Logger

log = Logger(__name__)

Statement = Executable | str
Rows = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class Tx:
    """A transaction in progress. `now` is one moment for all of it, in µs; `request_id` is the request that it works
    for, "" where there is none.

    The function that gets a Tx may run more than once (deadlock, lost connection), so it has no effect beside its
    statements; what shall happen once the commit is durable is given to `after_commit`.
    """

    __slots__ = ("_after", "_signalled", "_signals", "connection", "now", "request_id", "statements")

    def __init__(self, connection: Connection, now: int, signals: Signals, request_id: str = "") -> None:
        self.connection = connection
        self.now = now
        self.request_id = request_id
        self.statements = 0
        self._after: list[Callable[[], None]] = []
        self._signals = signals
        self._signalled: set[str] = set()

    def execute(self, statement: Executable, values: Rows = None) -> CursorResult[Any]:
        """Run one statement. Rows come as SQLAlchemy rows."""
        self.statements += 1
        return self.connection.execute(statement, values)

    def after_commit(self, effect: Callable[[], None]) -> None:
        """Call `effect` on the event loop once this transaction is durable; never if it is not. It must not block."""
        self._after.append(effect)

    def signal(self, name: str) -> None:
        """Tell those who listen to the database for `name`, once, after the commit."""
        if name not in self._signalled:
            self._signalled.add(name)
            self.after_commit(partial(self._signals.fire, name))

    @property
    def effects(self) -> tuple[Callable[[], None], ...]:
        return tuple(self._after)

    @property
    def is_sqlite(self) -> bool:
        return self.connection.dialect.name == "sqlite"


def run_effects(effects: Sequence[Callable[[], None]]) -> None:
    """Do what was asked for after the commit. It holds whatever happens here: one that fails is logged."""
    for effect in effects:
        try:
            effect()
        except Exception:
            log.exception("what follows a commit failed")


def insert_new(tx: Tx, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert one row unless a unique constraint already holds such a row; True when it was inserted."""
    return tx.execute(_insertion(table, tx.is_sqlite), values).rowcount == 1


@cache
def _insertion(table: Table, is_sqlite: bool) -> Executable:
    """Built once: composing a statement costs several times what running it does."""
    return (sqlite.insert if is_sqlite else postgresql.insert)(table).on_conflict_do_nothing()
