"""One event, and which events somebody wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kilonova.core.context import Scope

CREATED: Final = "server.created"
STATE: Final = "server.state"
CHANGED: Final = "server.changed"
DELETED: Final = "server.deleted"
EXISTS: Final = "server.exists"
KINDS: Final = (CREATED, STATE, CHANGED, DELETED, EXISTS)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a server. `seq` rises in the order in which events of one server happened; `at` in µs.

    `body`: `phase`, `power`, `request_id`, and where they apply `before` (the phase), `event` (the move's name),
    `changed` (names of what changed), `fault` (public text), `host` (for operators only). Of the usage audit's
    (`EXISTS`): `period`, from and to in µs, in which the server was there.
    """

    seq: int
    project_id: str
    server_id: str
    at: int
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Events of a scope: of one server if it is given, of some kinds if there are any."""

    scope: Scope
    server_id: str | None = None
    kinds: frozenset[str] = frozenset()

    def takes(self, event: Event) -> bool:
        """Whether it is one of these."""
        return (
            (self.scope.is_all or event.project_id == self.scope.project_id)
            and (self.server_id is None or event.server_id == self.server_id)
            and (not self.kinds or event.kind in self.kinds)
        )
