"""Images on the operator's side."""

from __future__ import annotations

from pathlib import Path

import click

from kilonova.cli.option import default_state
from kilonova.cli.report import Event, Report
from kilonova.core.errors import Unavailable


@click.group("image")
def command() -> None:
    """Work with images."""


@command.command("build-guest")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("kilonova-guest.qcow2"))
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), help="Where packages are kept.")
def build_guest(output: Path, work: Path | None) -> None:
    """Build the small guest image from Debian packages."""
    from kilonova.guestimage.build import build
    from kilonova.guestimage.program import GuestImageError

    report = Report()
    place = work or default_state() / "guest"
    place.mkdir(parents=True, exist_ok=True)
    try:
        build(output, place, lambda text, part: report.show(Event(kind="progress", text=text, fraction=part)))
    except GuestImageError as error:
        raise Unavailable(str(error)) from error
    report.show(Event(kind="done", text=""))
    click.echo(f"{output} ({output.stat().st_size / 1e6:.1f} MB)")
