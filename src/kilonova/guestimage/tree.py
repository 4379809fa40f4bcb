"""The guest's directory trees: the root file system and the initial one, put together from unpacked packages."""

import re
import shutil
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from kilonova.guestimage import module
from kilonova.guestimage.program import GuestImageError, run

_LIBRARIES = "x86_64-linux-gnu"
_DIRECTORIES = (
    "dev proc sys run tmp mnt root/.ssh etc/dropbear usr/bin usr/sbin usr/lib usr/lib64 var/lib/kilonova var/log"
)
# Programs with their place in the guest; busybox brings the rest.
_PROGRAMS = {
    "bin/busybox": "usr/lib/kilonova/busybox",
    "usr/sbin/dropbear": "usr/sbin/dropbear",
    "usr/bin/dropbearkey": "usr/bin/dropbearkey",
    "usr/sbin/qemu-ga": "usr/sbin/qemu-ga",
    "sbin/resize2fs": "usr/sbin/resize2fs",
    "usr/bin/resizepart": "usr/bin/resizepart",
}
# The static busybox cannot look up names; these are links to the shared one, which can (and `blkid` is only there).
_SHARED_APPLETS = (
    *("blkid", "ftpget", "ftpput", "hostname", "nc", "nslookup", "ping", "ping6"),
    *("rdate", "ssl_client", "telnet", "tftp", "traceroute", "traceroute6", "wget"),
)
_STATIC_BUSYBOX = "bin/busybox.static"
_OTHER_MODES = {"etc/shadow": 0o600, "root": 0o700, "root/.ssh": 0o700, "tmp": 0o1777}


def join_busyboxes(static: Path, sysroot: Path) -> None:
    """Put the static busybox of the unpacked package `static` beside the shared one in `sysroot`."""
    shutil.copyfile(static / "bin/busybox", sysroot / _STATIC_BUSYBOX)
    (sysroot / _STATIC_BUSYBOX).chmod(0o755)


def find_kernel(sysroot: Path) -> str:
    """The version of the one kernel in the unpacked packages, for instance `6.1.0-56-cloud-amd64`."""
    found = sorted(path.name.removeprefix("vmlinuz-") for path in (sysroot / "boot").glob("vmlinuz-*"))
    if len(found) != 1:
        raise GuestImageError(f"expected one kernel among the packages, found {found}")
    return found[0]


def make_root(sysroot: Path, target: Path, debian: str, sectors: int) -> None:
    """Make the root file system's tree at `target`; `sectors` is the size its partition will have (512 bytes each)."""
    for directory in _DIRECTORIES.split():
        (target / directory).mkdir(parents=True, exist_ok=True)
    for directory in ("bin", "sbin", "lib", "lib64"):
        (target / directory).symlink_to(f"usr/{directory}")
    (target / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    (target / "var/run").symlink_to("/run")
    _copy_files(files("kilonova.guestimage") / "files" / "root", target, {"@DEBIAN@": debian})
    (target / "var/lib/kilonova/root-sectors").write_text(f"{sectors}\n")
    _install_programs(sysroot, target)
    _install_applets(sysroot, target)
    module.install(module.GUEST_MODULES, find_kernel(sysroot), sysroot, target, sysroot / _STATIC_BUSYBOX)
    for name, mode in _OTHER_MODES.items():
        (target / name).chmod(mode)


def make_initial(sysroot: Path, target: Path) -> None:
    """Make the initial file system's tree at `target`: busybox, the disk drivers and `init`."""
    for directory in ("bin", "dev", "proc", "new"):
        (target / directory).mkdir(parents=True)
    shutil.copy(sysroot / _STATIC_BUSYBOX, target / "bin/busybox")
    names = module.BOOT_MODULES + module.OTHER_BUS_MODULES
    module.install(names, find_kernel(sysroot), sysroot, target, sysroot / _STATIC_BUSYBOX)
    words = {"@BOOT@": " ".join(module.BOOT_MODULES), "@OTHER@": " ".join(module.OTHER_BUS_MODULES)}
    _copy_files(files("kilonova.guestimage") / "files" / "initrd", target, words)


def _copy_files(source: Traversable, target: Path, words: dict[str, str]) -> None:
    """Copy a tree of text files, words replaced; scripts (`#!`) are executable, whatever they are here."""
    with as_file(source) as directory:
        for path in sorted(directory.rglob("*")):
            if path.is_dir():
                continue
            text = path.read_text()
            for word, value in words.items():
                text = text.replace(word, value)
            copy = target / path.relative_to(directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
            copy.chmod(0o755 if text.startswith("#!") else 0o644)


def _install_programs(sysroot: Path, target: Path) -> None:
    libraries = target / "usr/lib" / _LIBRARIES
    libraries.mkdir()
    loader = sysroot / "lib64/ld-linux-x86-64.so.2"
    shutil.copy(loader, target / "usr/lib64" / loader.name)
    search = ":".join(str((sysroot / place / _LIBRARIES).absolute()) for place in ("lib", "usr/lib"))
    real_loader = sysroot / "lib" / _LIBRARIES / loader.name
    for source, place in _PROGRAMS.items():
        shutil.copy(sysroot / source, target / place)
        # The unpacked loader lists what the program needs, out of the unpacked libraries: the host's play no part.
        listed = run([real_loader.absolute(), "--library-path", search, "--list", sysroot / source])
        for library in re.findall(r"=> (/.+) \(0x[0-9a-f]+\)$", listed, re.MULTILINE):
            if not Path(library).is_relative_to(sysroot.absolute()):
                raise GuestImageError(f"{source} needs {Path(library).name}, which no package of the guest brings")
            shutil.copy(library, libraries / Path(library).name)


def _install_applets(sysroot: Path, target: Path) -> None:
    shutil.copy(sysroot / _STATIC_BUSYBOX, target / "usr/bin/busybox")
    static = set(run([sysroot / _STATIC_BUSYBOX, "--list"]).split())
    shared = set(run([target / "usr/lib/kilonova/busybox", "--list"]).split())
    for name in sorted((static | shared) - {"busybox"}):
        link = target / "usr/bin" / name
        if (target / "usr/sbin" / name).exists():
            continue
        only_shared = name in _SHARED_APPLETS or name not in static
        link.symlink_to("/usr/lib/kilonova/busybox" if only_shared else "busybox")
    for name in ("init", "poweroff", "reboot", "halt", "getty", "modprobe"):
        (target / "usr/sbin" / name).symlink_to("/usr/bin/busybox")
