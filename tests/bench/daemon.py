"""The cloud under test: a process of its own, on a free port and a fresh state directory."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.bench.caller import Caller, probe

TICKS: Final = os.sysconf("SC_CLK_TCK")
PATIENCE: Final = 120.0
ENVIRONMENT: Final = {"KILONOVA_PRIVATE_CIDR": "10.96.0.0/13", "KILONOVA_PUBLIC_CIDR": "203.0.113.0/24"}


class Daemon:
    """`kilonova up` in the foreground. Its CPU time is read from /proc, so that the load's own does not count."""

    def __init__(self, state: Path, *, hosts: int, driver: str = "fake", environ: Mapping[str, str]) -> None:
        self.state = state
        self.port = _free_port()
        self._arguments = ["--driver", driver, *(["--fake-hosts", str(hosts)] if driver == "fake" else [])]
        self._environ = {**os.environ, **ENVIRONMENT, **environ}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process; raises LookupError when none runs."""
        if self._process is None:
            raise LookupError("the daemon does not run")
        return self._process.pid

    async def start(self) -> float:
        """Run it; answers the seconds from the start of the process to the first 200."""
        where = ["--state", str(self.state), "--port", str(self.port)]
        self.state.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        with (self.state / "bench-output").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kilonova", "up", *where, *self._arguments],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        await self._until("/health", 200, pause=0.002)
        return time.perf_counter() - began

    async def ready(self) -> None:
        """Wait until the cloud says that all of it is there."""
        await self._until("/ready", 200, pause=0.02)
        deadline = time.monotonic() + PATIENCE
        while not (self.state / "kilonova.pid").exists() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    async def _until(self, path: str, status: int, pause: float) -> None:
        deadline = time.monotonic() + PATIENCE
        while await probe(self.port, path) != status:
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the daemon did not start: " + self._last_words())
            await asyncio.sleep(pause)

    def _last_words(self) -> str:
        return (self.state / "bench-output").read_text()[-2000:]

    def cpu(self) -> float:
        """CPU seconds of the process since it started, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mb(self) -> float:
        """Resident memory in MB (10⁶ bytes)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6

    async def caller(self, user: str = "admin", connections: int = 1) -> Caller:
        """A signed-in caller."""
        password = (self.state / "secrets" / f"{user}-password").read_text().strip()
        return await Caller.sign_in(self.port, user, password, connections)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as `kilonova down` does."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@asynccontextmanager
async def running(
    hosts: int = 1, *, driver: str = "fake", environ: Mapping[str, str] | None = None
) -> AsyncIterator[Daemon]:
    """A cloud that is ready; gone with its state at the end."""
    root = Path(tempfile.mkdtemp(prefix="bench-"))
    daemon = Daemon(root / "state", hosts=hosts, driver=driver, environ=environ or {})
    try:
        await daemon.start()
        await daemon.ready()
        yield daemon
    finally:
        daemon.stop()
        if driver != "fake":
            clean = [sys.executable, "-m", "kilonova", "clean", "--yes", "--state", str(daemon.state)]
            subprocess.run(clean, check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(root, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
