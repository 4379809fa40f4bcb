"""The first server: boots it, waits until the guest itself says that it is ready, and shows it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from kilonova.cli.client import Client
from kilonova.cli.option import state_option
from kilonova.cli.report import Event, Report
from kilonova.core.errors import Expired, Failure

READY: Final = re.compile(r"^KILONOVA READY instance=(\S+).*$", re.MULTILINE)
PATIENCE: Final = 180.0
TYPICAL: Final = 20.0


@click.command("hello")
@state_option
@click.option("--name", default="hello", show_default=True)
def command(state: Path, name: str) -> None:
    """Boot a first server and show that it lives. Run again, the one that is there is shown."""
    client = Client(state.resolve())
    report = Report()
    server = _find(client, name)
    stale: str | None = None
    if server is None:
        report.show(Event(kind="step", text=f"Booting the server {name}"))
        server = _create(client, name)
    elif server["status"] == "SHUTOFF":
        report.show(Event(kind="step", text=f"Starting the server {name}"))
        stale = _ready_line(client, server["id"])
        client.post(f"/compute/v2.1/servers/{server['id']}/action", {"os-start": None})
    server, ready = _wait(client, server["id"], report, stale)
    _show(client, server, ready)


def _find(client: Client, name: str) -> dict[str, Any] | None:
    found = client.get("/compute/v2.1/servers/detail", name=f"^{name}$")["servers"]
    return next((dict(s) for s in found if s["name"] == name), None)


def _create(client: Client, name: str) -> dict[str, Any]:
    (image, *_) = client.get("/image/v2/images", name="kilonova-guest", status="active")["images"]
    flavors = client.get("/compute/v2.1/flavors")["flavors"]
    flavor = next(f for f in flavors if f["name"] == "m1.nano")
    body = {
        "name": name,
        "imageRef": image["id"],
        "flavorRef": flavor["id"],
        "key_name": _key(client),
        "networks": [{"uuid": _network(client)}],
    }
    return dict(client.post("/compute/v2.1/servers", {"server": body})["server"])


def _network(client: Client) -> str:
    (network, *_) = client.get("/network/v2.0/networks", name="private")["networks"]
    return str(network["id"])


def _key(client: Client) -> str:
    """The key pair `kilonova`, whose private half lies in the state directory."""
    private = client.state.root / "ssh" / "id_ed25519"
    if not private.exists():
        private.parent.mkdir(mode=0o700, exist_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kilonova", "-f", str(private)]
        subprocess.run(argv, check=True)
    known = [k["keypair"]["name"] for k in client.get("/compute/v2.1/os-keypairs")["keypairs"]]
    if "kilonova" not in known:
        public = private.with_suffix(".pub").read_text().strip()
        client.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "kilonova", "public_key": public}})
    return "kilonova"


def _wait(client: Client, server_id: str, report: Report, stale: str | None) -> tuple[dict[str, Any], str]:
    """Until the guest says READY, other than `stale` (of an earlier boot).

    Raises Failure with the fault when the server fails, Expired when time is up.
    """
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        server = client.get(f"/compute/v2.1/servers/{server_id}")["server"]
        if server["status"] == "ERROR":
            raise Failure(f"The server failed: {server.get('fault', {}).get('message', 'no reason given')}")
        if server["status"] == "ACTIVE":
            if (line := _ready_line(client, server_id)) and line != stale:
                report.show(Event(kind="progress", text="The guest is ready", fraction=1.0))
                report.show(Event(kind="done", text=""))
                return server, line
            elapsed = time.monotonic() - began
            report.show(Event(kind="progress", text="The guest is starting", fraction=min(0.95, elapsed / TYPICAL)))
        time.sleep(0.3)
    raise Expired(f"The guest did not say that it is ready within {PATIENCE:g} s; see its console and `kilonova story`")


def _ready_line(client: Client, server_id: str) -> str | None:
    found = [m for m in READY.finditer(_console(client, server_id)) if m.group(1) == server_id]
    return found[-1].group(0) if found else None


def _console(client: Client, server_id: str) -> str:
    answer = client.post(f"/compute/v2.1/servers/{server_id}/action", {"os-getConsoleOutput": {}})
    return str(answer["output"])


def _show(client: Client, server: dict[str, Any], ready: str) -> None:
    root = shlex.quote(str(client.state.root))
    addresses = ", ".join(a["addr"] for nics in server["addresses"].values() for a in nics)
    tail = "\n".join(f"  | {line}" for line in _console(client, server["id"]).rstrip().splitlines()[-6:])
    click.echo(f"\nServer    {server['name']} ({server['id']})")
    click.echo(f"Status    {server['status']}, {addresses or 'no network'}")
    click.echo(f"Guest     {ready}")
    click.echo(f"Console\n{tail}\n")
    click.echo(f"Endpoint  {client.endpoint}")
    click.echo(f"Accounts  {root}/openrc, {root}/clouds.yaml (admin and demo)\n")
    own = _command("kilonova")
    click.echo("Try next:")
    click.echo(f"  {own} ssh {server['name']} --state {root}")
    click.echo(f"  {own} story {server['name']} --state {root}")
    click.echo(f"  . {root}/openrc; {_command('openstack')} server list")


def _command(name: str) -> str:
    """How to call a program: by its name when that finds the one beside this Python, else by its path."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() and shutil.which(name) != str(beside) else name
