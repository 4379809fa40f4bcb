"""A cloud as its user runs it: a process of its own, started and stopped by the command, asked over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import traffic
from kilonova.cli.client import Client
from kilonova.core.errors import Failure, NotFound
from kilonova.state import StateDir

T = TypeVar("T")
KILONOVA = Path(sys.executable).parent / "kilonova"
SETTLED = ("ACTIVE", "SHUTOFF", "ERROR")


class Caller(Client):
    """The command line's client, with the verbs that commands do not need."""

    def put(self, path: str, body: Any = None, *, content: bytes | None = None) -> Any:
        """Replace something; bytes go as they are."""
        if content is not None:
            headers = {**self._headers, "Content-Type": "application/octet-stream"}
            return self._http.put(path, headers=headers, content=content)
        return self._send("PUT", path, json=body).json()

    def servers(self) -> list[dict[str, Any]]:
        """Every server of every project."""
        found, page = [], self.get("/compute/v2.1/servers/detail", all_tenants="1")["servers"]
        while page:
            found += page
            page = self.get("/compute/v2.1/servers/detail", all_tenants="1", marker=page[-1]["id"])["servers"]
        return found

    def server(self, server_id: str) -> dict[str, Any]:
        return dict(self.get(f"/compute/v2.1/servers/{server_id}")["server"])

    def act(self, server_id: str, action: str, detail: Any = None) -> Any:
        return self.post(f"/compute/v2.1/servers/{server_id}/action", {action: detail})

    def wait_status(self, server_id: str, status: str, seconds: float = 60.0) -> dict[str, Any]:
        """The server once it has that status and nothing is being done to it."""

        def look() -> dict[str, Any] | None:
            server = self.server(server_id)
            busy = server["OS-EXT-STS:task_state"]
            assert busy or status == "ERROR" or server["status"] != "ERROR", server.get("fault")
            return server if server["status"] == status and not busy else None

        return wait(look, seconds, lambda: f"{server_id} does not become {status}: {self.server(server_id)}")

    def wait_gone(self, server_id: str, seconds: float = 60.0) -> None:
        wait(lambda: not self.exists(server_id), seconds, lambda: f"{server_id} does not go: {self.server(server_id)}")

    def exists(self, server_id: str) -> bool:
        try:
            self.server(server_id)
        except NotFound:
            return False
        return True

    def metric(self, name: str) -> float:
        """A plain gauge of /metrics."""
        lines = self._send("GET", "/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))

    def image_id(self) -> str:
        return str(self.get("/image/v2/images", name="kilonova-guest", status="active")["images"][0]["id"])

    def flavor_id(self, name: str = "m1.nano") -> str:
        return str(next(f["id"] for f in self.get("/compute/v2.1/flavors")["flavors"] if f["name"] == name))

    def network_id(self, name: str) -> str:
        return str(self.get("/network/v2.0/networks", name=name)["networks"][0]["id"])


class Daemon:
    """`kilonova up --detach` on a state directory, and its end by `down` or by SIGKILL."""

    def __init__(self, state: Path, arguments: tuple[str, ...] = (), environ: Mapping[str, str] | None = None) -> None:
        self.state = state
        self._arguments = arguments
        self._environ = {**os.environ, **(environ or {})}

    @property
    def cloud_id(self) -> str:
        return StateDir(self.state).prepare()

    def up(self) -> Caller:
        """Start it, and wait until it says that it is ready. A new caller: the old one's connections are dead."""
        self.run("up", "--port", "0", "--detach", *self._arguments)
        return Caller(self.state)

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it in the foreground, and wait for nothing."""
        argv = [str(KILONOVA), "up", "--state", str(self.state), "--port", "0", *self._arguments]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(argv, env=self._environ, **quiet)

    def down(self) -> None:
        self.run("down")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        pid = StateDir(self.state).running()
        assert pid is not None, "nothing runs that could be killed"
        os.kill(pid, signal.SIGKILL)
        wait(lambda: StateDir(self.state).running() is None, 10, lambda: f"{pid} does not die")

    def run(self, command: str, *arguments: str, check: bool = True, timeout: float = 180.0) -> str:
        """What a command of kilonova says on this cloud."""
        if command == "clean":
            traffic.keep(StateDir(self.state).log_file)
        argv = [str(KILONOVA), command, "--state", str(self.state), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, env=self._environ, check=False)
        if check and done.returncode != 0:
            raise Failure(f"kilonova {command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def doctor(self) -> str:
        """Everything that the doctor finds."""
        return self.run("doctor", check=False)

    def log_tail(self) -> str:
        log = self.state / "kilonova.log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""


def wait(condition: Callable[[], T], seconds: float, story: Callable[[], str], pause: float = 0.2) -> T:
    """The first true answer. Fails with the story when time is up."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, story()
        time.sleep(pause)
    return result
