"""Progress that a person sees: a line that moves in a terminal, plain lines elsewhere, JSON lines to a parent."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import IO

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: step (something begins), progress (how far it is), done (all is well; `facts` tell), failed."""

    kind: str
    text: str
    fraction: float = 0.0
    facts: dict[str, str] = {}


class Report:
    """Shows events to a person."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._open = False
        self._last = ("", -1)
        self._began = time.monotonic()

    def show(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "progress":
            self._progress(event)
            return
        self._end_line()
        if event.kind == "step":
            self._began = time.monotonic()
            self._write(f"→ {event.text}\n")

    def _progress(self, event: Event) -> None:
        percent = int(event.fraction * 100)
        if self._terminal:
            bar = "█" * (percent // 5) + "░" * (20 - percent // 5)
            self._write(f"\r  {bar} {percent:3d} % {event.text:<50.50}")
            self._open = True
        elif self._last[0] != event.text or percent // 25 > self._last[1]:
            self._write(f"  {percent:3d} % {event.text}\n")
        self._last = (event.text, percent // 25)

    def _end_line(self) -> None:
        if self._open:
            self._write("\r" + " " * 80 + "\r")
            self._open = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Relay:
    """Sends events to a parent process, until it listens no more."""

    def __init__(self, descriptor: int) -> None:
        self._file: IO[bytes] | None = open(descriptor, "wb", buffering=0)  # noqa: SIM115

    def show(self, event: Event) -> None:
        """Send one event."""
        if self._file is None:
            return
        try:
            self._file.write(msgspec.json.encode(event) + b"\n")
        except BrokenPipeError:
            self._file = None
        if event.kind in ("done", "failed"):
            self.close()

    def close(self) -> None:
        """Let the parent go."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def read_events(stream: IO[bytes]) -> Iterator[Event]:
    """The events that a child sends, until it closes."""
    for line in stream:
        yield msgspec.json.decode(line, type=Event)
