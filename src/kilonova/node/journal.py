"""What a node remembers: desired specs, the levels reached, tombstones, and observations not yet acknowledged.

One append-only file of JSON lines, compacted when it is opened. Lines are flushed to the kernel, not synced: after the
process died nothing is missing, and after the machine died no guest runs and everything is observed anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from kilonova.wire.guest import GuestError, GuestObservation, GuestSpec

TOMBSTONES: Final = 20_000


class Record(msgspec.Struct, kw_only=True):
    """Of one guest: the levels reached, and under which spec. `intent` is a restart under way (kind:level:start)."""

    server_id: str
    version: int = 0
    boot_count: int = 0
    soft_reboots: int = 0
    hard_reboots: int = 0
    deposits: int = 0
    nic_changes: int = 0
    password_clears: int = 0
    password: str = ""
    host_boot: str = ""
    intent: str = ""
    reception: str = ""
    error: GuestError | None = None


class Journal:
    """The memory of one node; everything is read at `open`, changes are appended."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.specs: dict[str, GuestSpec] = {}
        self.records: dict[str, Record] = {}
        self.tombstones: dict[str, tuple[int, int]] = {}
        self.pending: dict[int, GuestObservation] = {}
        self.last_seq = 0

    def open(self) -> None:
        """Read what is there and go on after it; a line cut off by a crash is dropped."""
        if self._path is None:
            return
        if self._path.exists():
            with self._path.open("rb") as lines:
                for line in lines:
                    self._replay(line)
        self._compact(self._path)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def want(self, spec: GuestSpec) -> None:
        """This is what shall be now."""
        self.specs[spec.server_id] = spec
        self._append("spec", spec)

    def note(self, record: Record) -> None:
        """These levels are reached."""
        self.records[record.server_id] = record
        self._append("record", record)

    def bury(self, server_id: str, fence: int, version: int) -> None:
        """The guest is gone for good: anything older about it is refused from now on."""
        self.specs.pop(server_id, None)
        self.records.pop(server_id, None)
        self.tombstones[server_id] = (fence, version)
        while len(self.tombstones) > TOMBSTONES:
            del self.tombstones[next(iter(self.tombstones))]
        self._append("tomb", (server_id, fence, version))

    def post(self, observation: GuestObservation) -> None:
        """Keep an observation until the control plane has it."""
        self.last_seq += 1
        self.pending[self.last_seq] = observation
        self._append("post", (self.last_seq, observation))

    def acknowledge(self, seq: int) -> None:
        """The control plane has everything up to `seq`."""
        for number in [n for n in self.pending if n <= seq]:
            del self.pending[number]
        self.last_seq = max(self.last_seq, seq)
        self._append("acked", seq)

    def _append(self, kind: str, value: Any) -> None:
        if self._file is not None:
            self._file.write(msgspec.json.encode((kind, value)) + b"\n")
            self._file.flush()

    def _replay(self, line: bytes) -> None:
        try:
            kind, value = msgspec.json.decode(line, type=tuple[str, msgspec.Raw])
        except msgspec.MsgspecError:
            return
        if kind == "spec":
            spec = msgspec.json.decode(value, type=GuestSpec)
            self.specs[spec.server_id] = spec
        elif kind == "record":
            record = msgspec.json.decode(value, type=Record)
            self.records[record.server_id] = record
        elif kind == "tomb":
            server_id, fence, version = msgspec.json.decode(value, type=tuple[str, int, int])
            self.bury(server_id, fence, version)
        elif kind == "post":
            seq, observation = msgspec.json.decode(value, type=tuple[int, GuestObservation])
            self.pending[seq] = observation
            self.last_seq = max(self.last_seq, seq)
        elif kind == "acked":
            self.acknowledge(msgspec.json.decode(value, type=int))

    def _compact(self, path: Path) -> None:
        """Write only what still counts to a new file, and put that in the old one's place."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as self._file:
            for tomb in self.tombstones.items():
                self._append("tomb", (tomb[0], *tomb[1]))
            for spec in self.specs.values():
                self._append("spec", spec)
            for record in self.records.values():
                self._append("record", record)
            self._append("acked", self.last_seq - len(self.pending))
            for seq, observation in self.pending.items():
                self._append("post", (seq, observation))
            os.fsync(self._file.fileno())
        fresh.replace(path)
        self._file = path.open("ab")
        path.chmod(0o600)
