"""A real cloud for the tests: guests on QEMU through libvirt, asked over HTTP, looked at from inside and outside."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from daemon import Caller, Daemon, wait
from kilonova.node.driver.net.name import Naming

READY = re.compile(
    r"KILONOVA READY instance=(?P<instance>\S+) boot=(?P<boot>[0-9a-f-]{36}) hostname=(?P<hostname>\S+)"
    r" source=(?P<source>\S+) addresses=(?P<addresses>\S*) keys=(?P<keys>\d+) uptime=(?P<uptime>[0-9.]+)"
)
BOOT_SECONDS = 150.0
Server = dict[str, Any]
SSH = (
    "-oBatchMode=yes", "-oUserKnownHostsFile=/dev/null", "-oStrictHostKeyChecking=no", "-oConnectTimeout=20",
    "-oLogLevel=ERROR",
)  # fmt: skip


class RealCloud:
    """One cloud of the user's. `tell` takes a line for the log about each guest that booted."""

    def __init__(self, state: Path, environ: dict[str, str], tell: Callable[[str], None]) -> None:
        self.daemon = Daemon(state, environ=environ)
        self.state = state
        self._tell = tell
        self.api = self.daemon.up()
        # Ready means that servers can be placed, also where libvirtd itself has only just come up.
        assert [host["up"] for host in self.api.get("/kilonova/v1/status")["hosts"]] == [True]
        self.cloud_id = self.daemon.cloud_id
        self.naming = Naming(self.cloud_id)
        self.disks = state / "node" / "block" / "disks"
        self._key = state / "ssh" / "id_ed25519"
        self._make_key()

    def _make_key(self) -> None:
        self._key.parent.mkdir(mode=0o700, exist_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tester", "-f", str(self._key))
        public = self._key.with_suffix(".pub").read_text().strip()
        self.api.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "tester", "public_key": public}})

    def restart(self, sudden: bool = False, meanwhile: Callable[[], object] | None = None) -> Caller:
        """The daemon ends, something happens, and it starts again."""
        if sudden:
            self.daemon.kill()
        else:
            self.daemon.down()
        if meanwhile:
            meanwhile()
        self.api = self.daemon.up()
        return self.api

    def create(self, name: str, user_data: str = "", **more: object) -> Server:
        """Ask for a guest; nothing is waited for."""
        server = {
            "name": name,
            "imageRef": self.api.image_id(),
            "flavorRef": self.api.flavor_id(),
            "networks": [{"uuid": self.api.network_id("private")}],
            "key_name": "tester",
            **({"user_data": base64.b64encode(user_data.encode()).decode()} if user_data else {}),
            **more,
        }
        found = self.api.post("/compute/v2.1/servers", {"server": server})["server"]
        return dict(found)

    def boot(self, name: str, user_data: str = "", **more: object) -> Server:
        """A guest that has said READY."""
        server = self.create(name, user_data, **more)
        self.wait_ready(server)
        return self.api.wait_status(server["id"], "ACTIVE")

    def console(self, server: Server) -> str:
        return str(self.api.act(server["id"], "os-getConsoleOutput", {})["output"])

    def boots(self, server: Server) -> list[dict[str, str]]:
        """What the guest's boots said when they were ready, as far as its console reaches back."""
        return [m.groupdict() for m in READY.finditer(self.console(server)) if m["instance"] == server["id"]]

    def wait_ready(self, server: Server, after: dict[str, str] | None = None) -> dict[str, str]:
        """What the guest says when it is ready, in a later boot than `after`."""
        self.api.wait_status(server["id"], "ACTIVE", BOOT_SECONDS)

        def look() -> dict[str, str] | None:
            said = self.boots(server)[-1:]
            return said[0] if said and said[0] != after else None

        ready = wait(look, BOOT_SECONDS, lambda: self.console(server)[-3000:], 0.5)
        words = " ".join(f"{name}={value}" for name, value in ready.items())
        self._tell(f"guest: domain {server['id']} KILONOVA READY {words}")
        return ready

    def ssh(self, server: Server, command: str) -> str:
        """As the user does: `kilonova ssh`."""
        return self.daemon.run("ssh", server["id"], command, timeout=60).strip()

    def ssh_directly(self, server: Server, command: str, *, check: bool = True) -> str:
        """The same without the cloud, which may be down."""
        (address,) = (a["addr"] for nics in server["addresses"].values() for a in nics)
        namespace = self.namespace("private")
        line = ["ssh", "-F", "none", "-i", str(self._key), *SSH, f"root@{address}", command]
        return inside(namespace, *line, check=check)

    def namespace(self, network: str) -> str:
        """The namespace of a network, found without the cloud when there is only one candidate."""
        if not hasattr(self, "_namespaces"):
            self._namespaces: dict[str, str] = {}
        if network not in self._namespaces:
            self._namespaces[network] = self.naming.network_namespace(self.api.network_id(network))
        return self._namespaces[network]

    def domain(self, server: Server) -> str:
        return f"kn-{self.cloud_id}-{server['id']}"

    def qemu(self, server: Server) -> int:
        """The process of the guest."""
        return int(Path(f"/run/libvirt/qemu/{self.domain(server)}.pid").read_text())

    def delete(self, server: Server) -> None:
        self.api.delete(f"/compute/v2.1/servers/{server['id']}")
        self.api.wait_gone(server["id"])

    def traces(self, server: Server) -> list[str]:
        """Everything on this machine that bears the server's id."""
        ports = nft_names(self.naming.table)
        found = [name for name in domains() if server["id"] in name]
        found += [str(path) for path in self.state.joinpath("node").rglob(f"*{server['id']}*")]
        found += [str(path) for place in PLACES for path in Path(place).rglob(f"*{server['id']}*")]
        found += [name for name in ports if any(port in name for port in server.get("ports", ()))]
        return [*found, *processes(server["id"])]


