"""Why a server would, or would not, find a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kilonova.cli.client import Client
from kilonova.cli.option import state_option


@click.command("explain")
@state_option
@click.option("--flavor", required=True, help="Name or id.")
@click.option("--zone", help="Availability zone.")
@click.option("--host", help="Only this host.")
def command(state: Path, flavor: str, zone: str | None, host: str | None) -> None:
    """Say where a server of FLAVOR would go now, and what removed the other hosts. Nothing is created."""
    client = Client(state.resolve())
    wanted: dict[str, Any] = {"flavor": flavor}
    wanted.update({k: v for k, v in (("zone", zone), ("host", host)) if v is not None})
    told = client.post("/kilonova/v1/explain", wanted)
    click.echo(f"{told['considered']} hosts considered")
    for reason in told["reasons"]:
        near = f" (nearest miss: {reason['nearest']})" if reason.get("nearest") else ""
        click.echo(f"  {reason['constraint']:<20} removed {reason['removed']}{near}")
    hosts = told.get("hosts") or []
    click.echo(
        f"it would go to {hosts[0]}" if hosts else "it would fit nowhere" if not told["fits"] else "it would fit"
    )
    if not told["fits"]:
        raise SystemExit(1)
