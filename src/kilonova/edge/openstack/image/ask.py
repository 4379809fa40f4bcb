"""What a request asks for: list parameters and updates, from the API's words into the domain's."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

from kilonova.cloud.image.model import MEMBER_STATUSES, SORT_COLUMNS, VISIBILITIES, Change, Filter, Page
from kilonova.core.errors import Forbidden, Invalid
from kilonova.edge.openstack.image.schema import OURS, READ_ONLY, RESERVED, STATUSES, VALUE, WRITABLE
from kilonova.kit.http.schema import Checker

MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 25
_COLUMNS: Final = {"checksum": "md5", "os_hash_value": "sha512"}
_TEXTS: Final = frozenset({"id", "name", "status", "owner", "disk_format", "container_format", *_COLUMNS})
_LISTABLE: Final = frozenset({"id", "name", "status", "disk_format", "container_format"})
_NUMBERS: Final = frozenset({"min_disk", "min_ram", "size"})
_WINDOW: Final = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "os_hash_algo"})
_OPERATORS: Final = frozenset({"gt", "gte", "lt", "lte", "eq", "neq"})
_TIME: Final = re.compile(r"^(?:(\w+):)?(\d{4}-\d\d-\d\dT?.*)$")
_NAMES: Final = {"os_hidden": "hidden"}


def read_filter(query: Mapping[str, Sequence[str]]) -> Filter:
    """The filters of a list; what is no attribute is a property. Raises Invalid."""
    equal: dict[str, str | int | bool] = {}
    one_of: dict[str, tuple[str, ...]] = {}
    properties: dict[str, str] = {}
    for name, value in ((name, values[0]) for name, values in query.items() if name not in _WINDOW):
        if name in _LISTABLE and value.startswith("in:"):
            one_of[name] = _split(value[3:])
        elif name in _TEXTS:
            if name == "status" and value not in STATUSES:
                raise Invalid(f"Invalid status value: {value[:64]}")
            equal[_COLUMNS.get(name, name)] = value
        elif name in _NUMBERS:
            equal[name] = min(_number(name, value), 2**63 - 1 if name == "size" else 2**31 - 1)
        elif name == "protected":
            equal[name] = _boolean(name, value)
        elif name not in ("visibility", "tag", "os_hidden", "size_min", "size_max", "created_at", "updated_at"):
            properties[name] = value
    visibility = _one(query, "visibility")
    if visibility is not None and visibility not in (*VISIBILITIES, "all"):
        raise Invalid(f"Invalid visibility value: {visibility[:64]}")
    member_status = _one(query, "member_status") or "accepted"
    if member_status not in (*MEMBER_STATUSES, "all"):
        raise Invalid(f"Invalid status value: {member_status[:64]}")
    size_min, size_max, hidden = _one(query, "size_min"), _one(query, "size_max"), _one(query, "os_hidden")
    return Filter(
        equal=equal,
        one_of=one_of,
        times=tuple(_times(query)),
        size_min=None if size_min is None else _number("size_min", size_min),
        size_max=None if size_max is None else _number("size_max", size_max),
        visibility=visibility,
        member_status=member_status,
        hidden=hidden is not None and _boolean("os_hidden", hidden),
        tags=tuple(query.get("tag", ())),
        properties=properties,
    )


def read_window(query: Mapping[str, Sequence[str]]) -> Page:
    """Order and limits of a list; `sort` and `sort_key` exclude one another. Raises Invalid."""
    return Page(tuple(_sort(query)) or (("created_at", True),), read_limit(query), _one(query, "marker"))


def read_limit(query: Mapping[str, Sequence[str]]) -> int:
    """How long a page shall be. Raises Invalid."""
    limit = _one(query, "limit")
    return DEFAULT_PAGE if limit is None else min(_number("limit", limit), MAX_PAGE)


def read_changes(patch: Sequence[Mapping[str, Any]], checker: Checker) -> list[Change]:
    """A JSON patch of depth 1 (RFC 6902, RFC 6901). Raises Invalid, Forbidden (what is read-only or reserved)."""
    return [_change(step, checker) for step in patch]


def modernise(patch: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A v2.0 patch as v2.1 writes it. Raises Invalid."""
    steps: list[dict[str, Any]] = []
    for step in patch:
        acts = [name for name in step if name != "value"]
        if len(acts) != 1:
            raise Invalid("Operation objects must contain exactly one of add, replace and remove.")
        value = {"value": step["value"]} if "value" in step else {}
        steps.append({"op": acts[0], "path": step[acts[0]], **value})
    return steps


