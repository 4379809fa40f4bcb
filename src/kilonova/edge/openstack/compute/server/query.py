"""What a list of servers asks for: filters, order, whose, living or deleted (API reference "List Servers").

`name` is matched as text, not as a regular expression: anywhere in the name, or anchored by `^` and `$`, which is what
clients send; a backslash only takes away the meaning of the next character.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kilonova.cloud.server.model import Server
from kilonova.core.context import ALL, Scope
from kilonova.core.errors import Forbidden, Invalid, NotBuilt
from kilonova.core.ids import is_uuid
from kilonova.edge.openstack.compute.link import parse_moment
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import read_boolean
from kilonova.edge.openstack.compute.server.schema import UNSORTABLE
from kilonova.edge.openstack.compute.server.state import STATES, STATUSES, phases_of, power
from kilonova.edge.openstack.page import Page, read_page
from kilonova.kit.http import Request

Test = Callable[[Server], bool]

_COLUMNS: Final[Mapping[str, str]] = {
    "host": "host_name", "node": "host_name", "image": "image_id", "image_ref": "image_id", "uuid": "id",
    "reservation_id": "reservation_id", "user_id": "user_id", "hostname": "hostname",
    "availability_zone": "zone", "description": "description", "display_description": "description",
}  # fmt: skip
_EVERYBODY: Final[Mapping[str, int]] = {
    "reservation_id": 1, "name": 1, "display_name": 1, "status": 1, "image": 1, "flavor": 1, "ip": 1, "ip6": 5,
    "changes-since": 1, "changes-before": 66, "all_tenants": 1, "locked": 73, "tags": 26, "tags-any": 26,
    "not-tags": 26, "not-tags-any": 26, "availability_zone": 83, "config_drive": 83, "key_name": 83, "created_at": 83,
    "launched_at": 83, "terminated_at": 83, "power_state": 83, "task_state": 83, "vm_state": 83, "progress": 83,
    "user_id": 83,
}  # fmt: skip
"""Filters that everybody may use, from which minor version; the others are ignored unless policy allows all."""

_CONTROL: Final = frozenset({"limit", "marker", "sort_key", "sort_dir", "all_tenants", "deleted", "project_id"}) | {
    "tenant_id", "status", "changes-since", "changes-before", "name", "display_name",
}  # fmt: skip
_SORT: Final[Mapping[str, str]] = {
    "created_at": "created_at", "updated_at": "updated_at", "display_name": "name", "uuid": "id", "id": "id",
    "vm_state": "phase", "host": "host_name", "node": "host_name", "project_id": "project_id", "user_id": "user_id",
    "hostname": "hostname", "launched_at": "launched_at", "image_ref": "image_id", "availability_zone": "zone",
    "launch_index": "launch_index",
}  # fmt: skip
_SECRET_SORT: Final = frozenset({"host", "node"})


@dataclass(slots=True)
class Listing:
    """A list wanted. `filters` are the store's, `tests` what it cannot ask; `deleted`: only (True), without (False) or
    with (None) those that are gone. `nothing`: no server can match."""

    scope: Scope
    page: Page
    filters: dict[str, Any] = field(default_factory=dict)
    tests: list[Test] = field(default_factory=list)
    sort: Sequence[tuple[str, bool]] = (("created_at", True),)
    deleted: bool | None = False
    since: int = 0
    nothing: bool = False


def read_listing(request: Request, view: str) -> Listing:
    """The list that the query asks for; `view` is index or detail. Raises Invalid, Forbidden."""
    minor = request.version[1]
    everything = request.permits(f"{PREFIX}servers:allow_all_filters")
    listing = Listing(_read_scope(request, view), read_page(request), sort=_read_sort(request, everything))
    for name, values in request.query.items():
        if name not in _CONTROL and (everything or _EVERYBODY.get(name, 1000) <= minor):
            _add_filter(listing, name, values)
    _read_name(request, listing)
    _read_times(request, listing)
    _read_deleted(request, listing, everything)
    _read_status(request, listing, everything)
    if listing.deleted is False and "phase" not in listing.filters:
        listing.filters["phase_not"] = phases_of("SOFT_DELETED")
    if listing.page.marker is not None and not is_uuid(listing.page.marker):
        raise Invalid(f"marker [{listing.page.marker[:64]}] not found")
    return listing


def matches(server: Server, listing: Listing) -> bool:
    """Whether a server read from history passes what the store would have asked of a live one."""
    return all(_holds(server, name, value) for name, value in listing.filters.items()) and passes(server, listing)


def passes(server: Server, listing: Listing) -> bool:
    """Whether a server passes what the store cannot ask."""
    return all(test(server) for test in listing.tests)


def _holds(server: Server, name: str, value: Any) -> bool:
    if name == "name_like":
        return value in server.name
    if name == "changed_since":
        return bool(server.updated_at >= value)
    if name == "changed_before":
        return bool(server.updated_at <= value)
    if name in ("phase", "phase_not"):
        return True
    return bool(getattr(server, name) == value)


def _read_scope(request: Request, view: str) -> Scope:
    asked = request.query_one("all_tenants")
    if asked is None:
        return request.context.scope
    wanted = True if asked.strip() == "" else read_boolean(asked)
    if wanted is None:
        raise Invalid(f"Invalid value '{asked[:64]}' for all_tenants")
    if not wanted:
        return request.context.scope
    rule = f"{PREFIX}servers:{view}:get_all_tenants"
    if not request.permits(rule):
        raise Forbidden(f"Policy doesn't allow {rule} to be performed.", rule=rule)
    project = request.query_one("project_id") or request.query_one("tenant_id")
    return Scope(project) if project else ALL


def _read_sort(request: Request, everything: bool) -> Sequence[tuple[str, bool]]:
    keys, directions = request.query.get("sort_key", []), request.query.get("sort_dir", [])
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise Invalid(f"Unknown sort direction, must be 'desc' or 'asc', not '{direction[:32]}'")
    found: list[tuple[str, bool]] = []
    for index, key in enumerate(keys):
        if key in _SECRET_SORT and not everything:
            raise Forbidden(f"Only administrators can sort servers by {key}")
        if key in UNSORTABLE and (key != "locked" or request.version < (2, 73)):
            continue
        column = _SORT.get(key)
        if column is None:
            raise NotBuilt(f"Servers cannot be sorted by {key}")
        if column not in (name for name, _ in found):
            direction = directions[index] if index < len(directions) else directions[0] if directions else "desc"
            found.append((column, direction == "desc"))
    if not found:
        return (("created_at", directions[0] == "desc" if directions else True),)
    return found


def _read_name(request: Request, listing: Listing) -> None:
    asked = request.query_one("name") or request.query_one("display_name")
    if not asked:
        return
    start, end = asked.startswith("^"), asked.endswith("$") and not asked.endswith("\\$")
    text = _unescape(asked[int(start) : len(asked) - int(end)])
    if start and end:
        listing.filters["name"] = text
        return
    listing.filters["name_like"] = text
    if start:
        listing.tests.append(lambda server: server.name.startswith(text))
    if end:
        listing.tests.append(lambda server: server.name.endswith(text))


def _unescape(text: str) -> str:
    found, escaped = "", False
    for character in text:
        if character == "\\" and not escaped:
            escaped = True
            continue
        found, escaped = found + character, False
    return found


def _read_times(request: Request, listing: Listing) -> None:
    since = parse_moment(request.query_one("changes-since") or "")
    before = parse_moment(request.query_one("changes-before") or "") if request.version >= (2, 66) else None
    if since is not None:
        listing.filters["changed_since"] = listing.since = since
    if before is not None:
        listing.filters["changed_before"] = before
        if since is not None and since > before:
            raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    if since is not None or before is not None:
        listing.deleted = None


def _read_deleted(request: Request, listing: Listing, everything: bool) -> None:
    asked = request.query_one("deleted")
    if asked is None or not everything:
        return
    wanted = True if asked.strip() == "" else read_boolean(asked)
    if wanted is None:
        raise Invalid(f"Invalid value '{asked[:64]}' for deleted")
    listing.deleted = wanted


def _read_status(request: Request, listing: Listing, everything: bool) -> None:
    asked = [status.upper() for status in request.query.get("status", []) if status]
    if not asked:
        return
    if request.version >= (2, 38) and any(status not in STATUSES for status in asked):
        raise Invalid(f"Invalid status value: {', '.join(s for s in asked if s not in STATUSES)[:128]}")
    if "DELETED" in asked:
        if not everything:
            raise Forbidden("Only administrators may list deleted instances")
        listing.deleted = True if len(asked) == 1 else None
    phases = [phase for status in asked for phase in phases_of(status)]
    if listing.deleted is not True:
        listing.filters["phase"] = phases
    listing.nothing = not phases


def _add_filter(listing: Listing, name: str, values: list[str]) -> None:
    value = values[0]
    if name in _COLUMNS:
        listing.filters[_COLUMNS[name]] = value.rpartition("/")[2] if name.startswith("image") else value
    elif name in _TESTS:
        listing.tests.append(_TESTS[name](value))
    elif name in _TAG_TESTS:
        listing.tests.append(_TAG_TESTS[name](frozenset(value.split(","))))
    elif name in ("launch_index", "power_state"):
        listing.tests.append(_number(name, value))
    elif name in ("locked", "config_drive"):
        if (wanted := read_boolean(value)) is None:
            raise Invalid(f"Invalid value '{value[:64]}' for {name}")
        listing.filters[name] = wanted


def _number(name: str, value: str) -> Test:
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise Invalid(f"Invalid value '{value[:64]}' for {name}")
    wanted = int(value)
    if name == "power_state":
        return lambda server: power(server.power) == wanted
    return lambda server: server.launch_index == wanted


def _address(version: int) -> Callable[[str], Test]:
    def make(value: str) -> Test:
        start, end = value.startswith("^"), value.endswith("$")
        text = _unescape(value[int(start) : len(value) - int(end)])

        def test(server: Server) -> bool:
            return any(
                v == version and (text in a if not start else a == text if end else a.startswith(text))
                for nic in server.nics
                for _, a, v in nic.addresses
            )

        return test

    return make


_TAG_TESTS: Final[Mapping[str, Callable[[frozenset[str]], Test]]] = {
    "tags": lambda wanted: lambda server: wanted <= set(server.tags),
    "tags-any": lambda wanted: lambda server: bool(wanted & set(server.tags)),
    "not-tags": lambda wanted: lambda server: not wanted <= set(server.tags),
    "not-tags-any": lambda wanted: lambda server: not wanted & set(server.tags),
}
_TESTS: Final[Mapping[str, Callable[[str], Test]]] = {
    "flavor": lambda value: lambda server: server.flavor.id == value.rpartition("/")[2],
    "key_name": lambda value: lambda server: server.key is not None and server.key.name == value,
    "ip": _address(4),
    "ip6": _address(6),
    "vm_state": lambda value: lambda server: STATES[server.phase].vm == value,
    "task_state": lambda value: lambda server: STATES[server.phase].task == (value or None),
}
