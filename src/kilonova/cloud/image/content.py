"""What bytes really are, found while they stream by (oslo.utils' format inspectors, which read each byte once)."""

from __future__ import annotations

import functools
import struct
from typing import Any, Final

from kilonova.core.errors import Failure

MAX_VIRTUAL_BYTES: Final = 1 << 50
HEAD: Final = 72
_ACCEPTED: Final = {
    "raw": frozenset({"raw", "gpt"}),
    "gpt": frozenset({"gpt"}),
    "ami": frozenset({"raw", "gpt"}),
    "aki": frozenset({"raw", "gpt"}),
    "ari": frozenset({"raw"}),
    "ploop": frozenset({"raw"}),
    "iso": frozenset({"iso", "iso+gpt"}),
}
_MAGIC: Final = (
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"# Disk DescriptorFile", "vmdk"),
    (b"conectix", "vhd"),
    (b"vhdxfile", "vhdx"),
    (b"QED\0", "qed"),
    (b"LUKS\xba\xbe", "luks"),
)
DISK_CONTAINERS: Final = frozenset({"bare", "ami", "aki", "ari"})


class Unfit(Failure):
    """The bytes are not an image that may be used, or not what the record claims."""

    code = "unfit_content"


class ContentCheck:
    """Takes chunks in order by `feed`, then says by `finish` whether they are what was claimed.

    Inside an archive (`container_format` ova, docker, compressed …) a disk cannot be looked at, but an archive must
    not be a disk itself.
    """

    def __init__(self, disk_format: str, container_format: str) -> None:
        self._claim = disk_format if container_format in DISK_CONTAINERS else "raw"
        self._is_disk = container_format in DISK_CONTAINERS
        self._inspectors: dict[str, Any] = {name: make() for name, make in _inspectors().items() if name != "raw"}
        self._head = b""
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Look at the next chunk. Raises Unfit as soon as it is plain that the claim is wrong."""
        self._size += len(chunk)
        if len(self._head) < HEAD:
            self._head = (self._head + chunk[:HEAD])[:HEAD]
            self._refuse_magic()
        for name, inspector in list(self._inspectors.items()):
            try:
                inspector.eat_chunk(chunk)
            except Exception as error:  # the inspectors raise whatever hostile bytes provoke: not this format then
                if name == self._claim:
                    raise Unfit(f"Image content does not match disk_format {name}", detail=repr(error)) from error
                del self._inspectors[name]

    def finish(self) -> int:
        """The size in bytes that a guest would see. Raises Unfit."""
        found = [name for name, inspector in self._inspectors.items() if self._is(inspector)]
        name = "+".join(sorted(found, reverse=True)) or "raw"
        if name not in _ACCEPTED.get(self._claim, {self._claim}):
            raise self._mismatch(name)
        if self._claim not in found:
            return self._size
        inspector = self._inspectors[self._claim]
        try:
            inspector.safety_check()
            virtual = int(inspector.virtual_size)
        except Exception as error:  # as above; the reasons are this library's own words and name no path of ours
            reasons = getattr(error, "failures", {})
            told = ", ".join(str(reason) for reason in reasons.values()) or "it is malformed"
            raise Unfit(f"Image fails the safety check of {self._claim}: {told}", detail=repr(error)) from error
        self._refuse_torso()
        if virtual > MAX_VIRTUAL_BYTES:
            raise Unfit(f"Image claims a virtual size of {virtual} bytes, more than {MAX_VIRTUAL_BYTES}")
        return virtual if self._claim != "gpt" else self._size

    def _refuse_magic(self) -> None:
        """A header cut short escapes its inspector, yet a hypervisor that guesses would believe it."""
        for magic, name in _MAGIC:
            if self._head.startswith(magic) and name != self._claim:
                raise self._mismatch(name)

    def _refuse_torso(self) -> None:
        """A qcow2 whose tables lie beyond its end was cut off on its way (QEMU's docs/interop/qcow2, header)."""
        if self._claim != "qcow2" or len(self._head) < HEAD:
            return
        entries, table, counts = struct.unpack(">IQQ", self._head[36:56])
        if table + entries * 8 > self._size or counts >= self._size:
            raise Unfit("Image content is incomplete: its tables lie beyond its end")

    def _mismatch(self, found: str) -> Unfit:
        claim = f"disk_format {self._claim}" if self._is_disk else "its container_format"
        return Unfit(f"Image content does not match {claim}: it is {found}")

    def _is(self, inspector: Any) -> bool:
        inspector.finish()
        try:
            return bool(inspector.format_match)
        except Exception:  # an inspector that cannot tell has not seen its format; `_refuse_magic` stands before it
            return False


@functools.cache
def _inspectors() -> dict[str, Any]:
    """Loaded at the first upload: importing it costs more than the rest of this package."""
    from oslo_utils.imageutils import format_inspector

    formats: dict[str, Any] = format_inspector.ALL_FORMATS
    return formats
