"""A bound on requests that stay: so many at once for everybody, and so many for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from kilonova.kit.http.error import TooManyRequests


class Seats:
    """`each`: for one caller (a project, say). `most`: for all of this process."""

    def __init__(self, each: int, most: int) -> None:
        self._each = each
        self._most = most
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken.total()

    def take(self, name: str) -> Callable[[], None]:
        """Take one; call the answer, once or more, to give it back. Raises TooManyRequests."""
        if self._taken[name] >= self._each or self.taken >= self._most:
            raise TooManyRequests(f"Too many requests are waiting here: {self._each} at most for one project")
        self._taken[name] += 1
        held = [name]

        def give_back() -> None:
            if held:
                self._taken[held.pop()] -= 1
                self._taken += Counter()  # Forgets names that have none.

        return give_back
