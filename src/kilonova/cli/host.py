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
    from kilonova.compose.package import EXTRA, missing_programs

    missing = missing_programs()
    if not missing:
        click.echo("Nothing is missing")
        return
    if os.geteuid() != 0:
        raise Unavailable(f"Installing {', '.join(missing)} needs root: sudo kilonova host prepare")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (
        ["apt-get", "-q", "update"],
        ["apt-get", "-q", "-y", "install", "--no-install-recommends", *missing, *EXTRA],
    ):
        if subprocess.run(argv, env=environment, check=False).returncode:
            raise Unavailable(f"{' '.join(argv)} failed")
