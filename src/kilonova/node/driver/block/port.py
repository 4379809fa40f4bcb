"""The block port: images cached on a host, and the local disks of its guests. Idempotent; errors are DriverError."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kilonova.node.driver.virt.port import DiskCopier, DiskDevice
from kilonova.wire.guest import GuestSpec, ImageRef
from kilonova.wire.node import ImageTicket

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all; 0 when not known); cheap, may be called often."""


@dataclass(frozen=True, slots=True)
class Space:
    """The file system that holds the disks, in bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a disk's copy, which has `size` bytes in all."""

    disk_format: str
    offset: int
    size: int
    data: bytes


class BlockDriver(Protocol):
    """Image cache and guests' disks on one host; see the module's promise."""

    async def start(self) -> None:
        """Make the directories; remove half-written files of an earlier run."""

    async def space(self) -> Space:
        """How much room there is."""

    async def cached(self, image: ImageRef) -> bool:
        """Whether the image's bytes are here and whole."""

    async def fetch(self, image: ImageRef, ticket: ImageTicket, progress: Progress) -> None:
        """Bring an image into the cache once, however many ask at the same time: checked against size, sha512 and the
        claimed format (nothing with a backing file, data file or other format passes: `image_refused`). A failure or
        cancellation leaves nothing behind. Raises `no_space` before the low-disk watermark would be crossed."""

    async def create(self, spec: GuestSpec, config_drive: bytes | None) -> tuple[DiskDevice, ...]:
        """The guest's disks, made if absent (root as an overlay over the cached image, grown to `root_gb`; ephemeral;
        swap; config drive when bytes are given, rewritten if they differ). An existing root disk is never
        overwritten. Raises `disk_too_small` (image larger than `root_gb`), `image_missing` (not fetched; retryable)."""

    async def lacking(self, spec: GuestSpec) -> tuple[ImageRef, ...]:
        """The images that have to be fetched before `create` can make what is missing."""

    async def receive(self, spec: GuestSpec, config_drive: bytes | None) -> tuple[DiskDevice, ...]:
        """Disks of the guest's sizes, made if absent, for a guest that will bring what is on them: its root stands on
        no image. Raises `disk_too_small` when nothing tells the root's size."""

    async def disks(self, server_id: str) -> tuple[DiskDevice, ...]:
        """The disks that exist for a guest."""

    def export(self, spec: GuestSpec, copier: DiskCopier | None) -> AsyncGenerator[Part, None]:
        """A copy of the guest's root disk, whole and without backing, in parts; `copier` makes it of one that runs.
        The copy is gone when the generator is closed. Raises `no_space`, `no_such_disk`."""

    async def remove(self, server_id: str) -> None:
        """Remove all of a guest's disks."""

    async def list(self) -> tuple[str, ...]:
        """The server ids that have disks here."""

    async def evict(self, keep: frozenset[str], older_than: float) -> tuple[str, ...]:
        """Remove cached images whose sha512 is not in `keep`, that no disk uses, and unused for `older_than` seconds;
        answers what was removed."""

    def root_path(self, server_id: str) -> Path:
        """Where a guest's root disk is or would be."""
