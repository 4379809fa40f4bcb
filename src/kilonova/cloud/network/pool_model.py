"""What subnets' prefixes come from. Times are µs since the epoch; `shared` is as the one who asks sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class AddressScope:
    """Where no two subnet pools overlap."""

    id: str
    project_id: str
    name: str
    ip_version: Literal[4, 6]
    created_at: int
    shared: bool = False


@dataclass(frozen=True, slots=True)
class SubnetPool:
    """Prefixes that subnets are cut from. `default_quota` (None: none) bounds each project, in /32 of IPv4 or /64 of
    IPv6."""

    id: str
    project_id: str
    name: str
    description: str
    ip_version: Literal[4, 6]
    scope_id: str | None
    prefixes: tuple[str, ...]
    default_prefixlen: int
    min_prefixlen: int
    max_prefixlen: int
    default_quota: int | None
    is_default: bool
    tags: tuple[str, ...]
    revision: int
    created_at: int
    updated_at: int
    shared: bool = False
