"""Addresses of resources as the caller reaches them, and times as Nova writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from kilonova.kit.http import Request


@dataclass(frozen=True, slots=True)
class Links:
    """`root` with the version, `plain` without it; both with the project where the request named it."""

    root: str
    plain: str

    @classmethod
    def of(cls, request: Request) -> Links:
        """The links of a request's own address."""
        project = request.params.get("project_id")
        tail = f"/{project}" if project else ""
        return cls(f"{request.service_url}/v2.1{tail}", f"{request.service_url}{tail}")

    def both(self, collection: str, identifier: str) -> list[dict[str, Any]]:
        """`self` and `bookmark` of a resource."""
        tail = f"/{collection}/{quote(identifier)}"
        return [{"rel": "self", "href": self.root + tail}, {"rel": "bookmark", "href": self.plain + tail}]

    def bookmark(self, collection: str, identifier: str) -> list[dict[str, Any]]:
        """The bookmark alone."""
        return [{"rel": "bookmark", "href": f"{self.plain}/{collection}/{quote(identifier)}"}]


def page_path(request: Request) -> str:
    """The path of this request within the listener, for the link to the next page."""
    return request.path.rstrip("/")


def moment(at: int) -> str:
    """µs since the epoch as `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).isoformat()[:19] + "Z"


def exact(at: int | None) -> str | None:
    """µs since the epoch as `2026-01-31T12:00:00.000000`; None for a time that has not come."""
    return stamp(at) if at else None


def stamp(at: int) -> str:
    """µs since the epoch, be it the epoch itself, in the form of `exact`."""
    whole = datetime.fromtimestamp(at // 1_000_000, UTC)
    return whole.replace(microsecond=at % 1_000_000, tzinfo=None).isoformat(timespec="microseconds")


def parse_moment(text: str) -> int | None:
    """An ISO 8601 time as µs since the epoch (UTC where it names no zone); None when it is none."""
    try:
        # In a query string a `+` before the zone arrives as a space.
        found = datetime.fromisoformat(text.strip().replace(" ", "+") if text.count(":") > 2 else text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return int(found.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        return None
