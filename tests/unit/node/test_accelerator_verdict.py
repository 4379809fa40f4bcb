"""The question whether KVM boots a guest, asked of QEMUs of all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilonova.node.driver.virt.accelerator import WORD, Verdict, build_initrd, probe


def make_qemu(place: Path, behaviour: str) -> str:
    program = place / "qemu"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo QEMU 1; exit; fi\necho x >>{place}/asked\n{behaviour}\n'
    )
    program.chmod(0o755)
    return str(program)


async def ask(place: Path, qemu: str, kernel: Path | None = Path("/k")) -> Verdict:
    async def find_kernel() -> Path | None:
        return kernel

    device = place / "kvm"
    device.touch()
    return await probe(place / "state", find_kernel, qemu=qemu, device=device, deadline=0.5)


@pytest.mark.parametrize(
    ("behaviour", "accelerator"),
    [
        (f"echo boot; echo {WORD.decode()}; exec sleep 60", "kvm"),
        ("echo 'Booting from ROM..'; exec sleep 60", "tcg"),
        ("echo 'failed to set MSR 0x10a' >&2; exit 134", "tcg"),
    ],
)
async def test_only_a_guest_that_speaks_counts_and_is_asked_once(
    tmp_path: Path, behaviour: str, accelerator: str
) -> None:
    qemu = make_qemu(tmp_path, behaviour)
    verdicts = [await ask(tmp_path, qemu) for _ in range(3)]
    assert {verdict.accelerator for verdict in verdicts} == {accelerator}
    assert len({verdict.reason for verdict in verdicts}) == 1
    assert (tmp_path / "asked").read_text() == "x\n"


async def test_a_new_qemu_is_asked_again(tmp_path: Path) -> None:
    await ask(tmp_path, make_qemu(tmp_path, "exit 1"))
    qemu = make_qemu(tmp_path, f"echo {WORD.decode()}")
    Path(qemu).write_text(Path(qemu).read_text().replace("QEMU 1", "QEMU 2"))
    assert (await ask(tmp_path, qemu)).accelerator == "kvm"


async def test_nothing_is_booted_or_remembered_without_device_program_or_kernel(tmp_path: Path) -> None:
    async def never() -> Path | None:
        raise AssertionError("no kernel is needed")

    qemu = make_qemu(tmp_path, "exit 0")
    absent = await probe(tmp_path, never, qemu=qemu, device=tmp_path / "none")
    assert (absent.accelerator, "none" in absent.reason) == ("tcg", True)
    assert (await ask(tmp_path, "/no/such/qemu")).accelerator == "tcg"
    assert (await ask(tmp_path, qemu, kernel=None)).accelerator == "tcg"
    assert not (tmp_path / "asked").exists()
    assert not (tmp_path / "state").exists()


async def test_a_damaged_memory_is_no_memory(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "accelerator.json").write_bytes(b'{"key": 1')
    assert (await ask(tmp_path, make_qemu(tmp_path, f"echo {WORD.decode()}"))).accelerator == "kvm"


def test_the_tiny_guest_is_an_archive_of_whole_words() -> None:
    archive = build_initrd(b"hello")
    assert archive.startswith(b"070701")
    assert b"hello\n" in archive
    assert len(archive) % 4 == 0
