"""Whether an image's content is what its owner says, and harmless."""

from __future__ import annotations

from pathlib import Path

from oslo_utils.imageutils import format_inspector

from kilonova.node.driver.block.qemu_img import QemuImg
from kilonova.node.driver.failure import DriverError

STORED_AS = {"raw": "raw", "iso": "raw", "qcow2": "qcow2"}
"""Formats that a guest can boot from here, and how QEMU is to open each."""
CONTENT = {"raw": {"raw", "gpt"}, "iso": {"iso"}, "qcow2": {"qcow2"}}
"""What may be inside: a raw image may begin with a partition table."""
LOOK = 1 << 16
LOOK_LIMIT = 64 << 20


def inspect(path: Path, claimed: str) -> None:
    """Look at the content itself (blocking). Raises DriverError `image_refused` when it is another format than
    `claimed`, several at once, or refers to other files (backing file, data file) or to features nobody knows."""
    if claimed not in CONTENT:
        raise DriverError("image_refused", f"images in format {claimed} cannot be booted here")
    try:
        with path.open("rb") as file:
            wrapper = format_inspector.InspectWrapper(file)
            while wrapper.formats is None and file.tell() < LOOK_LIMIT and wrapper.read(LOOK):
                pass
            wrapper.close()
        found = wrapper.format
    except format_inspector.ImageFormatError as error:
        raise DriverError("image_refused", "the image is of several formats at once", detail=str(error)) from error
    if found is None or str(found) not in CONTENT[claimed]:
        raise DriverError("image_refused", f"the image says that it is {claimed}, but its content is {found}")
    try:
        found.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        reasons = ", ".join(sorted(error.failures))
        raise DriverError("image_refused", f"the image is not safe to open: {reasons}") from error
    except format_inspector.ImageFormatError as error:
        raise DriverError("image_refused", "the image's header is damaged", detail=str(error)) from error


async def measure(path: Path, claimed: str, size: int, qemu_img: QemuImg) -> int:
    """The virtual size in bytes of an inspected image of `size` bytes. For qcow2 QEMU's own reader must agree with the
    inspector; a raw file has nothing to parse. Raises DriverError `image_refused`."""
    if STORED_AS[claimed] == "raw":
        return size
    info = await qemu_img.info(path, STORED_AS[claimed])
    if info.format != STORED_AS[claimed] or info.backing_filename is not None:
        raise DriverError("image_refused", "the image refers to another file")
    if info.encrypted:
        raise DriverError("image_refused", "the image is encrypted")
    return info.virtual_size
