"""The kernel's initial file system as a `newc` cpio archive (format: the kernel's buffer-format document)."""

import os
import stat
from pathlib import Path

_TRAILER = "TRAILER!!!"


def pack(tree: Path) -> bytes:
    """Pack a directory: owner root, time zero, sorted names, so that equal trees give equal bytes."""
    parts = []
    paths = sorted(tree.rglob("*"), key=lambda path: path.relative_to(tree).as_posix())
    for number, path in enumerate(paths, start=1):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            data = os.readlink(path).encode()
        elif stat.S_ISREG(status.st_mode):
            data = path.read_bytes()
        else:
            data = b""
        parts.append(_entry(path.relative_to(tree).as_posix(), number, status.st_mode, data))
    parts.append(_entry(_TRAILER, 0, 0, b""))
    return _pad(b"".join(parts), 512)


def _entry(name: str, number: int, mode: int, data: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _pad(header + encoded, 4) + _pad(data, 4)


def _pad(data: bytes, unit: int) -> bytes:
    return data + bytes(-len(data) % unit)
