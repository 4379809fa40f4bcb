"""An aggregate of hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ZONE: Final = "availability_zone"
"""The key of the metadata that makes an aggregate a zone."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate; `hosts` are their ids. Times in µs, `updated_at` 0 until it is changed."""

    id: int
    uuid: str
    name: str
    metadata: dict[str, str]
    hosts: tuple[str, ...]
    created_at: int
    updated_at: int

    @property
    def zone(self) -> str | None:
        return self.metadata.get(ZONE)
