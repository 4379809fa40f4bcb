"""Counts the cases of the crash suite and tells them at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

CASES = pytest.StashKey[Counter[tuple[str, str]]]()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Tell that a case of (flow and step, point) passed."""
    cases = request.config.stash.setdefault(CASES, Counter())

    def add(where: str, point: str) -> None:
        cases[where, point] += 1

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    cases = config.stash.get(CASES, Counter())
    if not cases:
        return
    steps, points = {w for w, _ in cases}, {p for _, p in cases}
    terminalreporter.section("crash suite")
    terminalreporter.write_line(
        f"{cases.total()} cases ran: {len(steps)} flow steps and calls, {len(points)} points of failure"
    )
    for point in sorted(points):
        terminalreporter.write_line(f"{sum(n for (_, p), n in cases.items() if p == point):6}  {point}")
