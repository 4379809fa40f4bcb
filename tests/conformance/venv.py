"""A virtual environment of a suite's own: what it pins must not meet what kilonova pins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def make(name: str, *packages: str) -> Path:
    """The `bin` folder of an environment with these packages, made once and kept beside the checkout's own."""
    place = Path(os.environ.get("KILONOVA_TEST_CACHE") or ".") / f".venv-{name}"
    done = place / "installed"
    wanted = "\n".join(packages)
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([place / "bin" / "pip", "install", "-qq", "--disable-pip-version-check", *packages], check=True)
        done.write_text(wanted)
    return place.resolve() / "bin"
