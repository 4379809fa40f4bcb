"""State machines as tables: which event moves which state where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kilonova.core.errors import Conflict


@dataclass(frozen=True, slots=True)
class Machine:
    """A noun's states. `moves[event][state]` is the next state; an absent pair is refused."""

    noun: str
    states: frozenset[str]
    moves: Mapping[str, Mapping[str, str]]

    def next(self, event: str, state: str) -> str:
        """The state after `event`; raises Conflict where the table has no move."""
        target = self.moves[event].get(state)
        if target is None:
            raise Conflict(f"Cannot '{event}' {self.noun} while it is in state {state}", event=event, state=state)
        return target

    def sources(self, event: str) -> frozenset[str]:
        """The states in which `event` is allowed."""
        return frozenset(self.moves[event])


def moves(table: Mapping[str, Iterable[tuple[Iterable[str], str]]]) -> dict[str, dict[str, str]]:
    """Spell a move table by event: each entry is (states it may start from, state it leads to)."""
    return {event: {s: target for sources, target in rows for s in sources} for event, rows in table.items()}
