"""Looking for anything that should not be there."""

from __future__ import annotations

from pathlib import Path

import click

from kilonova.cli.client import Client
from kilonova.cli.option import state_option


@click.command("doctor")
@state_option
def command(state: Path) -> None:
    """Ask rows and nodes, and name every orphan and every disagreement. Ends with 1 when there is any."""
    findings = Client(state.resolve()).post("/kilonova/v1/doctor", {})["findings"]
    for finding in findings:
        where = f" on {finding['host']}" if finding["host"] else ""
        click.echo(f"{finding['kind']} {finding['id']}{where}: {finding['problem']}. {finding['remedy']}")
    click.echo(f"{len(findings)} findings" if findings else "All is well: rows and hosts agree")
    if findings:
        raise SystemExit(1)
