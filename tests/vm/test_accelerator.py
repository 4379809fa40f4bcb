"""The question whether KVM boots a guest, asked with a real kernel and a real QEMU."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kilonova.guestimage import package
from kilonova.node.driver.virt.accelerator import probe

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory, guest_cache: Path) -> Path:
    place = tmp_path_factory.mktemp("kernel")
    packages = guest_cache / "guest-image-work" / "packages"
    package.unpack(package.fetch([package.choose_kernel()], packages, lambda part: None), place / "tree")
    return next((place / "tree" / "boot").glob("vmlinuz-*"))


async def test_the_tiny_guest_really_boots_and_speaks(tmp_path: Path, kernel: Path) -> None:
    async def find_kernel() -> Path:
        return kernel

    # The same guest on a processor that is known to work.
    shim = tmp_path / "qemu"
    shim.write_text('#!/bin/sh\n[ "$1" = -accel ] && shift 4 && set -- -accel tcg "$@"\nexec qemu-system-x86_64 "$@"\n')
    shim.chmod(0o755)
    device = tmp_path / "kvm"
    device.touch()
    verdict = await probe(tmp_path, find_kernel, qemu=str(shim), device=device, deadline=60)
    assert verdict.accelerator == "kvm", verdict
    again = await probe(tmp_path, find_kernel, qemu=str(shim), device=device)
    assert (again.accelerator, again.seconds) == ("kvm", 0)


async def test_this_machine_gets_an_answer_within_the_deadline_and_nothing_is_left_running(
    tmp_path: Path, kernel: Path
) -> None:
    async def find_kernel() -> Path:
        return kernel

    verdict = await probe(tmp_path, find_kernel, deadline=10)
    assert verdict.accelerator in ("kvm", "tcg")
    assert verdict.seconds < 15
    left = subprocess.run(["pgrep", "-f", "kilonova-probe-"], capture_output=True, check=False).stdout
    assert left == b""