def whole(name: str, value: Any) -> Any:
    """A number as the domain has it: to JSON Schema 1.0 is an integer too."""
    return int(value) if name in _NUMBERS and isinstance(value, float) else value


def refuse_unwritable(name: str) -> None:
    """Raises Forbidden for an attribute that is not the caller's to write."""
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith(OURS):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def _change(step: Mapping[str, Any], checker: Checker) -> Change:
    act = cast(Literal["add", "replace", "remove"], step["op"])
    name = str(step["path"])[1:].replace("~1", "/").replace("~0", "~")
    if name == "id":
        raise Forbidden("Attribute 'id' is read-only.")
    refuse_unwritable(name)
    if act != "remove":
        if "value" not in step:
            raise Invalid(f"Operation {act!r} requires a member named 'value'.")
        checker.check(VALUE, {name: step["value"]}, (0, 0))
    if name == "owner" and act != "remove" and not step["value"]:
        raise Invalid("An image needs an owner.")
    value = whole(name, step.get("value"))
    return Change(act, _NAMES.get(name, name), value, is_property=name not in WRITABLE)


def _sort(query: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, bool]]:
    keys, ways, sort = query.get("sort_key", ()), list(query.get("sort_dir", ())), _one(query, "sort")
    if sort is not None:
        if keys or ways:
            raise Invalid("Old and new sorting syntax cannot be combined")
        pairs = [part.strip().partition(":")[::2] for part in sort.split(",")]
    else:
        if len(ways) > 1 and len(ways) != len(keys):
            raise Invalid("Number of sort dirs does not match the number of sort keys")
        ways = ways * len(keys) if len(ways) == 1 and keys else ways
        pairs = list(zip(keys or ["created_at"][: len(ways)], ways or [""] * len(keys), strict=True))
    for key, way in pairs[:16]:
        if key not in SORT_COLUMNS:
            raise Invalid(f"Invalid sort key: {key[:64]}")
        if way not in ("", "asc", "desc"):
            raise Invalid(f"Invalid sort direction: {way[:64]}")
        yield key, way != "asc"


def _times(query: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Any, int]]:
    for name in ("created_at", "updated_at"):
        for value in query.get(name, ()):
            form = _TIME.match(value)
            if form is None or (form[1] or "eq") not in _OPERATORS:
                raise Invalid(f"Unable to filter by {name}: {value[:64]}")
            try:
                at = datetime.fromisoformat(form[2])
                at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
                yield name, form[1] or "eq", int(at.timestamp()) * 1_000_000
            except (ValueError, OverflowError):
                raise Invalid(f"Unable to filter by {name}: {value[:64]} is no time") from None


def _split(text: str) -> tuple[str, ...]:
    """`in:` lists: separated by commas, in double quotes where a value has one itself."""
    try:
        values = tuple(next(csv.reader([text], strict=True, doublequote=False, escapechar="\\"), []))
    except csv.Error:
        raise Invalid("A list of values is quoted wrongly") from None
    if not values or len(values) > 200:
        raise Invalid("A list of values must have 1 to 200 of them")
    return values


def _one(query: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = query.get(name)
    return values[0] if values else None


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdecimal() or len(value) > 18:
        raise Invalid(f"{name} must be an integer that is not negative, not {value[:32]!r}")
    return int(value)


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise Invalid(f"{name} must be true or false, not {value[:32]!r}")
    return value.lower() == "true"
