"""Stopping the cloud."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click

from kilonova.cli.option import state_option
from kilonova.core.errors import Unavailable
from kilonova.state import StateDir

PATIENCE = 30.0


@click.command("down")
@state_option
def command(state: Path) -> None:
    """Stop the cloud. Guests that run go on running; disks are kept; `kilonova up` adopts everything again."""
    click.echo("kilonova is stopped" if stop(StateDir(state.resolve())) else "kilonova does not run")


def stop(state: StateDir) -> bool:
    """End the process that serves from `state`; False when none does. Raises Unavailable when it does not end."""
    pid = state.running()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    if not is_freed(state, PATIENCE):
        raise Unavailable(f"Process {pid} does not end; look at {state.log_file}, then: kill -9 {pid}")
    return True


def is_freed(state: StateDir, patience: float) -> bool:
    """Whether within `patience` seconds no process holds `state` any more."""
    deadline = time.monotonic() + patience
    while state.held():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
