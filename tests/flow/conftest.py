"""Counts the cases of the crash suite and tells them at the end."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable

import pytest
from scenario import SCENARIOS

import traffic

CASES = pytest.StashKey[Counter[tuple[str, str]]]()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Tell that a case of (flow and step, point) passed."""
    cases = request.config.stash.setdefault(CASES, Counter())

    def add(where: str, point: str) -> None:
        cases[where, point] += 1

    return add


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where traffic is kept, leave the cases by scenario too (see tests/action_table.py)."""
    cases = session.config.stash.get(CASES, Counter())
    if not cases or (place := traffic.folder()) is None:
        return
    found: Counter[str] = Counter()
    for (where, _), number in cases.items():
        named = [name for name in SCENARIOS if where == name or where.startswith((f"{name}.", f"{name} "))]
        found[max(named, key=len)] += number
    place.mkdir(parents=True, exist_ok=True)
    (place / f"crash-{uuid.uuid4()}.json").write_text(json.dumps(found))


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
