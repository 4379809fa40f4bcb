"""What a host needs beside Python, as programs and the Debian packages that have them."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from kilonova.guestimage.package import fetch, unpack
from kilonova.guestimage.program import HOST_PACKAGES, GuestImageError

SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **HOST_PACKAGES,
        "qemu-system-x86_64": "qemu-system-x86",
        "qemu-img": "qemu-utils",
        "libvirtd": "libvirt-daemon-system",
        "virtlogd": "libvirt-daemon-system",
        "dnsmasq": "dnsmasq-base",
        "nft": "nftables",
        "ip": "iproute2",
        "ssh": "openssh-client",
    }
)
EXTRA: Final = ("libvirt-daemon-driver-qemu", "seabios")
"""Packages without a program of their own, installed with the others."""
NOVNC: Final = (Path("/usr/share/novnc"), Path("/usr/share/kilonova/novnc"))
"""Where noVNC may be: as its Debian package has it, or taken out of that (installed, it would bring Node.js)."""
BUILD: Final = ("gcc", "python3-dev", "pkg-config", "libvirt-dev")
"""For building libvirt's Python binding."""


def fetch_novnc() -> bool:
    """Put noVNC where consoles look for it, if it is not there yet; whether it is then. Needs root."""
    if any(place.is_dir() for place in NOVNC):
        return True
    try:
        with tempfile.TemporaryDirectory() as work:
            archives = fetch(["novnc"], Path(work, "cache"), lambda fraction: None)
            unpack(archives, Path(work, "tree"))
            NOVNC[-1].parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(Path(work, "tree", "usr/share/novnc"), NOVNC[-1], symlinks=False, dirs_exist_ok=True)
    except (GuestImageError, OSError, shutil.Error):
        return False
    return True


def _has(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program, path=SEARCH) is not None


def missing_programs() -> list[str]:
    """Debian packages whose programs are not here."""
    return sorted({package for program, package in PROGRAMS.items() if not _has(program)})


def missing_packages() -> list[str]:
    """As `missing_programs`, and the Python binding of libvirt."""
    missing = set(missing_programs())
    if importlib.util.find_spec("libvirt") is None:
        missing.add("the Python module libvirt (pip install 'kilonova[libvirt]')")
    return sorted(missing)
