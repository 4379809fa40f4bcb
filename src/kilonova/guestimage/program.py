"""Programs of the building machine, and the one error that building an image can end with."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# Which Debian package brings which program or file; everything else is in a minimal Debian (dpkg, apt, util-linux).
HOST_PACKAGES: dict[str, str] = {
    "mke2fs": "e2fsprogs",
    "mformat": "mtools",
    "mcopy": "mtools",
    "syslinux": "syslinux",
    "/usr/lib/syslinux/mbr/mbr.bin": "syslinux-common",
    "qemu-img": "qemu-utils",
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg-deb": "dpkg",
}

_SBIN = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))


class GuestImageError(Exception):
    """The guest image cannot be built; the text says why and what to install or to do."""


def check_host(needed: Mapping[str, str]) -> None:
    """Raise GuestImageError, naming the packages to install, when a program or file of `needed` is missing."""
    missing = {package for name, package in needed.items() if _locate(name) is None}
    if missing:
        packages = " ".join(sorted(missing))
        raise GuestImageError(f"building the guest image needs programs that are missing: apt-get install {packages}")


def run(
    command: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    directory: Path | None = None,
) -> str:
    """Run a program (found in PATH or the sbin directories) and return its output.

    Raises GuestImageError with the program's last words when it fails or does not end within two minutes.
    """
    name = str(command[0])
    path = _locate(name)
    if path is None:
        raise GuestImageError(f"{name} is not installed: apt-get install {HOST_PACKAGES.get(name, name)}")
    try:
        done = subprocess.run(
            [path, *map(str, command[1:])],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=120,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise GuestImageError(f"{name} did not end within two minutes") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()[-1000:]
        raise GuestImageError(f"{name} failed with status {done.returncode}: {words}")
    return done.stdout.decode(errors="replace")


def _locate(name: str) -> str | None:
    if name.startswith("/"):
        return name if Path(name).exists() else None
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + os.pathsep + _SBIN)
