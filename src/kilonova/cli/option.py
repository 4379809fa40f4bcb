"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def default_state() -> Path:
    """Where state lies when nobody says: KILONOVA_STATE, else the system's or the user's place for it."""
    if given := os.environ.get("KILONOVA_STATE"):
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/lib/kilonova")
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "kilonova"


def state_option(function: F) -> F:
    """`--state DIR`."""
    option = click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_state,
        help="The cloud's directory. [default: $KILONOVA_STATE, /var/lib/kilonova, or ~/.local/share/kilonova]",
    )
    return option(function)
