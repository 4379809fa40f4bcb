"""A cloud started as a user starts one, the real clients on it, and its own command line."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

import traffic

BIN = Path(sys.executable).parent
PATIENCE = 120.0
DIGEST = 30.0  # hosts ask every 10 s what they should have


def free_of_clouds() -> dict[str, str]:
    """The environment without what would choose another cloud or client."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "KILONOVA_"))}


def kilonova(
    words: str, code: int | None = 0, environ: Mapping[str, str] | None = None, prefix: tuple[str, ...] = ()
) -> str:
    """Run a command of ours, which must end with `code` (None: any); answers what it said."""
    argv = [*prefix, str(BIN / "kilonova"), *shlex.split(words)]
    env = {**free_of_clouds(), **(environ or {})}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=PATIENCE, check=False)
    assert code in (None, done.returncode), f"{words} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


class Cloud:
    """One running cloud and the real client on it. `path` is a directory of its own for files, `named`
    what a transcript has given a name to."""

    def __init__(self, options: str, environ: Mapping[str, str] | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="client-"))
        self.path.chmod(0o755)  # QEMU's user reaches its disks below here
        self.state = self.path / "state"
        self._environ = dict(environ or {})
        self._tokens: dict[str, httpx.Client] = {}
        self.named: dict[str, str] = {}
        try:
            self.own("up", f"--detach --port 0 {options}")
        except BaseException:
            self.clean()
            raise
        self._shell = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("client_shell.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**free_of_clouds(), "OS_CLIENT_CONFIG_FILE": str(self.state / "clouds.yaml")},
        )

    def own(self, command: str, words: str = "", code: int | None = 0) -> str:
        """Our own command line on this cloud."""
        return kilonova(f"{command} --state {self.state} {words}", code, self._environ)

    def tell(self, words: str, user: str = "admin", code: int | None = 0, given: str | Path = "/dev/null") -> str:
        """A command of openstackclient: what it prints, or where it shall fail (`code`; None: may), what it complains
        of."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        out, errors = self.path / "client-out", self.path / "client-errors"
        cloud = "kilonova" if user == "admin" else f"kilonova-{user}"
        order = [["--os-cloud", cloud, *shlex.split(words)], str(given), str(out), str(errors)]
        self._shell.stdin.write(json.dumps(order) + "\n")
        self._shell.stdin.flush()
        ended = int(self._shell.stdout.readline())
        said = errors.read_text()
        assert code in (None, ended), f"openstack {words} ended with {ended}\n{out.read_text()}{said}"
        assert "Traceback" not in said, said
        return said if ended else out.read_text()

    def show(self, words: str, user: str = "admin") -> Any:
        """As `tell`, the answer as a document."""
        return json.loads(self.tell(f"{words} -f json", user))

    def column(self, words: str, name: str, user: str = "admin") -> list[Any]:
        """One column of a list."""
        return [row[name] for row in self.show(words, user)]

    def refuse(self, words: str, user: str = "admin", code: int = 1) -> str:
        """As `tell` for a command that must fail."""
        return self.tell(words, user, code)

    def http(self, user: str = "admin") -> httpx.Client:
        """A signed-in caller without any client in between, at microversion 2.79."""
        if user not in self._tokens:
            url = (self.state / "endpoint").read_text().strip()
            token = self.tell("token issue -f value -c id", user).strip()
            headers = {"X-Auth-Token": token, "OpenStack-API-Version": "compute 2.79"}
            self._tokens[user] = httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)
        return self._tokens[user]

    def server(self, name: str, user: str = "admin") -> dict[str, Any]:
        """A server by its name; fails unless there is exactly one."""
        answer = self.http(user).get("/compute/v2.1/servers/detail", params={"name": f"^{name}$"})
        (found,) = answer.json()["servers"]
        return dict(found)

    def wait(self, name: str, status: str, user: str = "admin") -> dict[str, Any]:
        """Until a server rests in a status, without the client's pauses of 5 s."""
        end = time.monotonic() + PATIENCE
        while True:
            server = self.server(name, user)
            if server["status"] == status and server["OS-EXT-STS:task_state"] is None:
                return server
            assert time.monotonic() < end, server
            assert server["status"] != "ERROR", server
            time.sleep(0.1)

    def check(self) -> None:
        """The doctor finds nothing, once hosts have had the time to drop the networks that no guest needs any more."""
        end = time.monotonic() + DIGEST
        while "All is well" not in (told := self.own("doctor", code=None)):
            assert time.monotonic() < end, told

    def close(self) -> None:
        """The doctor looks, then every trace goes."""
        try:
            self.check()
        finally:
            self.clean()

    def clean(self) -> None:
        """Remove every trace."""
        for caller in self._tokens.values():
            caller.close()
        if (shell := getattr(self, "_shell", None)) is not None:
            shell.stdin.close()
            shell.wait(10)
        traffic.keep(self.state / "kilonova.log")
        self.own("clean", "--yes")
        shutil.rmtree(self.path)
