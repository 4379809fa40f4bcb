"""kilonova behind a real Keystone: `python -m tests.conformance.keystone`. Not part of the default run.

Installs Keystone from PyPI into a virtual environment of its own (some minutes the first time), runs it on SQLite,
starts a cloud with simulated hosts that takes its identity from there, and prints what holds. Ends with 1 when
something does not.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.conformance import venv

KILONOVA = Path(sys.executable).parent / "kilonova"
PACKAGES = ("keystone==30.0.0", "setuptools<81")
PASSWORD = "conformance-admin"
SERVE = """
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from socketserver import ThreadingMixIn
from keystone.server.wsgi import initialize_public_application
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
class Quiet(WSGIRequestHandler):
    def log_message(self, *args): pass
port = int(sys.argv.pop())
app = initialize_public_application()
make_server("127.0.0.1", port, app, Server, Quiet).serve_forever()
"""


class Keystone:
    """A Keystone with domain Default, an administrator, and the service user `kilonova` in project `service`."""

    def __init__(self, folder: Path, place: Path) -> None:
        self._folder, self._place = folder, place
        (place / "etc").mkdir(parents=True)
        for name in ("fernet-keys", "credential-keys"):
            (place / name).mkdir(mode=0o700)
        (place / "etc" / "keystone.conf").write_text(
            f"[database]\nconnection = sqlite:///{place}/keystone.db\n"
            f"[fernet_tokens]\nkey_repository = {place}/fernet-keys\n"
            f"[credential]\nkey_repository = {place}/credential-keys\n"
            "[cache]\nenabled = false\n[token]\ncaching = false\n"
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        who = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
        self._manage("db_sync")
        self._manage("fernet_setup", *who)
        self._manage("credential_setup", *who)
        self._manage("bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-public-url", f"{self.url}/v3",
                     "--bootstrap-region-id", "RegionOne")  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, and wait until it answers."""
        argv = [self._folder / "python", "-c", SERVE, str(self.port)]
        log = (self._place / "log").open("wb")
        environ = {**os.environ, "OS_KEYSTONE_CONFIG_DIR": str(self._place / "etc")}
        self.process = subprocess.Popen(argv, env=environ, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                httpx.get(f"{self.url}/v3", timeout=5, trust_env=False)
            except httpx.TransportError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.2)
            else:
                return
        raise RuntimeError((self._place / "log").read_text()[-2000:])

    def stop(self) -> None:
        """Be gone."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    @property
    def _config(self) -> Path:
        return self._place / "etc" / "keystone.conf"

    def _manage(self, *words: str) -> None:
        argv = [self._folder / "keystone-manage", "--config-file", self._config, *words]
        subprocess.run(argv, check=True, capture_output=True)


class Caller:
    """Asks Keystone, and the cloud behind it."""

    def __init__(self, keystone: str, cloud: str) -> None:
        self.http = httpx.Client(timeout=30, trust_env=False)
        self.keystone, self.cloud = keystone, cloud

    def token(self, name: str, password: str, project: str | None = None) -> str:
        domain = {"id": "default"}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": name, "password": password, "domain": domain}},
        }
        scope = {"scope": {"project": {"name": project, "domain": domain}}} if project else {}
        answer = self.http.post(f"{self.keystone}/v3/auth/tokens", json={"auth": {"identity": identity, **scope}})
        answer.raise_for_status()
        return answer.headers["x-subject-token"]

    def ask(self, method: str, path: str, token: str, body: Any = None, **headers: str) -> httpx.Response:
        """Keystone."""
        sent = {"x-auth-token": token, **headers}
        return self.http.request(method, f"{self.keystone}/v3{path}", headers=sent, json=body)

    def servers(self, token: str, path: str = "/compute/v2.1/servers", *, patient: bool = True, **headers: str) -> int:
        """The status that the cloud answers; `patient`: asked again while Keystone is too slow for it (503)."""
        sent = {"x-auth-token": token, **{name.replace("_", "-"): value for name, value in headers.items()}}
        for _ in range(6 if patient else 1):
            status = self.http.get(f"{self.cloud}{path}", headers=sent).status_code
            if status != 503:
                break
        return status

    def lists_nothing(self, token: str) -> bool:
        """Whether the cloud refuses to list servers, or lists none."""
        answer = self.http.get(f"{self.cloud}/compute/v2.1/servers", headers={"x-auth-token": token})
        return answer.status_code == 403 or (answer.status_code == 200 and answer.json()["servers"] == [])


@contextmanager
def cloud(place: Path, keystone: str) -> Iterator[str]:
    """A cloud with simulated hosts whose identity is that Keystone; answers its address."""
    environ = {
        **os.environ, "KILONOVA_IDENTITY_MODE": "keystone", "KILONOVA_KEYSTONE_URL": keystone,
        "KILONOVA_KEYSTONE_PASSWORD": "kilonovapw",
    }  # fmt: skip
    up = [KILONOVA, "up", "--state", place, "--port", "0", "--driver", "fake", "--detach"]
    subprocess.run(up, env=environ, check=True, capture_output=True)
    try:
        yield (place / "endpoint").read_text().strip()
    finally:
        subprocess.run([KILONOVA, "clean", "--yes", "--state", place], env=environ, check=True, capture_output=True)


def people(caller: Caller, admin: str) -> tuple[str, str]:
    """The service user, and alice with role member on project work; answers alice's id and the project's."""
    roles = {row["name"]: row["id"] for row in caller.ask("GET", "/roles", admin).json()["roles"]}
    made: dict[str, str] = {}
    for kind, name, more in (
        ("project", "service", {}), ("project", "work", {}), ("user", "kilonova", {"password": "kilonovapw"}),
        ("user", "alice", {"password": "alicepw"}),
    ):  # fmt: skip
        body = {kind: {"name": name, "domain_id": "default", **more}}
        made[name] = caller.ask("POST", f"/{kind}s", admin, body).json()[kind]["id"]
    for project, user, role in (
        ("service", "kilonova", "service"), ("service", "kilonova", "admin"), ("work", "alice", "member"),
    ):  # fmt: skip
        path = f"/projects/{made[project]}/users/{made[user]}/roles/{roles[role]}"
        caller.ask("PUT", path, admin).raise_for_status()
    return made["alice"], made["work"]


def checks(keystone: Keystone, caller: Caller, state: Path, alice: str) -> Iterator[tuple[str, bool]]:
    """What must hold, in this order."""
    alices = caller.token("alice", "alicepw", "work")
    yield "a token of Keystone lists servers", caller.servers(alices) == 200
    yield "a forged one does not", caller.servers("forged") == 401
    yield "without a project nothing is listed", caller.lists_nothing(caller.token("alice", "alicepw"))
    yield "identity is not served here", caller.http.get(f"{caller.cloud}/identity/v3").status_code == 404
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers/detail"}]
    body = {"application_credential": {"name": "robot", "access_rules": rules}}
    made = caller.ask("POST", f"/users/{alice}/application_credentials", alices, body).json()["application_credential"]
    proof = {"id": made["id"], "secret": made["secret"]}
    identity = {"methods": ["application_credential"], "application_credential": proof}
    answer = caller.http.post(f"{caller.keystone}/v3/auth/tokens", json={"auth": {"identity": identity}})
    robots = answer.headers["x-subject-token"]
    yield "an access rule lets through", caller.servers(robots, "/compute/v2.1/servers/detail") == 200
    yield "and nothing else", caller.servers(robots) == 401
    yield (
        "a service may hand on a user's token",
        (caller.servers(alices, x_service_token=caller.token("kilonova", "kilonovapw", "service")) == 200),
    )
    yield "a user may not pose as a service", caller.servers(alices, x_service_token=alices) == 401
    told = subprocess.run([KILONOVA, "doctor", "--state", state], capture_output=True, text=True, timeout=60)
    yield "the cloud's own commands sign in there", "All is well" in told.stdout
    caller.ask("DELETE", "/auth/tokens", alices, **{"x-subject-token": alices}).raise_for_status()
    time.sleep(10.5)
    yield "a revoked token ends within 10 s", caller.servers(alices) == 401
    fresh = caller.token("alice", "alicepw", "work")
    keystone.stop()
    yield "without Keystone: 503", caller.servers(fresh, patient=False) == 503
    keystone.start()
    yield "and well again after it", caller.servers(fresh) == 200


def main() -> int:
    """Print what holds."""
    folder = venv.make("keystone", *PACKAGES)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="keystone-") as name:
        place = Path(name)
        keystone = Keystone(folder, place / "keystone")
        keystone.start()
        try:
            caller = Caller(keystone.url, "")
            alice, _ = people(caller, caller.token("admin", PASSWORD, "admin"))
            with cloud(place / "cloud", keystone.url) as address:
                caller.cloud = address
                for told, holds in checks(keystone, caller, place / "cloud", alice):
                    failed += not holds
                    sys.stdout.write(f"{'ok  ' if holds else 'FAIL'} {told}\n")
                    sys.stdout.flush()
        finally:
            keystone.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
