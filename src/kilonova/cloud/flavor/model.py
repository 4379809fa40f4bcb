"""What a flavor is, and those that a new cloud has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Flavor:
    """A size. `id` is Nova's flavorid (what the API calls id). Memory and swap in MiB, disks in GiB, times in µs."""

    id: str
    name: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    disabled: bool = False
    description: str | None = None
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int | None = None


@dataclass(frozen=True, slots=True)
class FlavorFilter:
    """`is_public` None shows both kinds (administrators only; others see public ones and those they may use)."""

    is_public: bool | None = True
    min_memory_mb: int | None = None
    min_root_gb: int | None = None
    name_contains: str | None = None
    name: str | None = None


SORT_COLUMNS: Final = frozenset(
    {"id", "name", "memory_mb", "vcpus", "root_gb", "ephemeral_gb", "swap_mb", "rxtx_factor", "is_public", "disabled"}
    | {"created_at"}
)
SMALLEST_FIRST: Final = (("memory_mb", False), ("root_gb", False), ("vcpus", False), ("id", False))
"""The order of a list that asks for none: by memory, then disk, then vCPUs."""


@dataclass(frozen=True, slots=True)
class FlavorPage:
    """(column, descending) in order of weight; `marker` is the last id seen."""

    sort: tuple[tuple[str, bool], ...] = SMALLEST_FIRST
    limit: int = 1000
    marker: str | None = None


DEFAULTS: Final = (
    Flavor("42", "m1.nano", vcpus=1, memory_mb=128, root_gb=1),
    Flavor("84", "m1.micro", vcpus=1, memory_mb=192, root_gb=1),
    Flavor("1", "m1.tiny", vcpus=1, memory_mb=512, root_gb=1),
    Flavor("2", "m1.small", vcpus=1, memory_mb=2048, root_gb=20),
    Flavor("3", "m1.medium", vcpus=2, memory_mb=4096, root_gb=40),
    Flavor("4", "m1.large", vcpus=4, memory_mb=8192, root_gb=80),
    Flavor("5", "m1.xlarge", vcpus=8, memory_mb=16384, root_gb=160),
)
"""Nova's own of 2015 with its ids, and DevStack's two small ones with theirs."""
