"""A root disk over the years: made anew, grown, and brought back to a state that was marked."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kilonova.node.driver.block.folder import Folder
from kilonova.node.driver.block.qemu_img import QemuImg
from kilonova.wire.guest import GuestSpec

GENERATION: Final = "generation"
GIB: Final = 1 << 30


def outdated(folder: Path, spec: GuestSpec) -> bool:
    """Whether the disks in `folder` are of an older generation than `spec` wants. Blocks."""
    return spec.generation > _generation(folder)


def discard(folder: Path, spec: GuestSpec) -> None:
    """Drop what the new generation makes anew, then note that it begins: cut off anywhere, again does the rest. Each is
    on stable storage before the next: neither does an old disk come back, nor is a new one dropped again."""
    place = Folder(folder, 0)
    place.make()
    for role in ("root",) if spec.preserve_ephemeral else ("root", "ephemeral", "swap"):
        (folder / role).unlink(missing_ok=True)
    place.sync(folder)
    place.write(folder / GENERATION, str(spec.generation).encode())


async def shape(qemu_img: QemuImg, root: Path, spec: GuestSpec) -> None:
    """Return to the state that shall be restored, keep the one that shall be kept, forget others, grow to the size."""
    seen = await qemu_img.look(root)
    if spec.restore in seen.marks:
        await qemu_img.restore(root, spec.restore)
        seen = await qemu_img.look(root)
    for mark in seen.marks - {spec.mark}:
        await qemu_img.forget(root, mark)
    if spec.mark and spec.mark not in seen.marks:
        await qemu_img.mark(root, spec.mark)
    if spec.root_gb * GIB > seen.virtual_size:
        await qemu_img.grow(root, spec.root_gb * GIB)


def _generation(folder: Path) -> int:
    try:
        return int((folder / GENERATION).read_text() or 0)
    except FileNotFoundError:
        return 0
