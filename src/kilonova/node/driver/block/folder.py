"""A folder on the disks' file system: whole or not at all, durable, and never filled beyond the low-disk watermark."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kilonova.node.driver.failure import DriverError

TRAVERSABLE = 0o711
"""Guests' processes reach the files that they are told of, and can list nothing."""


class Folder:
    """All calls block for a short time. `low_disk` bytes stay free on the file system."""

    def __init__(self, path: Path, low_disk: int) -> None:
        self.path = path
        self._low_disk = low_disk

    def make(self) -> None:
        """Make the folder, traversable for all, listable for its owner."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(TRAVERSABLE)

    def require(self, size: int = 0) -> None:
        """Raises DriverError `no_space` unless `size` more bytes leave the watermark free."""
        found = os.statvfs(self.path)
        free = found.f_bavail * found.f_frsize
        if free - size < self._low_disk:
            raise DriverError(
                "no_space",
                "the host has too little free disk space",
                detail=f"{free} bytes free, {size} wanted, {self._low_disk} to stay free",
                retryable=True,
            )

    def write(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Replace a file's content, all or nothing."""
        temp = path.with_name(f".partial-{path.name}")
        try:
            with self.writing():
                temp.write_bytes(data)
                temp.chmod(mode)
                self.sync(temp)
                self.rename(temp, path)
        finally:
            temp.unlink(missing_ok=True)

    def rename(self, temp: Path, path: Path) -> None:
        """Give a whole file its name, durably."""
        temp.rename(path)
        self.sync(path.parent)

    def sync(self, path: Path) -> None:
        """Bring a file or folder to stable storage."""
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Says a full disk in the driver's words."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise DriverError("driver", "the host's disk failed", detail=str(error)) from error
            raise DriverError("no_space", "the host's disk is full", detail=str(error), retryable=True) from error
