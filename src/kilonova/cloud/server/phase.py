"""The phases of a server, and every move between them.

A phase is a resting state, or a resting state and what is being done to it (`active.stopping`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kilonova.core.machine import Machine, moves

RESTING: Final = (
    "building",
    "active",
    "stopped",
    "paused",
    "suspended",
    "rescued",
    "resized",
    "shelved",
    "soft_deleted",
    "error",
)

ACTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = MappingProxyType(
    {
        "start": ("starting", ("stopped",)),
        "stop": ("stopping", ("active", "error")),
        "reboot": ("rebooting", ("active",)),
        "reset": ("resetting", ("active", "stopped", "paused", "suspended", "error")),
        "pause": ("pausing", ("active",)),
        "unpause": ("unpausing", ("paused",)),
        "suspend": ("suspending", ("active",)),
        "resume": ("resuming", ("suspended",)),
        "rescue": ("rescuing", ("active", "stopped", "error")),
        "unrescue": ("unrescuing", ("rescued",)),
        "rebuild": ("rebuilding", ("active", "stopped", "error")),
        "resize": ("resizing", ("active", "stopped")),
        "migrate": ("resizing", ("active", "stopped")),
        "live_migrate": ("migrating", ("active", "paused")),
        "attach_interface": ("attaching", ("active", "paused", "stopped")),
        "detach_interface": ("detaching", ("active", "paused", "stopped")),
        "image": ("imaging", ("active", "stopped", "paused", "suspended")),
        "backup": ("backing", ("active", "stopped", "paused", "suspended")),
        "shelve": ("shelving", ("active", "stopped", "paused", "suspended")),
        "unshelve": ("unshelving", ("shelved",)),
        "evacuate": ("evacuating", ("active", "stopped", "error")),
        "confirm": ("confirming", ("resized",)),
        "revert": ("reverting", ("resized",)),
        "soft_delete": ("soft_deleting", ("active", "stopped", "paused", "suspended", "error")),
        "restore": ("restoring", ("soft_deleted",)),
    }
)
"""What someone asks for: (what the server is doing then, the resting states that it is allowed in)."""

COPYING: Final = frozenset({"imaging", "backing", "shelving", "resizing"})
"""While doing these, an image may wait for a copy of the server's disk."""

ARRIVALS: Final[Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]]] = MappingProxyType(
    {
        "run": (
            "active",
            ("starting", "rebooting", "resetting", "unpausing", "resuming", "unrescuing", "rebuilding", "confirming",
             "reverting", "unshelving", "evacuating", "restoring"),
            ("stopped", "error", "active", "paused"),
        ),
        "halt": (
            "stopped",
            ("stopping", "rebuilding", "confirming", "reverting", "evacuating", "rebooting", "resetting"),
            ("active", "paused", "suspended"),
        ),
        "hold": ("paused", ("pausing",), ("active",)),
        "sleep": ("suspended", ("suspending",), ()),
        "mend": ("rescued", ("rescuing",), ()),
        "offer": ("resized", ("resizing",), ()),
        "offload": ("shelved", ("shelving",), ()),
        "discard": ("soft_deleted", ("soft_deleting",), ()),
    }
)  # fmt: skip
"""Where a server arrives: (the state, what it was doing, the resting states from which it may get there by itself)."""


def _table() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    doing = {f"{state}.{gerund}": state for gerund, states in ACTS.values() for state in states}
    building = {f"building.{step}" for step in ("scheduling", "networking", "spawning")}
    table: dict[str, list[tuple[tuple[str, ...], str]]]
    table = {event: [((s,), f"{s}.{gerund}") for s in states] for event, (gerund, states) in ACTS.items()}
    for event, (target, gerunds, settled) in ARRIVALS.items():
        on_the_way = tuple(phase for phase in doing if phase.partition(".")[2] in gerunds)
        table[event] = [((*on_the_way, *settled), target)]
    table["run"].append((("building.spawning",), "active"))
    table["place"] = [(("building.scheduling",), "building.networking")]
    table["spawn"] = [(("building.networking",), "building.spawning")]
    table["replace"] = [(("building.spawning",), "building.scheduling")]
    table["return"] = [((phase,), state) for phase, state in doing.items()]
    table["delete"] = [((s, f"{s}.deleting"), f"{s}.deleting") for s in RESTING]
    table["delete"] += [((phase,), f"{state}.deleting") for phase, state in doing.items()]
    table["delete"] += [(tuple(sorted(building)), "building.deleting")]
    return table


_TABLE: Final = _table()
_STATES: Final = frozenset(s for rows in _TABLE.values() for sources, target in rows for s in (*sources, target))
_ANY: Final = sorted(s for s in _STATES if not s.endswith(".deleting"))

MACHINE: Final = Machine(
    "server",
    _STATES,
    moves({**_TABLE, "fail": [(sorted(_STATES), "error")], "set error": [(_ANY, "error")],
           "set active": [(_ANY, "active")]}),
)  # fmt: skip
"""Every move of a server: what someone asks for, and what hypervisors report."""


def resting(phase: str) -> str:
    """The resting state that a phase belongs to."""
    return phase.partition(".")[0]


def is_settled(phase: str) -> bool:
    """Whether nothing is being done to the server."""
    return phase in RESTING and phase != "building"
