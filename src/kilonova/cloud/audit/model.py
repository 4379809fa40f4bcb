"""What an audit finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that should not be: its kind (`claim`, `quota`, `port`, `disk`, `guest`, `namespace`, `lock`, …), which
    one, where, what is wrong with it, and what to do."""

    kind: str
    id: str
    host: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        where = f" on {self.host}" if self.host else ""
        return f"{self.kind} {self.id}{where}: {self.problem}. {self.remedy}"
