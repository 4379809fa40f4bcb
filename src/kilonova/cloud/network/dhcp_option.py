"""DHCP options of single ports (Networking API reference, "extra_dhcp_opts"). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from kilonova.cloud.network.model import DhcpOption
from kilonova.core.errors import Invalid

MOST: Final = 32
_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_:.-]{0,63}$")
_VALUE: Final = re.compile(r"^[^\x00-\x1f\x7f]{1,255}$")


class WantedOption(NamedTuple):
    """An option asked for; a value of None takes it away."""

    name: str
    value: str | None
    version: int = 4


def merge(old: Sequence[DhcpOption], wanted: Sequence[WantedOption]) -> tuple[DhcpOption, ...]:
    """The options after a change: what is not named stays. Raises Invalid for what no DHCP server could be told."""
    found = {(o.name, o.version): o for o in old}
    for one in wanted:
        if not _NAME.match(one.name):
            raise Invalid(f"'{one.name[:64]}' is not the name or number of a DHCP option", why="invalid_input")
        key = (one.name, one.version)
        if one.value is None:
            found.pop(key, None)
            continue
        if not _VALUE.match(one.value):
            raise Invalid(f"Invalid value for DHCP option {one.name}", why="invalid_input")
        found[key] = DhcpOption(one.name, one.value, one.version)
    if len(found) > MOST:
        raise Invalid(f"A port has at most {MOST} DHCP options.", why="invalid_input")
    return tuple(found.values())
