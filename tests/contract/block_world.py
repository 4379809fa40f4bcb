"""What the tests of the block port are made of."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import uuid
from pathlib import Path

from kilonova.kit.clock import Clock
from kilonova.node.driver.block.file import FileBlock
from kilonova.wire.guest import GuestSpec, ImageRef
from kilonova.wire.node import ImageTicket

MIB = 1 << 20
NOBODY = 65534
ROOT = os.geteuid() == 0


def silent(done: int, total: int) -> None:
    """Nobody looks."""


def describe(path: Path, disk_format: str = "raw", virtual_bytes: int = 0) -> tuple[ImageRef, ImageTicket]:
    data = path.read_bytes()
    sha512 = hashlib.sha512(data).hexdigest()
    image = ImageRef(
        image_id=str(uuid.uuid4()),
        name="i",
        sha512=sha512,
        size=len(data),
        disk_format=disk_format,
        virtual_bytes=virtual_bytes or len(data),
    )
    return image, ImageTicket(url=path.as_uri(), sha512=sha512, size=len(data), disk_format=disk_format)


def guest(image: ImageRef | None, **more: int) -> GuestSpec:
    return GuestSpec(server_id=str(uuid.uuid4()), fence=1, version=1, power="running", image=image, **more)  # type: ignore[arg-type]


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def open_up(folder: Path) -> Path:
    """Let an unprivileged reader get to a temporary directory (pytest's own are closed)."""
    for path in (folder, *folder.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(path.stat().st_mode | 0o711)
    return folder


def file_block(place: Path, clock: Clock | None = None, low_disk_bytes: int = 0) -> FileBlock:
    return FileBlock(place / "block", low_disk_bytes, run_as=NOBODY if ROOT else None, clock=clock)
