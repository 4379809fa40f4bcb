"""External programs: bounded in memory, CPU, time and output; without a shell; with as few rights as they need."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from kilonova.node.driver.failure import DriverError

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
OUTPUT_LIMIT = 1 << 20
NO_SPACE = b"No space left on device"


@dataclass(frozen=True, slots=True)
class Limit:
    """What a run may use: address space in bytes, CPU and wall time in seconds."""

    memory: int = 1 << 30
    cpu: int = 30
    wall: float = 120.0


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to become before the program starts: a user and a group id, without other groups and for good."""

    uid: int
    gid: int


async def run(command: Sequence[str], limit: Limit, account: Account | None = None) -> bytes:
    """Run a program and answer its standard output. Raises DriverError: `no_space` when it says so, else `driver`.

    Limits and identity are set by util-linux's prlimit and setpriv, which then become the program: no Python code runs
    between fork and exec, so it is safe beside threads and works on every event loop.
    """
    prefix = ["prlimit", f"--as={limit.memory}", f"--cpu={limit.cpu}", "--core=0", "--"]
    if account is not None:
        prefix += ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--no-new-privs"]
        prefix += ["--inh-caps=-all", "--bounding-set=-all", "--"]
    try:
        process = await asyncio.create_subprocess_exec(
            *prefix,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
        )
    except FileNotFoundError as error:
        raise DriverError("driver", "util-linux is not installed on the host", detail=str(error)) from error
    try:
        async with asyncio.timeout(limit.wall):
            out, err = await asyncio.gather(_take(process, process.stdout), _take(process, process.stderr))
            await process.wait()
    except TimeoutError as error:
        raise DriverError("driver", f"{command[0]} did not end in time", retryable=True) from error
    finally:
        await _end(process)
    if process.returncode == 0:
        return out
    if NO_SPACE in err:
        raise DriverError("no_space", "the host's disk is full", detail=_text(err), retryable=True)
    raise DriverError("driver", f"{command[0]} failed", detail=f"exit {process.returncode}: {_text(err)}")


async def _take(process: asyncio.subprocess.Process, stream: asyncio.StreamReader | None) -> bytes:
    """Everything that a stream says; who says too much is killed."""
    data = bytearray()
    while stream is not None and (chunk := await stream.read(1 << 16)):
        if len(data) + len(chunk) <= OUTPUT_LIMIT:
            data += chunk
        elif process.returncode is None:
            process.kill()
    return bytes(data)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing of ours runs on after the call that started it."""
    if process.returncode is None:
        process.kill()
        await process.communicate()


def _text(err: bytes) -> str:
    return err[-2000:].decode("utf-8", "replace").strip()
