"""`python -m tests.conformance [--driver fake] [AREA …]`: run suites and write what they came to into docs/evidence."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.conformance import evidence, placement, tempest, venv

from daemon import Daemon

TEMPEST: Final = ("identity", "image", "network")
AREAS: Final = (*TEMPEST, "placement")


def main() -> None:
    """Each area on a cloud of its own, so that none inherits another's leavings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--driver", choices=["libvirt", "fake"], default="libvirt")
    parser.add_argument("areas", nargs="*", choices=[*AREAS, []])
    chosen = parser.parse_args()
    broken = [area for area in chosen.areas or AREAS if not run(area, chosen.driver)]
    if broken:
        sys.exit(f"failed: {', '.join(broken)}")


def run(area: str, driver: str) -> bool:
    """Whether all of an area passed."""
    if area in TEMPEST:
        return run_tempest(area, driver)
    outcomes = placement.run(str(venv.make("gabbi", *placement.PACKAGES) / "python"))
    return told("placement", placement.ABOUT, outcomes)


def run_tempest(area: str, driver: str) -> bool:
    """Tempest's tests of one API, on a cloud of their own."""
    folder = Path(tempfile.mkdtemp(prefix=f"kilonova-conformance-{area}-"))
    folder.chmod(0o755)
    daemon = Daemon(folder / "cloud", ("--driver", driver), {"KILONOVA_IMPORT_NETWORKS": "127.0.0.0/8"})
    try:
        with serving(folder / "source") as source:
            outcomes = tempest.run(daemon.up(), daemon.state, folder, f"^tempest\\.api\\.{area}\\.", source)
    finally:
        daemon.run("clean", "--yes")
        shutil.rmtree(folder)
    about = f"`tempest.api.{area}` of {tempest.PACKAGES[0]} against a cloud on the `{driver}` driver, unchanged."
    return told(f"tempest-{area}", about, outcomes)


def told(suite: str, about: str, outcomes: list[evidence.Outcome]) -> bool:
    """Write what a suite came to; whether all of it passed."""
    evidence.write(suite, about, outcomes)
    counts = Counter(one.status for one in outcomes)
    print(f"{suite}: {counts['success']} passed, {counts['fail']} failed, {counts['skip']} skipped")  # noqa: T201
    return not counts["fail"]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A place on this machine that images are fetched from: its address."""
    folder.mkdir()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", folder / "image.qcow2", "1M"], check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


if __name__ == "__main__":
    main()
