"""What a measurement says, and the table that people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "over", ""]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line. `budget` is what `value` may be at most (`at_least`: at least); None: it is only told.

    `cpu` and `wall` are milliseconds per thing measured, of the process under test; None where one of them says
    nothing.
    """

    group: str
    name: str
    value: float
    unit: str
    budget: float | None = None
    at_least: bool = False
    cpu: float | None = None
    wall: float | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the budget holds."""
        if self.budget is None:
            return ""
        holds = self.value >= self.budget if self.at_least else self.value <= self.budget
        return "ok" if holds else "over"


def table(figures: Sequence[Figure]) -> str:
    """The lines, aligned."""
    head = ("figure", "budget", "value", "CPU ms", "wall ms", "", "")
    rows = [head, *(_row(figure) for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * min(len(lines[0]) + 20, 120), *lines[1:]])


def _row(figure: Figure) -> tuple[str, ...]:
    budget = ""
    if figure.budget is not None:
        budget = f"{'≥' if figure.at_least else '≤'} {number(figure.budget)} {figure.unit}"
    value = f"{number(figure.value)} {figure.unit}"
    return (figure.name, budget, value, _optional(figure.cpu), _optional(figure.wall), figure.verdict, figure.note)


def _optional(value: float | None) -> str:
    return "" if value is None else number(value)


def number(value: float) -> str:
    """Three figures, no exponent."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.4f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
