"""Fetching the Debian packages that the guest is made of, and unpacking them without installing anything."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kilonova.guestimage.program import GuestImageError, run

KERNEL_META_PACKAGE = "linux-image-cloud-amd64"

# Programs of the guest and the libraries they are linked with. busybox comes twice: the static one starts faster and
# does nearly everything; the shared one looks up names (the static C library cannot).
GUEST_PACKAGES = (
    "busybox-static",
    "busybox",
    "dropbear-bin",
    "e2fsprogs",
    "util-linux",
    "qemu-guest-agent",
    "libblkid1",
    "libc6",
    "libcom-err2",
    "libcrypt1",
    "libext2fs2",
    "libgcc-s1",
    "libglib2.0-0",
    "libgmp10",
    "libnuma1",
    "libpcre2-8-0",
    "libtomcrypt1",
    "libtommath1",
    "libudev1",
    "liburing2",
    "libuuid1",
    "zlib1g",
)

_APT = ("-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3")
_FETCH_DEADLINE = 1800.0


@dataclass(frozen=True)
class Archive:
    """A package archive as the package index describes it; `size` in bytes."""

    name: str
    size: int


def choose_kernel() -> str:
    """The package of the current cloud kernel, for instance `linux-image-6.1.0-56-cloud-amd64`."""
    advice = f"the package index has no {KERNEL_META_PACKAGE}: run apt-get update (on an amd64 Debian)"
    try:
        answer = run(["apt-cache", "depends", KERNEL_META_PACKAGE])
    except GuestImageError as error:
        raise GuestImageError(advice) from error
    match = re.search(r"Depends: (linux-image-\d\S*-cloud-amd64)", answer)
    if match is None:
        raise GuestImageError(advice)
    return match.group(1)


def fetch(packages: Iterable[str], cache: Path, progress: Callable[[float], None]) -> list[Path]:
    """Download the packages' current versions into `cache`, which keeps them; return the archives' paths.

    `progress` hears the fraction that is there (0 to 1). Raises GuestImageError when the index or the mirror fails.
    """
    cache.mkdir(parents=True, exist_ok=True)
    wanted = list(packages)
    with tempfile.TemporaryDirectory() as empty:  # apt-get does not name what already lies in its directory.
        answer = run(["apt-get", *_APT, "download", "--print-uris", *wanted], directory=Path(empty))
    archives = parse_uris(answer)
    if len(archives) != len(wanted):
        raise GuestImageError("the package index does not know every package of the guest: run apt-get update")
    missing = [
        package
        for package in wanted
        if not any(a.name.startswith(f"{package}_") and _present(cache / a.name, a.size) for a in archives)
    ]
    if missing:
        total = sum(archive.size for archive in archives)
        _download(missing, cache, lambda: progress(min(1.0, _held(cache, archives) / total)))
    absent = [archive.name for archive in archives if not _present(cache / archive.name, archive.size)]
    if absent:
        raise GuestImageError(f"could not fetch {' '.join(absent)}")
    progress(1.0)
    return [cache / archive.name for archive in archives]


def parse_uris(text: str) -> list[Archive]:
    """Read the lines `'URI' FILE SIZE HASH` of `apt-get download --print-uris`, sorted by file name."""
    lines = re.findall(r"^'([^']+)' (\S+) (\d+) ", text, re.MULTILINE)
    return sorted(
        (Archive(name, int(size)) for uri, name, size in lines if urlsplit(uri).scheme),
        key=lambda archive: archive.name,
    )


def unpack(archives: Iterable[Path], target: Path) -> None:
    """Unpack the archives, in order, into `target`, which is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for archive in archives:
        run(["dpkg-deb", "-x", archive, target])


def _download(packages: list[str], cache: Path, tick: Callable[[], None]) -> None:
    command = ["apt-get", *_APT, "download", *packages]
    with subprocess.Popen(command, cwd=cache, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        waited = 0.0
        while True:
            try:
                _, words = process.communicate(timeout=0.25)
                break
            except subprocess.TimeoutExpired:
                waited += 0.25
                tick()
                if waited > _FETCH_DEADLINE:
                    process.kill()
    if process.returncode != 0:
        raise GuestImageError(
            f"apt-get could not download the guest's packages (try apt-get update): {words.strip()[-1000:]}"
        )


def _present(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _held(cache: Path, archives: Iterable[Archive]) -> int:
    return sum((cache / archive.name).stat().st_size for archive in archives if (cache / archive.name).is_file())
