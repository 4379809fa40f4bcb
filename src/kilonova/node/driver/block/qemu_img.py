"""qemu-img: reads what others made as an unprivileged user under limits, writes what we make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from kilonova.node.driver.block.tool import Account, Limit, run
from kilonova.node.driver.failure import DriverError


class ImageInfo(msgspec.Struct, frozen=True, rename="kebab"):
    """What `qemu-img info` says of an image, as far as it matters here."""

    format: str
    virtual_size: int
    backing_filename: str | None = None
    encrypted: bool = False


class _Mark(msgspec.Struct, frozen=True):
    name: str


class _Look(msgspec.Struct, frozen=True, rename="kebab"):
    virtual_size: int
    snapshots: tuple[_Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class RootState:
    """The size that a guest sees, and the states that are kept inside the disk."""

    virtual_size: int
    marks: frozenset[str]


COPY_LIMIT: Final = Limit(cpu=3600, wall=3600.0)


class QemuImg:
    """`reader` is who reads untrusted content (None: whoever runs the node, for nodes that are not root)."""

    def __init__(self, reader: Account | None, limit: Limit | None = None) -> None:
        self._reader = reader
        self._limit = limit or Limit()

    async def info(self, path: Path, image_format: str) -> ImageInfo:
        """Read an image's header as `image_format`; never guesses. Raises DriverError (`image_refused`)."""
        command = ("qemu-img", "info", "--output=json", "-f", image_format, str(path))
        try:
            return msgspec.json.decode(await run(command, self._limit, self._reader), type=ImageInfo)
        except DriverError as error:
            if error.retryable:
                raise
            message = f"the image cannot be read as {image_format}"
            raise DriverError("image_refused", message, detail=error.detail) from error
        except msgspec.MsgspecError as error:
            raise DriverError("driver", "qemu-img answered something unknown", detail=str(error)) from error

    async def create_overlay(self, path: Path, backing: str, backing_format: str, size: int) -> None:
        """Make a qcow2 of `size` bytes over `backing` (relative to the overlay's folder, so that the state directory
        may move). The backing file is not opened (`-u`): its content is read by guests' processes only."""
        options = ("-q", "-u", "-f", "qcow2", "-F", backing_format, "-b", backing)
        await run(("qemu-img", "create", *options, str(path), str(size)), self._limit)

    async def create_empty(self, path: Path, size: int) -> None:
        """Make a qcow2 of `size` bytes that stands on nothing."""
        await run(("qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size)), self._limit)

    async def look(self, root: Path) -> RootState:
        """A root disk of ours, whose guest is off."""
        command = ("qemu-img", "info", "--output=json", "-f", "qcow2", str(root))
        seen = msgspec.json.decode(await run(command, self._limit), type=_Look)
        return RootState(seen.virtual_size, frozenset(mark.name for mark in seen.snapshots))

    async def mark(self, root: Path, name: str) -> None:
        """Keep the present state inside the disk; takes no time and no space."""
        await self._change("snapshot", "-c", name, str(root))

    async def restore(self, root: Path, name: str) -> None:
        """Go back to a state that was kept, its size too."""
        await self._change("snapshot", "-a", name, str(root))

    async def forget(self, root: Path, name: str) -> None:
        """Keep a state no longer."""
        await self._change("snapshot", "-d", name, str(root))

    async def grow(self, root: Path, size: int) -> None:
        """Let the guest see `size` bytes."""
        await self._change("resize", "-f", "qcow2", str(root), str(size))

    async def flatten(self, root: Path, copy: Path) -> None:
        """Make `copy` a qcow2 with all that a guest, which is off, sees of its root disk."""
        command = ("qemu-img", "convert", "-q", "-f", "qcow2", "-O", "qcow2", str(root), str(copy))
        await run(command, COPY_LIMIT)

    async def _change(self, verb: str, *words: str) -> None:
        await run(("qemu-img", verb, "-q", *words), self._limit)
