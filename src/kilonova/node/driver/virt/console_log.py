"""Console logs as virtlogd writes them: `NAME`, and after it has grown too large `NAME.0`, `NAME.1`, … (older)."""

from __future__ import annotations

import os
from pathlib import Path

_BACKUPS = 16


def read_tail(path: Path, limit: int) -> bytes:
    """The last `limit` bytes at most, across rotated files; empty when there is no log."""
    parts: list[bytes] = []
    wanted = limit
    for file in (path, *_rotated(path)):
        if wanted <= 0:
            break
        try:
            with file.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - wanted))
                parts.append(stream.read(wanted))
        except FileNotFoundError:
            # The newest may be missing for a moment while virtlogd rotates.
            if file != path:
                break
            continue
        wanted -= len(parts[-1])
    return b"".join(reversed(parts))


def remove(path: Path) -> None:
    """Remove the log with all its rotated files."""
    for file in (path, *_rotated(path)):
        file.unlink(missing_ok=True)


def _rotated(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}.{number}") for number in range(_BACKUPS)]
