"""Preparing a machine to be a host, and taking hosts out of use."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import click

from kilonova.cli.client import Client
from kilonova.cli.option import state_option
from kilonova.cli.report import Event, Report
from kilonova.core.errors import NotFound, Unavailable


@click.group("host")
def command() -> None:
    """Prepare this machine; drain, disable and enable hosts."""


@command.command("prepare")
def prepare() -> None:
    """Install the Debian packages that a host needs and does not have yet."""
    from kilonova.compose.package import EXTRA, fetch_novnc, missing_programs

    missing = missing_programs()
    if not missing:
        click.echo("Nothing is missing")
    elif os.geteuid() != 0:
        raise Unavailable(f"Installing {', '.join(missing)} needs root: sudo kilonova host prepare")
    else:
        _install([*missing, *EXTRA])
    if not fetch_novnc():
        click.echo(
            "noVNC could not be fetched: consoles in browsers are missing until 'kilonova host prepare' finds it"
        )


@command.command("drain")
@click.argument("host")
@click.option("--reason", default="", help="Why, for those who list hosts.")
@click.option("--wait/--no-wait", default=True, help="Show how far it is until it ends.")
@state_option
def drain(host: str, reason: str, wait: bool, state: Path) -> None:
    """Take HOST out of scheduling and move its servers away; again shows how far that is."""
    client = Client(state.resolve())
    path = f"/kilonova/v1/hosts/{host}/drain"
    found: dict[str, Any] = client.post(path, {"reason": reason} if reason else {})
    if wait:
        found = _follow(client, path, found)
    click.echo(f"{host}: {found['state']}, {found['left']} of {found['total']} servers are there still")
    for one in found["failed"]:
        click.echo(f"  {one['id']}  {one['reason']}")
    if found["state"] == "failed":
        raise Unavailable(f"Not every server could leave {host}. Move or delete those by hand, then drain it again")


def _follow(client: Client, path: str, found: dict[str, Any]) -> dict[str, Any]:
    report = Report()
    report.show(Event(kind="step", text=f"Draining {found['host']}"))
    while found["state"] == "running":
        done = max(0, found["total"] - found["left"])
        text = f"{done} of {found['total']} servers have left"
        report.show(Event(kind="progress", text=text, fraction=done / max(found["total"], 1)))
        time.sleep(1)
        found = client.get(path)
    report.show(Event(kind="done", text="drained"))
    return found


@command.command("enable")
@click.argument("host")
@state_option
def enable(host: str, state: Path) -> None:
    """Let HOST take new servers again."""
    _switch(state, host, {"status": "enabled"})
    click.echo(f"{host} takes servers again")


@command.command("disable")
@click.argument("host")
@click.option("--reason", default="", help="Why, for those who list hosts.")
@state_option
def disable(host: str, reason: str, state: Path) -> None:
    """Let HOST take no new servers; those that it has stay."""
    _switch(state, host, {"status": "disabled", **({"disabled_reason": reason} if reason else {})})
    click.echo(f"{host} takes no new servers")


def _switch(state: Path, host: str, change: dict[str, str]) -> None:
    client = Client(state.resolve())
    found = client.get("/compute/v2.1/os-services", binary="nova-compute", host=host)["services"]
    if not found:
        raise NotFound(f"There is no host {host}")
    client.put(f"/compute/v2.1/os-services/{found[0]['id']}", change)


def _install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (
        ["apt-get", "-q", "update"],
        ["apt-get", "-q", "-y", "install", "--no-install-recommends", *packages],
    ):
        if subprocess.run(argv, env=environment, check=False).returncode:
            raise Unavailable(f"{' '.join(argv)} failed")
