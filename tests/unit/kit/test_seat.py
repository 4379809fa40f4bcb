"""Seats: bounded for one and for all, and given back once."""

from __future__ import annotations

import pytest

from kilonova.kit.http import Seats, TooManyRequests


def test_seats_are_bounded_and_given_back_once() -> None:
    seats = Seats(2, 3)
    first, _, third = seats.take("a"), seats.take("a"), seats.take("b")
    for name in ("a", "b", "c"):
        with pytest.raises(TooManyRequests):
            seats.take(name)
    third()
    with pytest.raises(TooManyRequests):
        seats.take("a")
    first()
    first()
    assert seats.taken == 1
    seats.take("a")
    assert seats.taken == 2
