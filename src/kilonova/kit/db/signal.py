"""What this process hears of its own commits: a hint that rows of some kind are new."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[], None]


class Signals:
    """Listeners by the name of what changed. Other processes hear nothing: whoever must know all looks now and then."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def listen(self, name: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` (quick, on the event loop) after each commit that signals `name`, until the returned function
        is called."""
        self._listeners.setdefault(name, []).append(listener)

        def stop() -> None:
            if listener in self._listeners[name]:
                self._listeners[name].remove(listener)

        return stop

    def fire(self, name: str) -> None:
        """Tell them."""
        for listener in tuple(self._listeners.get(name, ())):
            listener()
