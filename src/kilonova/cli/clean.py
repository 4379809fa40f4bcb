"""Removing every trace of a cloud."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from kilonova.cli.down import stop
from kilonova.cli.option import state_option
from kilonova.core.errors import Unavailable
from kilonova.state import StateDir


@click.command("clean")
@state_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(state: Path, yes: bool) -> None:
    """Remove every trace of the cloud from this machine: guests, disks, networks, processes, files. Only its own."""
    directory = StateDir(state.resolve())
    if not (directory.root / "cloud-uuid").exists():
        click.echo(f"There is no cloud in {state}")
        return
    if not yes:
        click.confirm(f"Remove the cloud in {state} with all its guests and disks?", abort=True)
    cloud_id = directory.prepare()
    stop(directory)
    for line in _clean_host(cloud_id, directory):
        click.echo(f"removed {line}")
    if left := directory.remove():
        click.echo(f"left in {directory.root}, not made by kilonova: {', '.join(left[:10])}")
    else:
        click.echo(f"removed {directory.root}")


def _clean_host(cloud_id: str, state: StateDir) -> list[str]:
    """What lies outside the state directory; a cloud of simulated hosts has nothing there."""
    if not (state.root / "hosts" / "0").exists():
        return []
    if os.geteuid() != 0:
        raise Unavailable("This cloud has real guests and networks: run `kilonova clean` as root")
    from kilonova.compose.clean import clean_host
    from kilonova.node.driver.failure import DriverError

    note = state.node_note
    place = Path(note.read_text().strip()) if note.exists() else state.root / "node"
    try:
        return asyncio.run(clean_host(cloud_id, place))
    except DriverError as error:
        raise Unavailable(f"{error.message}. Nothing more was removed; run it again when that is mended.") from error
