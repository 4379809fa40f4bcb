"""Telling one run of a process from another with the same number."""

from __future__ import annotations

import os
import re
from pathlib import Path


def read_start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine did (proc(5)); None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        # The 22nd field, counted after the name, which may hold spaces; a zombie (Z) has ended.
        fields = text.rpartition(")")[2].split()
        return int(fields[19]) if fields[0] != "Z" else None
    except (OSError, ValueError, IndexError):
        return None


def read_pid(path: Path) -> int | None:
    """The number in a pid file; None when there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def convert_ticks(ticks: int) -> float:
    """Clock ticks since the machine started, as seconds since the epoch."""
    booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    return (int(booted[1]) if booted else 0) + ticks / os.sysconf("SC_CLK_TCK")
