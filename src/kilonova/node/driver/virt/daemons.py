"""libvirtd and virtlogd: started when absent, stopped again when we started them and nobody uses them any more.

Several clouds on one machine share the daemons, so the book is kept for the machine: in `register` (it vanishes with a
reboot, as the daemons do) each cloud that uses them has a file, and `started.json` says what was started here.
Where systemd runs the machine, it starts and stops them.
"""

from __future__ import annotations

import asyncio
import fcntl
import grp
import os
import pwd
import shutil
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from kilonova.kit.log import Logger
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.process import read_pid, read_start_ticks

REGISTER = Path("/run/kilonova/libvirt")
KVM = Path("/dev/kvm")

_SOCKETS = {
    "virtlogd": (Path("/run/libvirt/virtlogd-sock"),),
    "libvirtd": (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock")),
}
# Running and defined guests, by libvirt's own files: this also answers when libvirtd does not.
_GUEST_FILES = ("/run/libvirt/qemu", "/run/libvirt/lxc", "/etc/libvirt/qemu", "/etc/libvirt/lxc")
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_DEADLINE = 20.0
_POLL = 0.05

log = Logger(__name__)


class _Started(msgspec.Struct, kw_only=True):
    """`processes`: pid and start time by daemon; `units`: what systemd was told to start; `kvm`: /dev/kvm's old
    (group, mode)."""

    processes: dict[str, tuple[int, int]] = {}
    units: list[str] = []
    kvm: tuple[int, int] | None = None


async def ensure_daemons(cloud_id: str, state_dir: Path, *, register: Path = REGISTER) -> tuple[str, ...]:
    """Note that the cloud uses the daemons, start those that are absent, and return their names.

    Idempotent. Raises DriverError that says what to do when they are not installed, do not start, or one is not root.
    """
    if os.geteuid() != 0:
        raise DriverError("driver", "Guests on libvirt need root: run as root, or use the fake driver.")
    async with _locked(register):
        _enrol(register, cloud_id, state_dir)
        started = _load(register)
        fresh = []
        try:
            started.kvm = started.kvm or _open_kvm()
            for name in _SOCKETS:
                if not _answers(name):
                    await _start(name, started)
                    fresh.append(name)
        finally:
            _save(register, started)
        return tuple(fresh)


async def stop_daemons(cloud_id: str, *, register: Path = REGISTER) -> tuple[str, ...]:
    """The cloud does not use the daemons any more: stop those that were started here, unless another cloud (whose state
    directory still exists) or any guest, whoever's, needs them. Returns the names of the stopped ones. Idempotent.
    """
    if not _kept(register):
        return ()
    async with _locked(register):
        if _leave(register, cloud_id) or _guests_exist():
            return ()
        started = _load(register)
        stopped = []
        # libvirtd first: it writes its guests' consoles through virtlogd.
        for name in ("libvirtd", "virtlogd"):
            if await _stop(name, started):
                stopped.append(name)
        if started.kvm is not None:
            _set_kvm(*started.kvm)
        shutil.rmtree(register)
        return tuple(stopped)


def _kept(register: Path) -> bool:
    return register.is_dir()


def _enrol(register: Path, cloud_id: str, state_dir: Path) -> None:
    users = register / "users"
    users.mkdir(exist_ok=True)
    (users / cloud_id).write_text(str(state_dir.absolute()))


def _leave(register: Path, cloud_id: str) -> bool:
    """Whether another cloud still uses the daemons."""
    users = register / "users"
    (users / cloud_id).unlink(missing_ok=True)
    return any(Path(user.read_text()).is_dir() for user in users.glob("*"))


@asynccontextmanager
async def _locked(register: Path) -> AsyncIterator[None]:
    descriptor = _open_lock(register)
    try:
        await _until(lambda: _try_lock(descriptor), "Another kilonova starts or stops the hypervisor's daemons.")
        os.makedirs(register, mode=0o700, exist_ok=True)
        yield
    finally:
        os.close(descriptor)


def _open_lock(register: Path) -> int:
    register.parent.mkdir(parents=True, exist_ok=True)
    # Beside the directory, which stop_daemons removes.
    return os.open(register.with_name(f"{register.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _until(condition: Callable[[], bool], message: str) -> None:
    try:
        async with asyncio.timeout(_DEADLINE):
            while not condition():  # noqa: ASYNC110 (other processes tell nobody)
                await asyncio.sleep(_POLL)
    except TimeoutError as error:
        raise DriverError("unavailable", message, retryable=True) from error


def _load(register: Path) -> _Started:
    path = register / "started.json"
    return msgspec.json.decode(path.read_bytes(), type=_Started) if path.exists() else _Started()


def _save(register: Path, started: _Started) -> None:
    fresh = register / "started.new"
    fresh.write_bytes(msgspec.json.encode(started))
    fresh.replace(register / "started.json")


def _answers(name: str) -> bool:
    for path in _SOCKETS[name]:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(2)
            try:
                probe.connect(str(path))
            except OSError:
                continue
            return True
    return False


async def _start(name: str, started: _Started) -> None:
    if _systemd_runs():
        await _run("systemctl", "start", f"{name}.service")
        started.units.append(name)
    else:
        await _run(name, "-d")
    await _until(lambda: _answers(name), f"{name} was started but does not answer: see /var/log/libvirt.")
    pid = read_pid(Path("/run") / f"{name}.pid")
    ticks = read_start_ticks(pid) if pid is not None else None
    if name not in started.units and pid is not None and ticks is not None:
        started.processes[name] = (pid, ticks)
    log.info("started a daemon of the hypervisor", daemon=name)


def _systemd_runs() -> bool:
    """sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


async def _run(program: str, *arguments: str) -> None:
    path = shutil.which(program, path=_SBIN)
    if path is None:
        packages = "libvirt-daemon-system qemu-system-x86 qemu-utils"
        raise DriverError("driver", f"{program} is not installed: apt-get install {packages}")
    process = await asyncio.create_subprocess_exec(
        path,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": _SBIN, "LC_ALL": "C"},
        cwd="/",
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_DEADLINE):
            status = await process.wait()
    except TimeoutError as error:
        process.kill()
        raise DriverError("driver", f"{program} did not come up: see /var/log/libvirt.") from error
    if status != 0:
        raise DriverError("driver", f"{program} {' '.join(arguments)} failed (status {status}): see /var/log/libvirt.")


async def _stop(name: str, started: _Started) -> bool:
    if name in started.units:
        await _run("systemctl", "stop", f"{name}.service", f"{name}.socket")
        return True
    pid, ticks = started.processes.get(name, (0, 0))
    if not pid or read_start_ticks(pid) != ticks:
        return False
    os.kill(pid, signal.SIGTERM)
    await _until(lambda: read_start_ticks(pid) != ticks, f"{name} does not stop.")
    log.info("stopped a daemon of the hypervisor", daemon=name)
    return True


def _guests_exist() -> bool:
    files = (file for place in _GUEST_FILES for file in Path(place).glob("*") if file.suffix in (".pid", ".xml"))
    # libvirtd's drivers have pid files beside their guests'.
    return any(file.name != "driver.pid" for file in files)


def _open_kvm() -> tuple[int, int] | None:
    """Give /dev/kvm the group and mode that udev gives it (group kvm, 0660) where no udev runs; return the old ones.

    libvirtd compares, at each call, whether QEMU's user may open the device with what QEMU said when it was probed.
    Where the two differ it probes QEMU again every time, and defining one guest takes tens of seconds.
    """
    if not KVM.exists() or Path("/run/udev/control").exists():
        return None
    try:
        user, group = pwd.getpwnam("libvirt-qemu"), grp.getgrnam("kvm")
    except KeyError:
        return None
    status = KVM.stat()
    mode = stat.S_IMODE(status.st_mode)
    readable = mode & 0o006 == 0o006
    if readable or (mode & 0o060 == 0o060 and status.st_gid in os.getgrouplist(user.pw_name, user.pw_gid)):
        return None
    _set_kvm(group.gr_gid, 0o660)
    return status.st_gid, mode


def _set_kvm(group: int, mode: int) -> None:
    if KVM.exists():
        os.chown(KVM, -1, group)
        KVM.chmod(mode)
