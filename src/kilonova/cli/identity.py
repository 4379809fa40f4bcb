"""Looking after identity's keys."""

from __future__ import annotations

from pathlib import Path

import click

from kilonova.cli.option import state_option


@click.group("identity")
def command() -> None:
    """Look after identity's keys."""


@command.command("rotate-keys")
@state_option
@click.option(
    "--max-active-keys",
    type=click.IntRange(2, 100),
    default=3,
    show_default=True,
    help="How many keys stay. Tokens last as long as the key that made them.",
)
def rotate_keys(state: Path, max_active_keys: int) -> None:
    """Make the staged token key the primary one, stage a new one and drop the oldest. A cloud that runs sees it within
    5 seconds; until then it reads what the new key makes, because that was staged before."""
    from kilonova.cloud.identity.key import KeyRing
    from kilonova.core.errors import NotFound
    from kilonova.state import StateDir

    directory = StateDir(state.resolve())
    if not directory.keys.is_dir():
        raise NotFound(f"There is no cloud in {state}")
    ring = KeyRing(directory.keys)
    ring.rotate(max_active_keys)
    primary, *others = ring.numbers
    click.echo(f"Key {primary} is primary; {len(others)} others still count")
