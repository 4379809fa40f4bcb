"""Which committed events may be told: numbers are given before commits, so a lower one may still come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kilonova.cloud.event.model import Event
from kilonova.cloud.event.store import Fresh
from kilonova.kit.clock import SECOND

HOLD: Final = 30 * SECOND


class Order:
    """Tells events by number, each once. A number that is missing is waited for until every transaction that could have
    taken it is over, but at most `HOLD` after what follows it was written."""

    def __init__(self, reached: int) -> None:
        self.reached = reached
        self._gap = -1
        self._until = 0

    def settle(self, fresh: Fresh, now: int) -> Sequence[Event]:
        """Those of what was read after `reached` that no lower number can come before any more; moves `reached`."""
        count = 0
        for event in fresh.events:
            if event.seq != self.reached + 1 and not self._is_dead(event, fresh, now):
                break
            self.reached = event.seq
            count += 1
        return fresh.events[:count]

    def _is_dead(self, event: Event, fresh: Fresh, now: int) -> bool:
        """Whether nothing comes any more between what was told and `event`: whoever could write it had begun when the
        gap was first seen, because its number is lower than one that was committed by then."""
        if self._gap != self.reached:
            self._gap, self._until = self.reached, fresh.following
        return fresh.oldest >= self._until or now - event.at > HOLD
