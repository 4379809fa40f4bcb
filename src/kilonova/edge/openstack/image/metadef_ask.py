"""What a request about metadata definitions asks for, from the API's words into the domain's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from kilonova.cloud.metadef.model import (
    ENTRY_SORT_COLUMNS,
    SORT_COLUMNS,
    VISIBILITIES,
    Entries,
    Entry,
    Filter,
    NamespaceSpec,
    Page,
)
from kilonova.core.errors import Forbidden, Invalid
from kilonova.edge.openstack.image.metadef_schema import READ_ONLY
from kilonova.edge.openstack.page import read_page
from kilonova.kit.http import Request

DEFAULT_PAGE: Final = 25
MAX_TYPES: Final = 100
_TRUE: Final = frozenset({"1", "t", "true", "on", "y", "yes"})


def read_body(request: Request) -> dict[str, Any]:
    """The body. Raises Invalid when there is none, Forbidden for what is read-only."""
    if not isinstance(request.json, dict):
        raise Invalid("Body expected in request.")
    for name in request.json:
        if name in READ_ONLY:
            raise Forbidden(f"Attribute '{name}' is read-only.")
    return dict(request.json)


def read_namespace(body: Mapping[str, Any]) -> NamespaceSpec:
    """What is said of a namespace itself; what is not takes its default, as the API has it."""
    return NamespaceSpec(
        name=body["namespace"],
        owner=body.get("owner"),
        display_name=body.get("display_name"),
        description=body.get("description"),
        visibility=body.get("visibility", "private"),
        protected=body.get("protected", False),
    )


def read_entries(body: Mapping[str, Any]) -> Entries:
    """What a new namespace shall hold."""
    properties = body.get("properties", {})
    return {
        "association": [read_entry(one) for one in body.get("resource_type_associations", ())],
        "object": [read_entry(one) for one in body.get("objects", ())],
        "property": [read_entry({**value, "name": name}) for name, value in properties.items()],
        "tag": [read_entry(one) for one in body.get("tags", ())],
    }


def read_entry(body: Mapping[str, Any]) -> Entry:
    """An object, property, tag or association, without what is read-only."""
    return Entry(body["name"], {key: body[key] for key in body if key != "name" and key not in READ_ONLY})


def read_filter(request: Request) -> Filter:
    """Which namespaces to list. Raises Invalid."""
    visibility, types = request.query_one("visibility"), request.query_one("resource_types")
    if visibility is not None and visibility not in VISIBILITIES:
        raise Invalid(f"Invalid visibility value: {visibility[:64]}")
    wanted = tuple(types.split(",")) if types else ()
    if len(wanted) > MAX_TYPES:
        raise Invalid(f"At most {MAX_TYPES} resource types can be asked for.")
    return Filter(visibility, wanted)


def read_window(request: Request) -> Page:
    """Order and limits of a list of namespaces: 25 of them unless asked otherwise. Raises Invalid."""
    asked = _window(request, SORT_COLUMNS, {"namespace": "name"})
    return asked if request.query_one("limit") is not None else replace(asked, limit=DEFAULT_PAGE)


def read_entry_window(request: Request) -> Page:
    """Order and limits of a list of what a namespace holds: all of it unless asked otherwise. Raises Invalid."""
    return _window(request, ENTRY_SORT_COLUMNS, {})


def reads_append(request: Request) -> bool:
    """`X-Openstack-Append`: whether new tags come to those that are there."""
    return (request.header("x-openstack-append") or "").strip().lower() in _TRUE


def _window(request: Request, columns: frozenset[str], names: Mapping[str, str]) -> Page:
    page = read_page(request)
    key, way = request.query_one("sort_key") or "created_at", request.query_one("sort_dir") or "desc"
    sort = names.get(key, key)
    if sort not in columns:
        raise Invalid(f"Invalid sort key: {key[:64]}")
    if way not in ("asc", "desc"):
        raise Invalid(f"Invalid sort direction: {way[:64]}")
    return Page(sort, way == "desc", page.limit, page.marker)
