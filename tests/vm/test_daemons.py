"""libvirtd and virtlogd come and go with the clouds that use them, on a machine of their own (namespaces)."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.vm

# Own /run and own libvirt directories: nothing of the real machine's daemons is seen or touched.
MACHINE = """
mount --make-rprivate /
for place in /run /etc/libvirt/qemu /var/lib/libvirt /var/log/libvirt; do mount -t tmpfs tmpfs $place; done
touch /run/kvm && chmod 600 /run/kvm
if [ -e /dev/kvm ]; then mount --bind /run/kvm /dev/kvm; fi
exec "$@"
"""

UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")

PRELUDE = """
import asyncio, json, sys
from pathlib import Path
from kilonova.node.driver.virt.daemons import ensure_daemons, stop_daemons, _answers
a, b = Path(sys.argv[1]) / "a", Path(sys.argv[1]) / "b"
for place in (a, b):
    place.mkdir()
seen = []
def look(answer):
    seen.append([list(answer), [_answers("virtlogd"), _answers("libvirtd")]])
async def main():
    register = Path("/run/kilonova/libvirt")
"""


def run(place: Path, *steps: str) -> Any:
    script = PRELUDE + textwrap.indent("\n".join(steps), "    ") + "\nasyncio.run(main())\nprint(json.dumps(seen))\n"
    done = subprocess.run(
        [*UNSHARE, "sh", "-ec", MACHINE, "sh", sys.executable, "-c", script, str(place)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


UP, DOWN = [True, True], [False, False]
BOTH = ["virtlogd", "libvirtd"]


def test_the_first_cloud_starts_them_and_the_last_one_stops_them(tmp_path: Path) -> None:
    assert run(
        tmp_path,
        "look(await ensure_daemons('bbbb01', a))",
        "look(await ensure_daemons('bbbb01', a))",
        "look(await ensure_daemons('bbbb02', b))",
        "look(await stop_daemons('bbbb01'))",
        "look(await stop_daemons('bbbb02'))",
        "look(await stop_daemons('bbbb02'))",
    ) == [[BOTH, UP], [[], UP], [[], UP], [[], UP], [["libvirtd", "virtlogd"], DOWN], [[], DOWN]]


def test_what_others_started_is_left(tmp_path: Path) -> None:
    assert run(
        tmp_path,
        "import subprocess",
        "subprocess.run(['virtlogd', '-d'], check=True)",
        "look(await ensure_daemons('bbbb01', a))",
        "look(await stop_daemons('bbbb01'))",
    ) == [[["libvirtd"], UP], [["libvirtd"], [True, False]]]


def test_guests_keep_them_and_a_deleted_cloud_does_not(tmp_path: Path) -> None:
    assert run(
        tmp_path,
        "look(await ensure_daemons('bbbb01', a))",
        "await ensure_daemons('bbbb02', b)",
        "b.rmdir()",
        "stranger = Path('/etc/libvirt/qemu/stranger.xml')",
        "stranger.touch()",
        "look(await stop_daemons('bbbb01'))",
        "stranger.unlink()",
        "look(await stop_daemons('bbbb01'))",
    ) == [[BOTH, UP], [[], UP], [["libvirtd", "virtlogd"], DOWN]]


def test_a_daemon_that_was_replaced_is_not_ours(tmp_path: Path) -> None:
    assert run(
        tmp_path,
        "await ensure_daemons('bbbb01', a)",
        "import os, signal, subprocess",
        "os.kill(int(Path('/run/virtlogd.pid').read_text()), signal.SIGKILL)",
        "Path('/run/libvirt/virtlogd-sock').unlink()",
        # What was killed lets go of its pid file a moment later.
        "while subprocess.run(['virtlogd', '-d']).returncode: await asyncio.sleep(0.05)",
        "look(await stop_daemons('bbbb01'))",
    ) == [[["libvirtd"], [True, False]]]


def test_the_kvm_device_is_lent_to_qemus_user_while_clouds_run(tmp_path: Path) -> None:
    if not Path("/dev/kvm").exists():
        return  # nothing to lend
    assert run(
        tmp_path,
        "import stat",
        "def mode():",
        "    seen.append([oct(stat.S_IMODE(Path('/dev/kvm').stat().st_mode)), Path('/dev/kvm').group()])",
        "await ensure_daemons('bbbb01', a)",
        "await ensure_daemons('bbbb02', b)",
        "mode()",
        "await stop_daemons('bbbb01')",
        "mode()",
        "await stop_daemons('bbbb02')",
        "mode()",
    ) == [["0o660", "kvm"], ["0o660", "kvm"], ["0o600", "root"]]
