"""How fast bytes of images come in and go out, against what `cat` does with the same bytes on the same disk.

Caller, hashing (sha512 and md5 are the API's promise) and the disk share the machine's cores: the note says what the
cloud's own process used.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.daemon import Daemon, running
from tests.bench.figure import Figure

GROUP = "image"
SIZE: Final = 1 << 30
PIECE: Final = 1 << 22
RUNS: Final = 3
MB: Final = 1e6


async def measure() -> AsyncIterator[Figure]:
    """`cat` with and without a flush, then uploads and downloads of 1 GiB; of each the best of three."""
    async with running() as daemon:
        source, target = daemon.state.parent / "source", daemon.state.parent / "target"
        await asyncio.to_thread(_fill, source)
        copied = await asyncio.to_thread(_cat, source, target, flush=False)
        settled = await asyncio.to_thread(_cat, source, target, flush=True)
        yield Figure(GROUP, "cat to the page cache", copied, "MB/s")
        yield Figure(GROUP, "cat and flush to the disk", settled, "MB/s")
        caller = await daemon.caller()
        ups, downs = [], []
        for _ in range(RUNS):
            body = {"name": "bench", "disk_format": "raw", "container_format": "bare"}
            image = (await caller.post("/image/v2/images", body, 201))["id"]
            path = f"/image/v2/images/{image}/file"
            ups.append(await _watched(daemon, partial(_upload, daemon.port, path, caller.token, source)))
            downs.append(await _watched(daemon, partial(_download, daemon.port, path, caller.token)))
            await caller.ask(caller.request("DELETE", f"/image/v2/images/{image}"))
        yield _figure("upload, durable", min(ups), settled, "cat and flush")
        yield _figure("download", min(downs), copied, "cat")
        gained = max(run[2] for run in (*ups, *downs))
        yield Figure(GROUP, "resident memory gained", gained, "MB", 32, note="at most, while they ran")
        caller.close()


def _figure(name: str, seen: tuple[float, float, float], cat: float, against: str) -> Figure:
    wall, cpu, _ = seen
    speed = SIZE / MB / wall
    return Figure(
        GROUP, name, speed, "MB/s", 0.8 * cat, True, cpu * 1e3, wall * 1e3, f"{speed / cat:.0%} of {against}"
    )  # fmt: skip


async def _watched(daemon: Daemon, work: Callable[[], None]) -> tuple[float, float, float]:
    """Seconds, CPU seconds of the daemon, and how many MB its resident memory grew at most."""
    before, size, began = daemon.cpu(), daemon.resident_mb(), time.perf_counter()
    most = size
    job = asyncio.create_task(asyncio.to_thread(work))
    while not job.done():
        most = max(most, daemon.resident_mb())
        await asyncio.wait([job], timeout=0.05)
    await job
    return time.perf_counter() - began, daemon.cpu() - before, most - size


def _fill(path: Path) -> None:
    piece = os.urandom(PIECE)
    with path.open("wb") as file:
        for number in range(SIZE // PIECE):
            file.write(number.to_bytes(8, "big") + piece[8:])
        os.fsync(file.fileno())


def _cat(source: Path, target: Path, *, flush: bool) -> float:
    """MB/s, the best of three."""
    best = float("inf")
    for _ in range(RUNS):
        began = time.perf_counter()
        with target.open("wb") as file:
            subprocess.run(["cat", str(source)], stdout=file, check=True)
            if flush:
                os.fsync(file.fileno())
        best = min(best, time.perf_counter() - began)
        target.unlink()
    return SIZE / MB / best


def _head(method: str, path: str, token: str, length: int) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: cloud", f"x-auth-token: {token}", f"content-length: {length}"]
    return "\r\n".join([*lines, "content-type: application/octet-stream", "connection: close", "", ""]).encode()


def _upload(port: int, path: str, token: str, source: Path) -> None:
    with socket.create_connection(("127.0.0.1", port)) as link, source.open("rb") as file:
        link.sendall(_head("PUT", path, token, SIZE))
        link.sendfile(file)
        _check(link.recv(4096), b" 204 ")


def _download(port: int, path: str, token: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(_head("GET", path, token, 0))
        buffer, total = bytearray(PIECE), 0
        head = link.recv(4096)
        _check(head, b" 200 ")
        total = len(head) - head.index(b"\r\n\r\n") - 4
        while received := link.recv_into(buffer):
            total += received
        if total != SIZE:
            raise RuntimeError(f"{total} bytes of {SIZE} came")


def _check(answer: bytes, status: bytes) -> None:
    if status not in answer[:20]:
        raise RuntimeError(answer[:200].decode("latin-1"))
