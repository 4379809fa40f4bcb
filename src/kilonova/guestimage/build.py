"""Building the guest image: fetch, put together, write."""

import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

from kilonova.guestimage import disk, initramfs, package, tree
from kilonova.guestimage.program import HOST_PACKAGES, GuestImageError, check_host

Progress = Callable[[str, float], None]


def build(output: Path, work: Path, progress: Progress) -> None:
    """Write the guest image, a compressed qcow2, to `output`; on failure nothing stands there that did not before.

    `work` keeps the fetched packages between builds. `progress(text, fraction)` hears each step, with the fraction of
    the whole that is done (0 to 1). Blocks: meant for a thread. Needs neither root nor loop devices. Raises
    GuestImageError, which says what to install or to do, and OSError when a directory cannot be written.
    """
    if platform.machine() != "x86_64":
        raise GuestImageError("the guest image is for x86_64, and can only be built on it")
    progress("Looking at the package index", 0.0)
    check_host(HOST_PACKAGES)
    kernel = package.choose_kernel()
    archives = package.fetch(
        (kernel, *package.GUEST_PACKAGES), work / "packages", lambda part: progress("Fetching packages", 0.6 * part)
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=work) as place:
        image = _assemble(archives, Path(place).absolute(), progress)
        _publish(image, output)
    progress("The guest image is ready", 1.0)


def _assemble(archives: list[Path], place: Path, progress: Progress) -> Path:
    progress("Unpacking packages", 0.6)
    sysroot, static, root, initial = (place / name for name in ("sysroot", "static", "root", "initial"))
    package.unpack([path for path in archives if path.name.startswith("busybox-static_")], static)
    package.unpack([path for path in archives if not path.name.startswith("busybox-static_")], sysroot)
    tree.join_busyboxes(static, sysroot)
    progress("Putting the guest together", 0.75)
    tree.make_root(sysroot, root, _debian_version(), disk.ROOT_SECTORS)
    tree.make_initial(sysroot, initial)
    (place / "initrd").write_bytes(initramfs.pack(initial))
    progress("Writing the disk", 0.85)
    disk.make_disk(
        root, sysroot / "boot" / f"vmlinuz-{tree.find_kernel(sysroot)}", place / "initrd", place / "disk.raw"
    )
    progress("Compressing the image", 0.9)
    disk.compress(place / "disk.raw", place / "image.qcow2")
    return place / "image.qcow2"


def _publish(image: Path, output: Path) -> None:
    """Move the image to its place in one step, whatever file system that is on."""
    handle, name = tempfile.mkstemp(prefix=f".{output.name}-", dir=output.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as copy, image.open("rb") as source:
            while block := source.read(1024 * 1024):
                copy.write(block)
            os.fchmod(copy.fileno(), 0o644)
            copy.flush()
            os.fsync(copy.fileno())
        temporary.replace(output)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _debian_version() -> str:
    return Path("/etc/debian_version").read_text().strip().split(".")[0]
