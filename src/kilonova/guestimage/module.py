"""The kernel modules that the guest carries, with everything they depend on."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from kilonova.guestimage.program import GuestImageError, run

# What the initial file system needs to find the root disk …
BOOT_MODULES = ("virtio_pci", "virtio_blk")
# … when it is not a virtio disk …
OTHER_BUS_MODULES = ("virtio_scsi", "ata_piix", "sd_mod")
# … and what the running guest may meet.
GUEST_MODULES = (
    "virtio_net",
    "virtio_console",
    "virtio_balloon",
    "virtio_rng",
    "vmxnet3",
    "virtio_scsi",
    "ata_piix",
    "sd_mod",
    "sr_mod",
    "isofs",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "nls_utf8",
    "button",
    "evdev",
    "virtio_blk",
)


def install(names: Iterable[str], kernel: str, source: Path, target: Path, depmod: Path) -> None:
    """Copy modules of version `kernel` and their dependencies from the tree `source` to `target`, and index them.

    `depmod` is a busybox that runs on this machine. Raises GuestImageError when the kernel has no such module.
    """
    place = Path("lib/modules") / kernel
    known = {path.stem.replace("-", "_"): path for path in (source / place).rglob("*.ko")}
    flat = target / place
    flat.mkdir(parents=True, exist_ok=True)
    for name in close(names, known):
        shutil.copyfile(known[name], flat / known[name].name)
    run([depmod, "depmod", "-b", target.absolute(), kernel])
    # Nothing in the guest resolves symbols to modules.
    (flat / "modules.symbols").unlink(missing_ok=True)


def close(names: Iterable[str], known: dict[str, Path]) -> list[str]:
    """The names and all they depend on, sorted; dependencies stand in each module's own `depends=` record."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if name not in known:
            raise GuestImageError(f"the kernel package has no module {name}")
        found.add(name)
        record = re.search(rb"\0depends=([^\0]*)\0", known[name].read_bytes())
        listed = record.group(1).decode() if record else ""
        waiting += [dependency.replace("-", "_") for dependency in listed.split(",") if dependency]
    return sorted(found)
