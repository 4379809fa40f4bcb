"""Pages of a list: limit, marker and the link to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kilonova.core.errors import Invalid
from kilonova.kit.http import Request


@dataclass(frozen=True, slots=True)
class Page:
    """How many at most, and the id after which to begin."""

    limit: int
    marker: str | None


def read_page(request: Request, maximum: int = 1000) -> Page:
    """`limit` and `marker` of the query; a limit above `maximum` (or none) is `maximum`. Raises Invalid."""
    asked = request.query_one("limit")
    marker = request.query_one("marker")
    if asked is None:
        return Page(maximum, marker)
    if not asked.isascii() or not asked.isdecimal() or len(asked) > 18:
        raise Invalid(f"limit must be an integer that is not negative, not {asked[:32]!r}")
    return Page(min(int(asked), maximum), marker)


def next_url(request: Request, path: str, last: str) -> str:
    """The address of the page after the one that ends with the id `last`: this query with another marker.

    `path` is absolute within the listener (`/compute/v2.1/servers`).
    """
    pairs = [(name, value) for name, values in request.query.items() for value in values if name != "marker"]
    return f"{request.base_url}{path}?{urlencode([*pairs, ('marker', last)])}"


def next_links(request: Request, collection: str, path: str, last: str | None) -> dict[str, Any]:
    """`{"servers_links": [{"rel": "next", "href": …}]}`, or {} on the last page (`last` None)."""
    if last is None:
        return {}
    return {f"{collection}_links": [{"rel": "next", "href": next_url(request, path, last)}]}
