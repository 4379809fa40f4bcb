"""The examples do what they say, with the unchanged clients, on a simulated cloud."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TOLD = {
    "01-first-server.sh": ("KILONOVA READY instance=", "| example-01 | ACTIVE |", "| create |"),
    "02-python-sdk.py": ("example-02 is SHUTOFF\nexample-02 is ACTIVE\nexample-02 is gone",),
    "03-test-double.py": ("'ACTIVE': 19", "'ERROR': 1", "double-19: "),
    "04-explain-and-story.sh": ("it would go to fake-", "vCPUs removed 3", "it would fit nowhere", "create: failed"),
    "05-crash-it.sh": ("before: 20 BUILD", "killed", "after: 20 ACTIVE", "All is well"),
    "06-wait-and-watch.py": (
        "example-06 is ACTIVE", "example-06 is gone", "server.state building.spawning", "server.deleted deleted",
    ),
    "07-wait-and-watch.sh": ('"status":"ACTIVE"', "event: server.created", '"phase":"active"', "event: server.deleted"),
}  # fmt: skip

pytestmark = pytest.mark.client


def run(*command: str | Path) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running cloud of three simulated hosts."""
    place = tmp_path_factory.mktemp("examples") / "cloud"
    run("kilonova", "up", "--state", place, "--port", "0", "--driver", "fake", "--fake-hosts", "3", "--detach")
    yield place
    run("kilonova", "clean", "--state", place, "--yes")


def test_every_example_is_run() -> None:
    assert sorted(p.name for p in EXAMPLES.iterdir() if p.suffix in (".sh", ".py")) == sorted(TOLD)


@pytest.mark.parametrize("name", sorted(TOLD))
def test_an_example_tells_what_it_promises(name: str, state: Path) -> None:
    told = run(EXAMPLES / name, state)
    assert [words for words in TOLD[name] if words not in told] == [], told


def test_the_examples_leave_nothing_behind(state: Path) -> None:
    assert "All is well" in run("kilonova", "doctor", "--state", state)
    assert "servers: none" in run("kilonova", "status", "--state", state)
