"""What simulated guests survive the daemon with: one append-only file a host, the newest line of a guest counts.

A write is one small append without a flush to disk: it outlives the process (kill -9), not the machine, as real
guests do.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.port import RunState

_COMPACT_AFTER = 4096


class FakeGuest(msgspec.Struct, kw_only=True):
    """A simulated guest. `starts` counts the starts of all guests of its host up to this one's last."""

    server_id: str
    fence: int
    state: RunState = "stopped"
    starts: int = 0
    since: float = 0.0
    boots: int = 0
    name: str = ""
    script: dict[str, str] = {}
    console: str = ""
    nics: tuple[str, ...] = ()
    memory_mb: int = 0
    vcpus: int = 1


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    starts: int
    guest: FakeGuest | None = None
    gone: str = ""


class FakeJournal:
    """The guests of one simulated host, in memory and, when there is a directory, in `guests.jsonl` below it."""

    def __init__(self, directory: Path | None) -> None:
        self.guests: dict[str, FakeGuest] = {}
        self.starts = 0
        self._path = directory / "guests.jsonl" if directory else None
        self._file = -1
        self._lines = 0
        self._encoder = msgspec.json.Encoder()

    def open(self) -> None:
        """Read what an earlier run left. A torn last line (the machine was full) is ignored. Raises DriverError."""
        if self._path is None or self._file >= 0:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._path.exists():
                self._read(self._path)
            self._compact(self._path)
        except OSError as error:
            raise DriverError("driver", f"Cannot use {self._path.parent}.", detail=str(error)) from error

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def save(self, guest: FakeGuest) -> None:
        """Keep the guest as it is now."""
        self.guests[guest.server_id] = guest
        self._write(_Line(starts=self.starts, guest=guest))

    def forget(self, server_id: str) -> None:
        if self.guests.pop(server_id, None) is not None:
            self._write(_Line(starts=self.starts, gone=server_id))

    def _read(self, path: Path) -> None:
        decoder = msgspec.json.Decoder(_Line)
        for text in path.read_bytes().splitlines():
            try:
                line = decoder.decode(text)
            except msgspec.DecodeError:
                continue
            self._replay(line)

    def _replay(self, line: _Line) -> None:
        self.starts = max(self.starts, line.starts)
        if line.guest is not None:
            self.guests[line.guest.server_id] = line.guest
        self.guests.pop(line.gone, None)

    def _write(self, line: _Line) -> None:
        if self._path is None or self._file < 0:
            return
        try:
            os.write(self._file, self._encoder.encode(line) + b"\n")
        except OSError as error:
            raise DriverError("no_space", "The simulated host cannot write its state.", detail=str(error)) from error
        self._lines += 1
        if self._lines > _COMPACT_AFTER and self._lines > 8 * len(self.guests):
            self._compact(self._path)

    def _compact(self, path: Path) -> None:
        lines = [_Line(starts=self.starts)]
        lines += [_Line(starts=self.starts, guest=guest) for guest in self.guests.values()]
        fresh = path.with_suffix(".new")
        fresh.write_bytes(b"".join(self._encoder.encode(line) + b"\n" for line in lines))
        fresh.replace(path)
        self.close()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._lines = len(lines)
