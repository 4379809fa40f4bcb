"""What happened to a server, from one place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from kilonova.cli.client import Client
from kilonova.cli.option import state_option


@click.command("story")
@state_option
@click.argument("server")
def command(state: Path, server: str) -> None:
    """Tell every operation on SERVER (name or id; also a deleted one by id): steps, hosts, retries, reasons."""
    client = Client(state.resolve())
    server_id = server if _is_id(server) else client.find_server(server)["id"]
    story = client.get(f"/kilonova/v1/servers/{server_id}/story")
    for operation in story["operations"]:
        _tell(operation)


def _is_id(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4


def _tell(operation: dict[str, Any]) -> None:
    outcome = operation["outcome"]
    took = ""
    if operation["finished_at"]:
        took = f" in {(operation['finished_at'] - operation['started_at']) / 1e6:.2f} s"
    click.echo(
        f"{_time(operation['started_at'])}  {operation['action']}: {outcome}{took}   ({operation['request_id']})"
    )
    for event in operation["events"]:
        seconds = (event["finished_at"] - event["started_at"]) / 1e6
        what = f"undo {event['step']}" if event["undo"] else event["step"]
        tries = f", {event['attempts']} tries" if event["attempts"] > 1 else ""
        where = f" on {event['host']}" if event["host"] else ""
        why = f": {event['details']}" if event["details"] else ""
        click.echo(f"    {what:<14} {event['result']:<8} {seconds:8.3f} s{tries}{where}{why}")
    if operation["error"]:
        click.echo(f"    ended with: {operation['error']['message']}")


def _time(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
