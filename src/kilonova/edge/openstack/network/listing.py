"""Lists: filters, order, pages and their links (Networking API reference, "Filtering", "Sorting", "Pagination")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from kilonova.cloud.network.model import Listing
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.network.attribute import Attribute, read_filter
from kilonova.kit.http import Request

MAX_PAGE: Final = 1000
MAX_TAGS: Final = 50
_TAGS: Final = {"tags": "all", "tags-any": "any", "not-tags": "not-all", "not-tags-any": "not-any"}
_OTHER: Final = frozenset({"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir", "verbose"})


def read_listing(request: Request, attributes: Sequence[Attribute], *, tagged: bool = False) -> Listing:
    """The page that a request asks for; `tagged`: tags filter too. Raises Invalid for another filter or sort key."""
    known = {a.name: a for a in attributes if a.query is not None}
    filters: dict[str, tuple[Any, ...]] = {}
    others = _OTHER | _TAGS.keys() if tagged else _OTHER
    unknown = sorted(name for name in request.query if name not in known and name not in others)
    if unknown:
        raise Invalid(f"{[u[:64] for u in unknown[:8]]} is invalid attribute for filtering", why="http_bad_request")
    for name, texts in request.query.items():
        if name in known:
            filters[known[name].field] = read_filter(known[name], texts)
    return Listing(
        filters=filters,
        tags={how: _read_tags(request.query[name]) for name, how in _TAGS.items() if tagged and name in request.query},
        sort=_read_sort(request, known),
        limit=_read_limit(request),
        marker=request.query_one("marker"),
        reverse=(request.query_one("page_reverse") or "").lower() in ("true", "1"),
    )


def links(request: Request, collection: str, listing: Listing, rows: Sequence[Any]) -> dict[str, Any]:
    """`{"networks_links": […]}` to the pages after and before this one, or {} when it is all there is.

    Whoever asked for a limit always gets the link back, as from Neutron: from an empty page to the last one.
    """
    if listing.limit is None:
        return {}
    is_asked, is_full = request.query_one("limit") is not None, len(rows) >= listing.limit
    last, first = (rows[-1].id, rows[0].id) if rows else (None, None)
    found = []
    if is_full or (is_asked and listing.reverse):
        found.append({"rel": "next", "href": _url(request, last, reverse=False)})
    if (is_full and listing.reverse) or (is_asked and not listing.reverse):
        found.append({"rel": "previous", "href": _url(request, first, reverse=True)})
    return {f"{collection}_links": found} if found else {}


def pick(request: Request, shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """Only the `fields` asked for, where any are."""
    wanted = request.query.get("fields")
    return shown if not wanted else {name: shown[name] for name in wanted if name in shown}


def _read_tags(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(tag for text in texts for tag in text.split(",") if tag)[:MAX_TAGS]


def _read_sort(request: Request, known: Mapping[str, Attribute]) -> tuple[tuple[str, bool], ...]:
    keys, ways = request.query.get("sort_key", []), request.query.get("sort_dir", [])
    if len(ways) not in (0, len(keys)):
        raise Invalid("The number of sort_keys and sort_dirs must be same", why="http_bad_request")
    order = []
    for key, way in zip(keys[:16], ways[:16] or ["asc"] * len(keys[:16]), strict=True):
        if key not in known or not known[key].sortable:
            raise Invalid(f"['{key[:64]}'] is invalid attribute for sorting", why="http_bad_request")
        if way not in ("asc", "desc"):
            raise Invalid(f"['{way[:64]}'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'")
        order.append((known[key].field, way == "asc"))
    return tuple(order)


def _read_limit(request: Request) -> int:
    text = request.query_one("limit")
    if text is None:
        return MAX_PAGE
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise Invalid(
            f"Bad limit request: Limit must be an integer 0 or greater and not '{text[:32]}'.", why="bad_request"
        )
    return min(int(text), MAX_PAGE) or MAX_PAGE


def _url(request: Request, marker: str | None, *, reverse: bool) -> str:
    kept = [(n, v) for n, values in request.query.items() for v in values if n not in ("marker", "page_reverse")]
    pairs = [*kept, *([("marker", marker)] if marker else []), *([("page_reverse", "True")] if reverse else [])]
    return f"{request.base_url}{request.path}?{urlencode(pairs)}"
