"""Addresses for the external network of a new cloud: clouds side by side must not share them."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path
from typing import Final

from kilonova.core.errors import Unavailable
from kilonova.state import StateDir, write

ROUTES: Final = Path("/proc/net/route")
CANDIDATES: Final = tuple(ipaddress.IPv4Network("172.24.0.0/16").subnets(new_prefix=24))[4:]


def free_public_cidr(state: StateDir, routes: Path = ROUTES) -> str:
    """The prefix of this cloud's external network: chosen once, the first that this machine has no route to."""
    file = state.root / "public-cidr"
    if not file.exists():
        taken = [network for network in _routed(routes) if network.prefixlen > 0]
        for candidate in CANDIDATES:
            if not any(candidate.overlaps(network) for network in taken):
                write(file, f"{candidate}\n", 0o644)
                break
        else:
            raise Unavailable("No prefix is free for the external network; set public_cidr in kilonova.toml")
    return file.read_text().strip()


def _routed(routes: Path) -> list[ipaddress.IPv4Network]:
    """Prefixes that the kernel routes (proc(5): address and mask in hex, in host byte order)."""
    found = []
    for line in routes.read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (ipaddress.IPv4Address(struct.pack("=L", int(fields[i], 16))) for i in (1, 7))
        found.append(ipaddress.IPv4Network(f"{address}/{mask}", strict=False))
    return found
