"""Fernet keys in a directory, one file each, as Keystone keeps them.

File `0` is staged (it will be the next primary), the highest number is primary (it encrypts), those between are
secondary (they still decrypt). Because a new primary was staged before, several processes may look at the directory at
different moments and still read each other's tokens.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from kilonova.core.errors import Unauthenticated

LOOK_SECONDS: Final = 5.0


class KeyRing:
    """The keys of one directory (mode 700, files 600). The constructor makes the directory and its first keys."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        if not self._numbers():
            self._write(0)
            self._write(1)
        self._seen = 0
        self._looked = 0.0
        self._fernet = self._load()

    def encrypt(self, data: bytes, now_seconds: int) -> str:
        """A token around `data`."""
        self._refresh()
        return self._fernet.encrypt_at_time(data, now_seconds).decode().rstrip("=")

    def decrypt(self, token: str) -> bytes:
        """What a token holds. Raises Unauthenticated for what none of the keys made."""
        self._refresh()
        try:
            sealed = token.encode("ascii") + b"=" * (-len(token) % 4)
            try:
                return self._fernet.decrypt(sealed)
            except InvalidToken:
                # Perhaps another process has just begun to use a key that came after our last look.
                self._looked = 0.0
                self._refresh()
                return self._fernet.decrypt(sealed)
        except (InvalidToken, UnicodeEncodeError, ValueError):
            raise Unauthenticated("The token is not valid.") from None

    @property
    def numbers(self) -> list[int]:
        """Of the keys there are: the primary one first, the staged one (0) last."""
        return sorted(self._numbers(), reverse=True)

    def rotate(self, keep: int = 3) -> None:
        """The staged key becomes primary, a new one is staged, and the oldest go until `keep` are left (at least 2)."""
        numbers = self._numbers()
        os.replace(self._path(0), self._path(numbers[-1] + 1))
        self._write(0)
        secondary = self._numbers()[1:]
        for number in secondary[: max(0, len(secondary) - max(keep - 1, 1))]:
            self._path(number).unlink()
        self._fernet = self._load()

    def _refresh(self) -> None:
        moment = time.monotonic()
        if moment - self._looked > LOOK_SECONDS:
            self._looked = moment
            if self._directory.stat().st_mtime_ns != self._seen:
                with suppress(FileNotFoundError):  # a key that is dropped while we read; the next look is soon
                    self._fernet = self._load()

    def _load(self) -> MultiFernet:
        seen = self._directory.stat().st_mtime_ns
        found = MultiFernet([Fernet(self._path(number).read_bytes().strip()) for number in self.numbers])
        self._seen = seen
        return found

    def _numbers(self) -> list[int]:
        return sorted(int(path.name) for path in self._directory.iterdir() if path.name.isdecimal())

    def _path(self, number: int) -> Path:
        return self._directory / str(number)

    def _write(self, number: int) -> None:
        """Complete or not at all, and never readable by others."""
        draft = self._directory / f".{number}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self._path(number))
