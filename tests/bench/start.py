"""How soon the cloud answers, what it weighs, how quick its command is."""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.bench.daemon import running
from tests.bench.figure import Figure

GROUP = "start"
STARTS = 5
SETTLE = 5.0


async def measure() -> AsyncIterator[Figure]:
    """Start (on an existing state directory), memory, `--version`."""
    yield await asyncio.to_thread(_version)
    async with running() as daemon:
        walls, cpus = [], []
        for _ in range(STARTS):
            daemon.stop()
            walls.append(await daemon.start())
            cpus.append(daemon.cpu())
            await daemon.ready()
        wall, cpu = statistics.median(walls), statistics.median(cpus)
        yield Figure(
            GROUP, "process start → first 200", wall, "s", 1.0, cpu=cpu * 1e3, wall=wall * 1e3,
            note=f"median of {STARTS}, 1 fake host, state exists",
        )  # fmt: skip
        await asyncio.sleep(SETTLE)
        idle = daemon.cpu()
        size = daemon.resident_mb()
        await asyncio.sleep(SETTLE)
        busy = (daemon.cpu() - idle) / SETTLE
        yield Figure(
            GROUP, "whole control plane, idle, resident", size, "MB", 150,
            note=f"{SETTLE:g} s after the start; idle CPU {busy:.1%}",
        )  # fmt: skip


def _version() -> Figure:
    command = [str(Path(sys.executable).with_name("kilonova")), "--version"]
    runs, began, before = 10, time.perf_counter(), _children()
    for _ in range(runs):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, cpu = (time.perf_counter() - began) / runs, (_children() - before) / runs
    return Figure(GROUP, "kilonova --version", wall, "s", 0.15, cpu=cpu * 1e3, wall=wall * 1e3, note=f"mean of {runs}")


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
