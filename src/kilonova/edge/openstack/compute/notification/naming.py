"""Which notifications an event is (Nova's reference "Available versioned notifications")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kilonova.cloud.event.model import CHANGED, CREATED, DELETED, Event
from kilonova.cloud.event.model import EXISTS as EXISTED
from kilonova.cloud.server.phase import ACTS

UPDATE: Final = "instance.update"
CREATE: Final = "instance.create"
EXISTS: Final = "instance.exists"

_ACTIONS: Final[Mapping[str, str]] = {
    "starting": "power_on", "stopping": "power_off", "rebooting": "reboot", "resetting": "reboot", "pausing": "pause",
    "unpausing": "unpause", "suspending": "suspend", "resuming": "resume", "rescuing": "rescue",
    "unrescuing": "unrescue", "rebuilding": "rebuild", "resizing": "resize", "confirming": "resize_confirm",
    "reverting": "resize_revert", "shelving": "shelve", "unshelving": "unshelve", "soft_deleting": "soft_delete",
    "restoring": "restore", "attaching": "interface_attach", "detaching": "interface_detach",
}  # fmt: skip
"""Nova's action by what a server is doing. Images, and moves of running servers, have none here."""

_ERRORS: Final = frozenset({"reboot", "rebuild", "resize", "interface_attach"})
"""Actions whose failure has a notification of its own."""


def event_types(event: Event) -> list[str]:
    """The event types, in the order in which they are sent."""
    if event.kind == CREATED:
        return [f"{CREATE}.start"]
    if event.kind == DELETED:
        return ["instance.delete.end"]
    if event.kind == EXISTED:
        return [EXISTS]
    if event.kind == CHANGED:
        return _changed(event)
    action = _action(event)
    return [UPDATE, action] if action else [UPDATE]


def _changed(event: Event) -> list[str]:
    changed = set(event.body["changed"])
    lock = ["instance.lock" if event.body.get("locked") else "instance.unlock"] if "locked" in changed else []
    return [*lock, UPDATE] if changed - {"locked", "locked_reason"} else lock or [UPDATE]


def _action(event: Event) -> str | None:
    """What begins or ends with a change of state; None where Nova tells of nothing but the change."""
    move, before, phase = event.body["event"], event.body["before"], event.body["phase"]
    if move in ACTS:
        if move == "evacuate":
            return "instance.evacuate"
        action = _ACTIONS.get(ACTS[move][0])
        return f"instance.{action}.start" if action else None
    if move == "delete":
        return "instance.delete.start"
    if before.startswith("building"):
        return {"run": f"{CREATE}.end", "fail": f"{CREATE}.error"}.get(move)
    action = _ACTIONS.get(before.partition(".")[2])
    if action is None or "." in phase or move.startswith("set "):
        return None
    if "fault" in event.body:
        return f"instance.{action}.error" if action in _ERRORS else None
    return f"instance.{action}.end"
