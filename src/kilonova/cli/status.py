"""The cloud at a glance."""

from __future__ import annotations

from pathlib import Path

import click

from kilonova.cli.client import Client
from kilonova.cli.option import state_option


@click.command("status")
@state_option
def command(state: Path) -> None:
    """Show hosts, servers by status, and the operations in hand."""
    from rich.console import Console
    from rich.table import Table

    client = Client(state.resolve())
    status = client.get("/kilonova/v1/status")
    console = Console()
    console.print(f"kilonova {status['version']} at {client.endpoint}")
    table = Table("host", "state", "vCPUs", "memory (MiB)", "disk (GiB)")
    for host in status["hosts"]:
        state_text = ("up" if host["up"] else "down") + ("" if host["enabled"] else ", disabled")
        table.add_row(
            host["name"],
            state_text,
            *(f"{host[k]['used']} / {host[k]['capacity']}" for k in ("vcpus", "memory_mb", "disk_gb")),
        )
    console.print(table)
    servers = ", ".join(f"{count} {phase}" for phase, count in sorted(status["servers"].items())) or "none"
    console.print(f"servers: {servers}")
    console.print(
        f"operations under way: {status['operations']}, guests that hosts still have to clear: {status['debts']}"
    )
