"""Server phases in Nova's words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from kilonova.cloud.server.phase import MACHINE, RESTING, resting
from kilonova.core.errors import Conflict


class State(NamedTuple):
    """What the API shows of a phase."""

    status: str
    vm: str
    task: str | None


_RESTING: Final = {
    "building": ("BUILD", "building"), "active": ("ACTIVE", "active"), "stopped": ("SHUTOFF", "stopped"),
    "paused": ("PAUSED", "paused"), "suspended": ("SUSPENDED", "suspended"), "rescued": ("RESCUE", "rescued"),
    "resized": ("VERIFY_RESIZE", "resized"), "shelved": ("SHELVED_OFFLOADED", "shelved_offloaded"),
    "soft_deleted": ("SOFT_DELETED", "soft-delete"), "error": ("ERROR", "error"),
}  # fmt: skip
_TASKS: Final[Mapping[str, str | None]] = {
    "scheduling": "scheduling", "networking": "networking", "spawning": "spawning", "deleting": "deleting",
    "starting": "powering-on", "stopping": "powering-off", "rebooting": "rebooting", "resetting": "rebooting_hard",
    "pausing": "pausing", "unpausing": "unpausing", "suspending": "suspending", "resuming": "resuming",
    "rescuing": "rescuing", "unrescuing": "unrescuing", "rebuilding": "rebuilding", "resizing": "resize_migrating",
    "confirming": "resize_confirming", "reverting": "resize_reverting", "imaging": "image_snapshot",
    "backing": "image_backup", "shelving": "shelving", "unshelving": "unshelving", "evacuating": "rebuilding",
    "migrating": "migrating", "soft_deleting": "soft-deleting", "restoring": "restoring",
    "attaching": None, "detaching": None,
}  # fmt: skip
"""Nova's task states. It has none for NICs that come and go."""
_BUSY: Final = {
    "active.rebooting": "REBOOT", "active.resetting": "HARD_REBOOT", "active.rebuilding": "REBUILD",
    "stopped.rebuilding": "REBUILD", "error.rebuilding": "REBUILD", "active.evacuating": "REBUILD",
    "stopped.evacuating": "REBUILD", "error.evacuating": "REBUILD", "active.resizing": "RESIZE",
    "active.migrating": "MIGRATING", "paused.migrating": "MIGRATING",
    "stopped.resizing": "RESIZE", "resized.reverting": "REVERT_RESIZE",
}  # fmt: skip
"""Where the status tells what is being done; elsewhere it is that of the resting state."""


def _state(phase: str) -> State:
    status, vm = _RESTING[resting(phase)]
    doing = phase.partition(".")[2]
    return State(_BUSY.get(phase, status), vm, _TASKS[doing] if doing else None)


STATES: Final[Mapping[str, State]] = MappingProxyType(
    {phase: _state(phase) for phase in sorted({*RESTING, *MACHINE.states})}
    | {"deleted": State("DELETED", "deleted", None)}
)
POWER: Final[Mapping[str, int]] = MappingProxyType(
    {"running": 1, "paused": 3, "stopped": 4, "crashed": 6, "suspended": 7}
)
"""Nova's numbers of power states; everything else is 0, NOSTATE."""

STATUSES: Final = frozenset(
    {"ACTIVE", "BUILD", "DELETED", "ERROR", "HARD_REBOOT", "MIGRATING", "PASSWORD", "PAUSED", "REBOOT", "REBUILD"}
    | {"RESCUE", "RESIZE", "REVERT_RESIZE", "SHELVED", "SHELVED_OFFLOADED", "SHUTOFF", "SOFT_DELETED", "SUSPENDED"}
    | {"UNKNOWN", "VERIFY_RESIZE"}
)
"""Every status that the API knows, whether servers of this cloud can have it or not."""


def power(word: str) -> int:
    """Nova's number of a power state."""
    return POWER.get(word, 0)


def phases_of(status: str) -> list[str]:
    """The phases that are shown as a status."""
    return [phase for phase, state in STATES.items() if state.status == status]


def refusal(failure: Conflict, verb: str, server_id: str) -> Conflict:
    """A refused move in Nova's words; other conflicts as they are."""
    phase, event = str(failure.facts.get("state")), str(failure.facts.get("event"))
    allowed = MACHINE.sources(event) if event in MACHINE.moves else failure.facts.get("allowed")
    if phase not in STATES or not allowed:
        return failure
    state = STATES[phase]
    # It is the task that is in the way where the resting state alone would allow it.
    busy = state.task is not None and resting(phase) in allowed
    attribute, value = ("task_state", state.task) if busy else ("vm_state", state.vm)
    return Conflict(
        f"Cannot '{verb}' instance {server_id} while it is in {attribute} {value}", event=event, state=phase
    )
