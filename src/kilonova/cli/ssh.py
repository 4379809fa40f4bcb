"""Logging in to a server, through the namespace of its network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from kilonova.cli.client import Client
from kilonova.cli.option import state_option
from kilonova.core.errors import Failure, Unavailable
from kilonova.node.driver.net.name import Naming

NAMESPACES: Final = Path("/run/netns")


@click.command("ssh", context_settings={"ignore_unknown_options": True})
@state_option
@click.option("-i", "--identity", type=click.Path(path_type=Path, exists=True), help="[default: STATE/ssh/id_ed25519]")
@click.option("-l", "--login", default="root", show_default=True)
@click.argument("server")
@click.argument("command_line", metavar="[COMMAND]...", nargs=-1, type=click.UNPROCESSED)
def command(state: Path, identity: Path | None, login: str, server: str, command_line: tuple[str, ...]) -> None:
    """Log in to SERVER (name or id) by ssh, or run COMMAND there."""
    client = Client(state.resolve())
    found = client.find_server(server)
    network_id, address = _where(client, found)
    namespace = Naming(client.state.prepare()).network_namespace(network_id)
    if not (NAMESPACES / namespace).exists():
        raise Unavailable(f"The network of {server} is not on this machine; simulated guests have none to log in by")
    key = identity or client.state.root / "ssh" / "id_ed25519"
    if os.geteuid() != 0:
        raise Unavailable(f"Entering the network of {server} needs root: sudo kilonova ssh {server} --state {state}")
    argv = ["ip", "netns", "exec", namespace, "ssh", "-i", str(key), "-o", "IdentitiesOnly=yes"]
    argv += ["-o", f"HostKeyAlias={_system(found)}", "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR"]
    argv += ["-o", f"UserKnownHostsFile={client.state.root / 'ssh' / 'known_hosts'}", "-o", "ConnectTimeout=20"]
    os.execvp("ip", [*argv, f"{login}@{address}", *command_line])  # noqa: S606


def _system(server: dict[str, Any]) -> str:
    """What host keys are remembered for. Guests come and go at the same addresses, a rebuild makes a server another
    system, and each rescue is one of its own."""
    since = server["OS-SRV-USG:launched_at"] or ""
    name = f"{server['id']}-{since}" + (f"-rescue-{server['updated']}" if server["status"] == "RESCUE" else "")
    return name.replace(":", "")


def _where(client: Client, server: dict[str, Any]) -> tuple[str, str]:
    """Network and address of the server's first NIC that has one."""
    ports = client.get("/network/v2.0/ports", device_id=server["id"])["ports"]
    for port in ports:
        for fixed in port["fixed_ips"]:
            return port["network_id"], fixed["ip_address"]
    raise Failure(f"Server {server['name']} has no address")
