"""Dated versions of a metadata dialect, and what came when."""

from __future__ import annotations

from dataclasses import dataclass

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Versions:
    """All versions of a dialect, oldest first. `latest` stands for the newest."""

    dated: tuple[str, ...]

    @property
    def listed(self) -> tuple[str, ...]:
        """As a guest sees them."""
        return (*self.dated, LATEST)

    def resolve(self, version: str) -> str | None:
        """The dated version that is meant; None when there is no such one."""
        if version == LATEST:
            return self.dated[-1]
        return version if version in self.dated else None
