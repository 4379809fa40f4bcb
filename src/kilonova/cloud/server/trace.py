"""What changes of a server's row leave behind for those who watch: events, in the transaction of the change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kilonova.cloud.event import store as events
from kilonova.cloud.event.model import CHANGED, CREATED, DELETED, EXISTS, STATE
from kilonova.cloud.server.model import Server
from kilonova.kit.db import Tx

_TOLD: Final = (
    "name", "description", "hostname", "metadata", "tags", "locked", "locked_reason", "power", "nics", "access_ip4",
    "access_ip6",
)  # fmt: skip
"""What a change that is not of state is told of; the rest is how the cloud works."""


def created(tx: Tx, new: Sequence[Server]) -> None:
    """Servers were accepted."""
    events.add(tx, CREATED, [(s.project_id, s.id) for s in new], [_body(s) for s in new])


def moved(tx: Tx, before: Server, after: Server, event: str) -> None:
    """A server's phase changed; nothing is told when it did not."""
    if before.phase == after.phase:
        return
    body = {**_body(after), "before": before.phase, "event": event}
    if after.fault and after.fault != before.fault:
        body["fault"] = after.fault["message"]
    events.add(tx, STATE, [(after.project_id, after.id)], [body])


def edited(tx: Tx, before: Server, after: Server) -> None:
    """Something else of a server changed."""
    changed = [name for name in _TOLD if getattr(before, name) != getattr(after, name)]
    if changed:
        body = {**_body(after), "changed": changed}
        if "name" in changed:
            body["old_name"] = before.name
        if "locked" in changed:
            body["locked"] = after.locked
        events.add(tx, CHANGED, [(after.project_id, after.id)], [body])


def buried(tx: Tx, before: Server, after: Server) -> None:
    """A server is gone."""
    events.add(tx, DELETED, [(after.project_id, after.id)], [{**_body(after), "before": before.phase}])


def audited(tx: Tx, servers: Sequence[Server], begin: int, end: int) -> None:
    """Servers were there in a period that is over (µs)."""
    bodies = [{**_body(s), "period": [begin, end]} for s in servers]
    events.add(tx, EXISTS, [(s.project_id, s.id) for s in servers], bodies)


def _body(server: Server) -> dict[str, Any]:
    return {"phase": server.phase, "power": server.power, "host": server.host_name}
