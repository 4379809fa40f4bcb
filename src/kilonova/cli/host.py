"""Preparing a machine to be a host."""

from __future__ import annotations

import os
import subprocess

import click

from kilonova.core.errors import Unavailable


@click.group("host")
def command() -> None:
    """Prepare this machine."""


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


def _install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (
        ["apt-get", "-q", "update"],
        ["apt-get", "-q", "-y", "install", "--no-install-recommends", *packages],
    ):
        if subprocess.run(argv, env=environment, check=False).returncode:
            raise Unavailable(f"{' '.join(argv)} failed")
