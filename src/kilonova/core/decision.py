"""Decisions that can say why: what was chosen, and what removed the others."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reason:
    """One constraint's effect: how many candidates it removed, and the nearest miss in words."""

    constraint: str
    removed: int
    nearest: str = ""

    def __str__(self) -> str:
        tail = f" (nearest miss: {self.nearest})" if self.nearest else ""
        return f"{self.constraint} removed {self.removed}{tail}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Candidates in order of preference, and the reasons in the order that the constraints were asked."""

    considered: int
    chosen: tuple[str, ...]
    reasons: tuple[Reason, ...] = field(default=())

    def explain(self, noun: str = "host") -> str:
        """One public sentence: `No valid host was found: of 3 hosts, memory removed 2 …`."""
        plural = noun if self.considered == 1 else f"{noun}s"
        if not self.considered:
            return f"there is no {noun} at all"
        told = ", ".join(str(r) for r in self.reasons if r.removed)
        return f"of {self.considered} {plural}, {told or 'none was removed'}"
