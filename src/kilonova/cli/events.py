"""What happens to servers, as it happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from kilonova.cli.client import Client
from kilonova.cli.option import state_option


@click.command("events")
@state_option
@click.option("--server", help="Only of this server (name or id).")
@click.option("--after", type=click.IntRange(min=0), help="Begin after the event of this id (kept for 24 hours).")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many events.")
def command(state: Path, server: str | None, after: int | None, limit: int | None) -> None:
    """Tell what happens to servers of all projects, one line an event, until it is interrupted."""
    query = {"all_projects": "1"}
    if server is not None:
        query["server_id"] = Client(state.resolve()).find_server(server)["id"]
    for count, event in enumerate(_follow(state.resolve(), query, after), 1):
        _tell(event)
        if count == limit:
            return


def _follow(state: Path, query: dict[str, str], last: int | None) -> Iterator[dict[str, Any]]:
    """Every event; a stream that ends, as it does with its token, goes on in a new one."""
    while True:
        began = time.monotonic()
        headers = {} if last is None else {"last-event-id": str(last)}
        kind = ""
        for line in Client(state).lines("/kilonova/v1/events", headers, **query):
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                last = int(value)
            elif name == "data":
                yield {"id": last, "kind": kind, **json.loads(value)}
        if time.monotonic() - began < 1:
            return


def _tell(event: dict[str, Any]) -> None:
    if event["kind"] == "lost":
        click.echo(f"some events after {event['after']} are not kept any more")
        return
    at = datetime.fromtimestamp(event["at"] / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    what = f"{event['before']} → {event['phase']}" if "before" in event else event["phase"]
    changed = f" ({', '.join(event['changed'])})" if "changed" in event else ""
    where = f" on {event['host']}" if event.get("host") else ""
    why = f": {event['fault']}" if "fault" in event else ""
    click.echo(f"{at}  {event['id']}  {event['server_id']}  {event['kind']:<14} {what}{changed}{where}{why}")
