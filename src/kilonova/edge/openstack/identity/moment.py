"""Moments as Identity API v3 writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from kilonova.core.errors import Invalid

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MICRO: Final = timedelta(microseconds=1)


def parse_moment(text: str | None) -> int | None:
    """µs since the epoch of an ISO 8601 time (UTC unless it says otherwise), None of None. Raises Invalid when it is
    malformed, over, or in UTC beyond the year 9999."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"{text[:64]!r} is not a valid ISO 8601 time.") from None
    if moment <= datetime.now(UTC):
        raise Invalid("The expiration time must not be in the past.")
    return (moment - _EPOCH) // _MICRO


def utc(micros: int) -> datetime:
    """The moment of µs since the epoch, exactly: by way of a float, the last ones of the year 9999 would be in no
    year."""
    return _EPOCH + micros * _MICRO


def naive(micros: int) -> str:
    """`2026-01-31T12:00:00.000000`: application credentials are shown without a zone."""
    return utc(micros).strftime("%Y-%m-%dT%H:%M:%S.%f")
