"""Server phases in Nova's words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from kilonova.cloud.server.model import MACHINE, resting
from kilonova.core.errors import Conflict


class State(NamedTuple):
    """What the API shows of a phase."""

    status: str
    vm: str
    task: str | None


STATES: Final[Mapping[str, State]] = MappingProxyType(
    {
        "building": State("BUILD", "building", None),
        "building.scheduling": State("BUILD", "building", "scheduling"),
        "building.networking": State("BUILD", "building", "networking"),
        "building.spawning": State("BUILD", "building", "spawning"),
        "building.deleting": State("BUILD", "building", "deleting"),
        "active": State("ACTIVE", "active", None),
        "active.stopping": State("ACTIVE", "active", "powering-off"),
        "active.rebooting": State("REBOOT", "active", "rebooting"),
        "active.resetting": State("HARD_REBOOT", "active", "rebooting_hard"),
        "active.deleting": State("ACTIVE", "active", "deleting"),
        "stopped": State("SHUTOFF", "stopped", None),
        "stopped.starting": State("SHUTOFF", "stopped", "powering-on"),
        "stopped.resetting": State("SHUTOFF", "stopped", "rebooting_hard"),
        "stopped.deleting": State("SHUTOFF", "stopped", "deleting"),
        "error": State("ERROR", "error", None),
        "error.starting": State("ERROR", "error", "powering-on"),
        "error.stopping": State("ERROR", "error", "powering-off"),
        "error.resetting": State("ERROR", "error", "rebooting_hard"),
        "error.deleting": State("ERROR", "error", "deleting"),
        "deleted": State("DELETED", "deleted", None),
    }
)
POWER: Final[Mapping[str, int]] = MappingProxyType({"running": 1, "paused": 3, "stopped": 4, "crashed": 6})
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
    if phase not in STATES or event not in MACHINE.moves:
        return failure
    state = STATES[phase]
    # It is the task that is in the way where the resting state alone would allow it.
    busy = state.task is not None and resting(phase) in MACHINE.sources(event)
    attribute, value = ("task_state", state.task) if busy else ("vm_state", state.vm)
    return Conflict(
        f"Cannot '{verb}' instance {server_id} while it is in {attribute} {value}", event=event, state=phase
    )
