"""The check of images' content against what qemu-img really makes, however the bytes are cut into chunks."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonova.cloud.image.content import ContentCheck, Unfit
from kilonova.cloud.image.model import DISK_FORMATS

MIB = 1 << 20
MADE = {
    "raw": "raw",
    "qcow2": "qcow2",
    "vmdk": "vmdk",
    "vmdk -o subformat=streamOptimized": "vmdk",
    "vdi": "vdi",
    "vhdx": "vhdx",
    "vpc -o force_size=on": "vhd",
}


@cache
def made(recipe: str, *more: str) -> bytes:
    """What qemu-img makes of a disk of 8 MiB."""
    with TemporaryDirectory() as folder:
        raw, path = Path(folder, "raw"), Path(folder, "image")
        raw.write_bytes(b"content" * 9999 + bytes(8 * MIB - 7 * 9999))
        name, *options = recipe.split()
        run = ["qemu-img", "convert", "-f", "raw", "-O", name, *options, *more, str(raw), str(path)]
        subprocess.run(run, check=True, capture_output=True)
        return path.read_bytes()


def verdict(claim: str, data: bytes, sizes: list[int], container: str = "bare") -> int | str:
    check, start = ContentCheck(claim, container), 0
    try:
        for size in [*sizes, len(data)]:
            check.feed(data[start : start + size])
            start += size
        return check.finish()
    except Unfit as refusal:
        return refusal.message


@pytest.mark.parametrize("recipe", MADE)
def test_an_image_is_taken_for_what_it_is_and_for_nothing_else(recipe: str) -> None:
    data = made(recipe)
    assert verdict(MADE[recipe], data, [MIB]) == 8 * MIB
    others = set(DISK_FORMATS) - {MADE[recipe]} - ({"ami", "aki", "ari", "ploop"} if recipe == "raw" else set())
    for other in others:
        assert isinstance(verdict(other, data, [MIB]), str), other


@pytest.mark.parametrize("recipe", [*MADE, "qed"])
@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 70_000), max_size=12))
def test_the_verdict_does_not_depend_on_how_bytes_arrive(recipe: str, sizes: list[int]) -> None:
    data = made(recipe)
    for claim in ("raw", MADE.get(recipe, "qcow2")):
        assert verdict(claim, data, sizes) == verdict(claim, data, [])


@pytest.mark.parametrize("container", ["ova", "docker", "compressed"])
def test_an_archive_is_not_looked_into_but_is_no_disk_either(container: str) -> None:
    assert verdict("vmdk", b"some archive" * 999, [], container) == 12 * 999
    assert "container_format" in str(verdict("vmdk", made("qcow2"), [], container))


def test_a_disk_with_partitions_is_raw(tmp_path: Path) -> None:
    disk = bytearray(MIB)
    disk[446:462] = bytes([0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0xFF, 0, 0, 0])
    disk[510:512] = b"\x55\xaa"
    assert verdict("raw", bytes(disk), []) == MIB
    assert verdict("gpt", bytes(disk), []) == MIB
    assert isinstance(verdict("qcow2", bytes(disk), []), str)


@settings(max_examples=200, deadline=None)
@given(
    head=st.sampled_from(
        [b"QFI\xfb", b"KDMV", b"conectix", b"vhdxfile", b"LUKS\xba\xbe", b"# Disk DescriptorFile\n", b""]
    ),
    tail=st.binary(max_size=3000),
    padding=st.sampled_from([0, 70_000, 400_000]),
    claim=st.sampled_from(DISK_FORMATS),
)
def test_hostile_bytes_get_a_verdict_and_nothing_worse(head: bytes, tail: bytes, padding: int, claim: str) -> None:
    told = verdict(claim, head + tail + bytes(padding), [100, 1000])
    assert isinstance(told, int | str)
    if head and claim in ("raw", "ami", "iso"):
        assert isinstance(told, str)


@pytest.mark.parametrize("kept", [512, 4096, 1 << 16, 3 << 16])
def test_a_qcow2_cut_off_before_its_tables_is_refused(kept: int) -> None:
    told = verdict("qcow2", made("qcow2")[:kept], [100, 7])
    assert told == "Image content is incomplete: its tables lie beyond its end"
