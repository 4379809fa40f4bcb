"""DHCP options of single ports (Networking API reference, "extra_dhcp_opts"). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from kilonova.cloud.network.model import DhcpOption
from kilonova.core.errors import Invalid
from kilonova.wire.network import is_option_name, is_option_value

MOST: Final = 32


class WantedOption(NamedTuple):
    """An option asked for; a value of None takes it away."""

    name: str
    value: str | None
    version: int = 4


def merge(old: Sequence[DhcpOption], wanted: Sequence[WantedOption]) -> tuple[DhcpOption, ...]:
    """The options after a change: what is not named stays. Raises Invalid for what no DHCP server could be told."""
    found = {(o.name, o.version): o for o in old}
    for one in wanted:
        key = (one.name, one.version)
        if one.value is None:
            found.pop(key, None)
            continue
        if not is_option_name(one.name):
            raise Invalid(f"'{one.name[:64]}' is not the name or number of a DHCP option", why="invalid_input")
        if not is_option_value(one.value):
            raise Invalid(f"Invalid value for DHCP option {one.name}", why="invalid_input")
        found[key] = DhcpOption(one.name, one.value, one.version)
    if len(found) > MOST:
        raise Invalid(f"A port has at most {MOST} DHCP options.", why="invalid_input")
    return tuple(found.values())
