"""Which period is audited."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kilonova.cloud.server.usage_audit import Unit, last_completed

Parts = tuple[int, ...]


@pytest.mark.parametrize(
    ("unit", "before", "begin", "end"),
    [
        ("hour", (2026, 3, 1, 0, 30), (2026, 2, 28, 23), (2026, 3, 1)),
        ("day", (2024, 3, 1, 0, 0), (2024, 2, 29), (2024, 3, 1)),
        ("month", (2026, 1, 31, 12), (2025, 12, 1), (2026, 1, 1)),
        ("year", (2026, 1, 1), (2025, 1, 1), (2026, 1, 1)),
    ],
)
def test_the_last_whole_period(unit: Unit, before: Parts, begin: Parts, end: Parts) -> None:
    def moment(parts: Parts) -> datetime:
        year, month, day, *clock = parts
        return datetime(year, month, day, *clock, tzinfo=UTC)

    period = last_completed(unit, moment(before))
    assert (period.begin, period.end) == (moment(begin), moment(end))
