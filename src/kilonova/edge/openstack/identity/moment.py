"""Moments as Identity API v3 writes them."""

from __future__ import annotations

from datetime import UTC, datetime

from kilonova.core.errors import Invalid


def parse_moment(text: str | None) -> int | None:
    """µs since the epoch of an ISO 8601 time (UTC unless it says otherwise), None of None. Raises Invalid when it is
    malformed or over."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        micros = round(moment.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        raise Invalid(f"{text[:64]!r} is not a valid ISO 8601 time.") from None
    if moment <= datetime.now(UTC):
        raise Invalid("The expiration time must not be in the past.")
    return micros


def naive(micros: int) -> str:
    """`2026-01-31T12:00:00.000000`: application credentials are shown without a zone."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