PLACES = ("/run/libvirt", "/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/run/kilonova")


def leftovers(cloud_id: str, state: Path) -> list[str]:
    """Everything on this machine that bears the cloud's id.

    Domains show by libvirt's own files (running ones in /run, defined ones in /etc): libvirtd may have gone with the
    last cloud that needed it.
    """
    found = [f"namespace {line}" for line in run("ip", "netns", "list").splitlines() if cloud_id in line]
    found += [line for line in run("ip", "-o", "link").splitlines() if re.search(rf" k[a-z]{cloud_id}", line)]
    found += [f"nft {line}" for line in run("nft", "list", "tables").splitlines() if cloud_id in line]
    found += [
        str(path) for place in (*PLACES, "/var/lib/kilonova-nodes") for path in Path(place).rglob(f"*{cloud_id}*")
    ]
    found += [str(path) for path in state.parent.glob(f"{state.name}*")]
    return [*found, *processes(f"/{cloud_id}/"), *processes(str(state)), *processes(f"kn-{cloud_id}")]


def processes(words: str) -> list[str]:
    """Processes whose command line contains the words."""
    return list(_matching(words))


def _matching(words: str) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if words in line:
                yield f"process {entry.name} {line[:200]}"


def domains() -> list[str]:
    return run("virsh", "-c", "qemu:///system", "list", "--all", "--name").split()


def virsh(*arguments: str) -> str:
    return run("virsh", "-c", "qemu:///system", *arguments)


def nft_names(table: str) -> list[str]:
    """The names of chains in the cloud's bridge table."""
    items = json.loads(run("nft", "-j", "list", "table", "bridge", table))["nftables"]
    return [item["chain"]["name"] for item in items if "chain" in item]


def run(*argv: str, check: bool = True, timeout: float = 60.0) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
    assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout.strip()


def inside(namespace: str, *argv: str, check: bool = True) -> str:
    """What a command says inside a network namespace."""
    return run("ip", "netns", "exec", namespace, *argv, check=check)


def within(seconds: float, condition: Callable[[], object], story: Callable[[], str]) -> float:
    """The seconds until the condition held."""
    began = time.monotonic()
    wait(condition, seconds, story, pause=0.1)
    return time.monotonic() - began
