"""The disk: partition table, boot file system (FAT16 with syslinux) and root file system (ext4), without mounting.

Layout: MBR; from 1 MiB the boot partition; behind it, as the last one so that it can grow, the root partition.
"""

import os
import struct
from importlib.resources import files
from pathlib import Path

from kilonova.guestimage.program import run

SECTOR = 512
_MIB = 1024 * 1024
BOOT_START = _MIB // SECTOR
BOOT_SECTORS = 20 * _MIB // SECTOR
ROOT_START = BOOT_START + BOOT_SECTORS
ROOT_SECTORS = 43 * _MIB // SECTOR

_MBR_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")
_LABEL = "kilonova-root"
# Fixed identities make equal input give equal images; the time is that of the files within.
_DISK_ID = 0x4B494C4F
_BOOT_SERIAL = "4b494c4f"
_ROOT_UUID = "6b696c6f-6e6f-4761-8000-677565737400"
_EPOCH = 1_700_000_000
# Room in the group descriptors for growth to 2 TB (in 4 KiB blocks), the most that the partition table can say.
_GROWTH_BLOCKS = 2 * 1024**4 // 4096


def make_disk(root: Path, kernel: Path, initrd: Path, target: Path) -> None:
    """Write the raw disk `target` (sparse) with the root tree, kernel and initial file system given."""
    with target.open("wb") as disk:
        disk.truncate((ROOT_START + ROOT_SECTORS) * SECTOR)
        disk.write(_partition_table())
    _make_boot(kernel, initrd, target)
    _make_root(root, target)


def compress(raw: Path, target: Path) -> None:
    """Turn the raw disk into a compressed qcow2."""
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, target])


def _partition_table() -> bytes:
    """A DOS partition table: the boot partition (active, FAT16 with LBA) and the root partition (Linux)."""
    code = _MBR_CODE.read_bytes()[:440].ljust(440, b"\0")
    chs = b"\xfe\xff\xff"  # The place for cylinder, head, sector says: see the LBA numbers.
    entries = struct.pack("<B3sB3sII", 0x80, chs, 0x0E, chs, BOOT_START, BOOT_SECTORS)
    entries += struct.pack("<B3sB3sII", 0, chs, 0x83, chs, ROOT_START, ROOT_SECTORS)
    return code + struct.pack("<IH", _DISK_ID, 0) + entries + bytes(32) + b"\x55\xaa"


def _make_boot(kernel: Path, initrd: Path, disk: Path) -> None:
    image = f"{disk}@@{BOOT_START * SECTOR}"
    env = {"SOURCE_DATE_EPOCH": str(_EPOCH), "MTOOLS_SKIP_CHECK": "1"}
    geometry = ["-T", str(BOOT_SECTORS), "-h", "255", "-s", "63", "-H", str(BOOT_START), "-c", "4"]
    run(["mformat", "-i", image, "-v", "KILONOVA", "-N", _BOOT_SERIAL, *geometry, "::"], env=env)
    config = files("kilonova.guestimage").joinpath("files/boot/syslinux.cfg").read_bytes()
    run(["mcopy", "-i", image, "-", "::syslinux.cfg"], stdin=config, env=env)
    run(["mcopy", "-i", image, kernel, "::vmlinuz"], env=env)
    run(["mcopy", "-i", image, initrd, "::initrd"], env=env)
    run(["syslinux", "--offset", str(BOOT_START * SECTOR), "--install", disk], env=env)


def _make_root(root: Path, disk: Path) -> None:
    for path in (root, *root.rglob("*")):
        os.utime(path, (_EPOCH, _EPOCH), follow_symlinks=False)
    # Checksums cost time under emulation; 64 bit block numbers only matter beyond 16 TB.
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-N", "4096", "-m", "1", "-L", _LABEL]
    command += ["-O", "^metadata_csum,^64bit", "-J", "size=4", "-U", _ROOT_UUID, "-d", str(root)]
    command += ["-E", f"offset={ROOT_START * SECTOR},hash_seed={_ROOT_UUID},resize={_GROWTH_BLOCKS}"]
    command += [str(disk), f"{ROOT_SECTORS * SECTOR // 1024}k"]
    if os.geteuid() != 0:
        # In a user namespace of our own the tree belongs to root, and so does what mke2fs writes.
        command = ["unshare", "--map-root-user", *command]
    run(command, env={"E2FSPROGS_FAKE_TIME": str(_EPOCH), "SOURCE_DATE_EPOCH": str(_EPOCH)})
