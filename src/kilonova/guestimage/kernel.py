"""The guest's kernel alone, for whoever wants to try a hypervisor with it."""

from __future__ import annotations

from pathlib import Path

from kilonova.guestimage import package


def find_kernel(work: Path) -> Path | None:
    """The kernel (bzImage) from the packages that a build left in `work`; None before the first build."""
    place = work / "kernel"
    if not (found := sorted(place.glob("boot/vmlinuz-*"))):
        archives = sorted((work / "packages").glob("linux-image-*.deb"))
        if not archives:
            return None
        package.unpack(archives[-1:], place)
        found = sorted(place.glob("boot/vmlinuz-*"))
    return found[-1] if found else None
