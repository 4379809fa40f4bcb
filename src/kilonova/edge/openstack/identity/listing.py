"""Filters and pages of identity's lists (Identity API v3, "Filtering", "List limiting")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from kilonova.cloud.identity.model import Kind
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.identity import view
from kilonova.edge.openstack.page import next_url, read_page
from kilonova.kit.http import Request

FILTERS: Final[Mapping[Kind, frozenset[str]]] = {
    "domain": frozenset({"name", "enabled"}),
    "project": frozenset({"name", "enabled", "domain_id", "parent_id"}),
    "user": frozenset({"name", "enabled", "domain_id", "password_expires_at"}),
    "group": frozenset({"name", "domain_id"}),
    "role": frozenset({"name", "domain_id"}),
}
TAG_FILTERS: Final = ("tags", "tags-any", "not-tags", "not-tags-any")
LISTED: Final = 10_000
"""Most rows of a page; what is left is told by `truncated` and by a link to the next."""
_TEXT: Final = frozenset({"contains", "icontains", "startswith", "istartswith", "endswith", "iendswith"})
_MOMENT: Final = {"lt": "__lt", "lte": "__lte", "gt": "__gt", "gte": "__gte", "eq": "", "neq": "__ne"}
_FORMATS: Final = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ")
_MAX_TAGS: Final = 80


def read_filters(kind: Kind, request: Request) -> dict[str, Any]:
    """The query as conditions for `store.list_all`. A caller whose token is for a domain sees that domain only. Raises
    Invalid."""
    where: dict[str, Any] = {}
    for key, values in request.query.items():
        name, _, how = key.partition("__")
        if name not in FILTERS[kind] or (how and how not in _TEXT):
            continue
        if name == "enabled":
            where[key] = boolean(values[0])
        elif name == "password_expires_at":
            operator, moment = _moment(values[0])
            where[name + operator] = moment
        else:
            where[key] = values[0]
    if kind == "role" and "domain_id" not in where:
        where["domain_id"] = None
    return where | _confined(kind, request, where)


def read_tags(request: Request) -> dict[str, list[str]]:
    """The filters by tags, each a list. Raises Invalid for too many."""
    found: dict[str, list[str]] = {}
    for name in TAG_FILTERS:
        value = request.query_one(name)
        if value is not None:
            found[name] = value.split(",")
            if len(found[name]) > _MAX_TAGS:
                raise Invalid(f"{name} takes at most {_MAX_TAGS} tags")
    return found


class Listing:
    """One page: `marker` and `limit` to ask the store for, and the answer from what it gave."""

    def __init__(self, request: Request) -> None:
        page = read_page(request, LISTED)
        self._request = request
        self._size = max(page.limit, 1)
        self.marker = page.marker or None
        self.limit = self._size + 1
        """One more than is shown, to know whether something is left."""

    def answer(self, name: str, kind: Kind, rows: Sequence[Any]) -> dict[str, Any]:
        """The document, with `truncated` and a link to the next page where there is one."""
        root = f"{self._request.service_url}/v3"
        shown = [view.VIEWS[kind](row, root) for row in rows[: self._size]]
        document = view.collection(name, shown, self._request.base_url + self._request.path)
        if len(rows) > self._size:
            document["truncated"] = True
            document["links"]["next"] = next_url(self._request, self._request.path, rows[self._size - 1].id)
        return document


def boolean(text: str | None) -> bool:
    """A flag in a query; without a value it is set. Raises Invalid."""
    if text is None or text.lower() in ("false", "0", "no", "off"):
        return False
    if text.lower() in ("", "true", "1", "yes", "on"):
        return True
    raise Invalid(f"{text[:32]!r} is neither true nor false")


def flag(request: Request, name: str) -> bool:
    """Present without a value, or with any but 0, means yes (Identity API v3)."""
    value = request.query_one(name)
    return value is not None and value.lower() not in ("0", "false")


def _confined(kind: Kind, request: Request, where: Mapping[str, Any]) -> dict[str, Any]:
    home = request.context.domain_id
    if home is None or kind == "role":
        return {}
    column = "id" if kind == "domain" else "domain_id"
    # Another domain than the caller's own has nothing to show: no id is empty.
    return {column: home if where.get(column, home) == home else " "}


def _moment(text: str) -> tuple[str, int]:
    """`lt:2026-01-31T12:00:00Z` as a comparison and µs."""
    operator, colon, moment = text.partition(":")
    if operator in _MOMENT and colon:
        for form in _FORMATS:
            try:
                seconds = datetime.strptime(moment, form).replace(tzinfo=UTC).timestamp()
            except ValueError:
                continue
            return _MOMENT[operator], int(seconds * 1_000_000)
    raise Invalid("password_expires_at is {lt|lte|gt|gte|eq|neq}:{YYYY-MM-DDTHH:mm:ssZ}")
