"""Whether this host's KVM really runs guests.

A device node and libvirt's word are not enough: on nested hosts QEMU may start, the firmware may run, and a kernel
still never comes up. So a tiny guest is booted: the real kernel of a guest, and an initial file system whose only
program says a word on the serial console. The answer is remembered for this kernel, QEMU and processor.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kilonova.kit.log import Logger
from kilonova.node.driver.virt.domain_xml import Accelerator

KVM = Path("/dev/kvm")
WORD = b"KILONOVA ACCELERATED"

log = Logger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to use, and why, in words for the operator. `seconds` is what asking cost, 0 when it was remembered."""

    accelerator: Accelerator
    reason: str
    seconds: float = 0.0


class _Memory(msgspec.Struct, kw_only=True):
    key: str
    accelerator: Accelerator
    reason: str


async def probe(
    state_dir: Path,
    find_kernel: Callable[[], Awaitable[Path | None]],
    *,
    qemu: str = "qemu-system-x86_64",
    device: Path = KVM,
    deadline: float = 10.0,
) -> Verdict:
    """Boot a tiny guest under KVM, at most `deadline` seconds; `tcg` unless it speaks.

    `find_kernel` returns an x86 kernel (bzImage) to boot, or None; it is asked only when nothing is remembered in
    `state_dir`. Never raises for a KVM that does not work. Raises OSError when `state_dir` cannot be written.
    """
    if not os.access(device, os.R_OK | os.W_OK):
        return Verdict("tcg", f"there is no {device} that this user may open: guests are emulated")
    path = shutil.which(qemu)
    if path is None:
        return Verdict("tcg", f"{qemu} is not installed")
    memory_path = state_dir / "accelerator.json"
    key = f"{os.uname().release} | {await _ask_version(path)} | {_read_processor()}"
    if (memory := _recall(memory_path, key)) is not None:
        return Verdict(memory.accelerator, memory.reason)
    kernel = await find_kernel()
    if kernel is None:
        return Verdict("tcg", "no kernel to try KVM with: guests are emulated")
    loop = asyncio.get_running_loop()
    began = loop.time()
    spoke, words = await _boot(path, kernel, deadline)
    seconds = loop.time() - began
    if spoke:
        verdict = Verdict("kvm", f"a guest booted under KVM in {seconds:.1f} s", seconds)
    else:
        verdict = Verdict("tcg", f"{device} is there, but a guest did not boot under KVM: guests are emulated", seconds)
        log.info("a guest did not boot under KVM", seconds=round(seconds, 1), said=words.strip()[-300:])
    _remember(memory_path, _Memory(key=key, accelerator=verdict.accelerator, reason=verdict.reason))
    return verdict


def _recall(path: Path, key: str) -> _Memory | None:
    try:
        memory = msgspec.json.decode(path.read_bytes(), type=_Memory)
    except (OSError, msgspec.MsgspecError):
        return None
    return memory if memory.key == key else None


def _remember(path: Path, memory: _Memory) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(memory))
    fresh.replace(path)


def _read_processor() -> str:
    match = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else os.uname().machine


async def _ask_version(qemu: str) -> str:
    process = await asyncio.create_subprocess_exec(
        qemu, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    output = await _collect(process, b"", 10.0)
    return output.decode(errors="replace").partition("\n")[0].strip()


async def _boot(qemu: str, kernel: Path, deadline: float) -> tuple[bool, str]:
    """Whether the guest spoke, and all that came from it and from QEMU."""
    with tempfile.TemporaryDirectory(prefix="kilonova-probe-") as place:
        initrd = Path(place) / "initrd"
        initrd.write_bytes(build_initrd(WORD))
        process = await asyncio.create_subprocess_exec(
            # The processor is the host's, as guests will have it.
            *(qemu, "-accel", "kvm", "-cpu", "host", "-machine", "pc,vmport=off", "-m", "128", "-no-reboot"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-sandbox", "on", "-serial", "stdio"),
            *("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 panic=-1 edd=off"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = await _collect(process, WORD, deadline)
    return WORD in output, output.decode(errors="replace")


async def _collect(process: asyncio.subprocess.Process, word: bytes, deadline: float) -> bytes:
    """Output until the word, the end or the deadline; then the process is gone."""
    output = b""
    try:
        async with asyncio.timeout(deadline):
            while process.stdout is not None and (part := await process.stdout.read(4096)):
                output = output[-65536:] + part
                if word and word in output:
                    break
    except TimeoutError:
        log.debug("a process was stopped at its deadline", seconds=deadline)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return output


def build_initrd(word: bytes) -> bytes:
    """An initial file system (cpio, newc) whose `/init` writes the word to its console and powers off."""
    return (
        _cpio_entry(b"dev", 0o040755)
        + _cpio_entry(b"dev/console", 0o020600, device=(5, 1))
        + _cpio_entry(b"init", 0o100755, _build_program(word + b"\n"))
        + _cpio_entry(b"TRAILER!!!", 0)
    )


def _cpio_entry(name: bytes, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)


def _build_program(text: bytes) -> bytes:
    """A static x86-64 ELF program (System V ABI): write(1, text), then reboot(power off)."""
    base, header = 0x400000, 64 + 56
    code_size = 46
    code = b"".join(
        (
            b"\xb8\x01\x00\x00\x00",  # mov eax, 1: write
            b"\xbf\x01\x00\x00\x00",  # mov edi, 1: standard output
            b"\xbe" + struct.pack("<I", base + header + code_size),  # mov esi, text
            b"\xba" + struct.pack("<I", len(text)),  # mov edx, its length
            b"\x0f\x05",  # syscall
            b"\xb8\xa9\x00\x00\x00",  # mov eax, 169: reboot
            b"\xbf\xad\xde\xe1\xfe",  # mov edi, LINUX_REBOOT_MAGIC1
            b"\xbe\x69\x19\x12\x28",  # mov esi, LINUX_REBOOT_MAGIC2
            b"\xba\xdc\xfe\x21\x43",  # mov edx, LINUX_REBOOT_CMD_POWER_OFF
        )
    )
    # syscall, then wait for ever: init must not end.
    code += b"\x0f\x05\xeb\xfe"
    total = header + len(code) + len(text)
    # 64-bit little-endian executable for x86-64 with one program header: all of the file, readable and executable.
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, base + header, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, total, total, 0x1000)
    return elf + segment + code + text
