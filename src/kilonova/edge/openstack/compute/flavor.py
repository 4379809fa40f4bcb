"""`/flavors`, their extra specs and who may use them (API reference "Flavors")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.flavor.model import SMALLEST_FIRST, Flavor, FlavorFilter, FlavorPage
from kilonova.cloud.flavor.service import FlavorService
from kilonova.core.errors import Invalid, NotBuilt, NotFound
from kilonova.core.ids import NewId
from kilonova.edge.openstack.compute.link import Links, page_path
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import (
    BOOLEAN,
    DESCRIPTION,
    NAME,
    PAGE,
    TEXT,
    boxed,
    count,
    is_true,
    read_boolean,
    record,
    strict_from,
)
from kilonova.edge.openstack.page import next_links, read_page
from kilonova.kit.http import AUTHENTICATED, Request, Response, Route, VersionedSchemas, multi
from kilonova.kit.http.schema import JsonSchema
from kilonova.wire.hardware import check_spec

_SORT: Final[Mapping[str, str]] = {
    "flavorid": "id", "id": "created_at", "name": "name", "memory_mb": "memory_mb", "vcpus": "vcpus",
    "root_gb": "root_gb", "ephemeral_gb": "ephemeral_gb", "swap": "swap_mb", "rxtx_factor": "rxtx_factor",
    "is_public": "is_public", "disabled": "disabled", "created_at": "created_at",
}  # fmt: skip
_SORTABLE: Final = ("description", "updated_at", "vcpu_weight", *_SORT)
_LIST: Final = strict_from(
    75,
    {
        1: {
            **PAGE,
            **{name: multi(TEXT) for name in ("is_public", "minRam", "minDisk")},
            "sort_key": multi({"enum": sorted(_SORTABLE)}),
            "sort_dir": multi({"enum": ["asc", "desc"]}),
        },
        102: {"name": multi(TEXT)},
    },
)
_LONG_TEXT: Final[JsonSchema] = {**DESCRIPTION, "maxLength": 65535}
_NEW: Final[dict[str, JsonSchema]] = {
    "name": NAME,
    "id": {
        "type": ["string", "number", "null"], "minLength": 1, "maxLength": 255,
        "pattern": "^[a-zA-Z0-9._-]([a-zA-Z0-9. _-]*[a-zA-Z0-9._-])?$",
    },
    "ram": count(1), "vcpus": count(1), "disk": count(0), "OS-FLV-EXT-DATA:ephemeral": count(0), "swap": count(0),
    "rxtx_factor": {
        "type": ["number", "string"], "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$", "exclusiveMinimum": 0, "maximum": 3e38,
    },
    "os-flavor-access:is_public": BOOLEAN,
}  # fmt: skip
_LATER: Final = {name: schema for name, schema in _NEW.items() if name != "rxtx_factor"}
_REQUIRED: Final = ("name", "ram", "vcpus", "disk")
_CREATE: Final = VersionedSchemas(
    {
        (2, 1): boxed("flavor", record(_NEW, *_REQUIRED)),
        (2, 55): boxed("flavor", record({**_NEW, "description": _LONG_TEXT}, *_REQUIRED)),
        (2, 102): boxed("flavor", record({**_LATER, "description": _LONG_TEXT}, *_REQUIRED)),
    }
)
_UPDATE: Final = boxed("flavor", record({"description": _LONG_TEXT}, "description"))
_SPECS: Final[JsonSchema] = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9_:. -]{1,255}$": {"type": ["string", "number"], "maxLength": 255}},
    "additionalProperties": False,
}
_SPEC: Final[JsonSchema] = {**_SPECS, "minProperties": 1, "maxProperties": 1}
_TENANT: Final = record({"tenant": {"type": "string", "minLength": 1, "maxLength": 64}}, "tenant")


class FlavorRoutes:
    """Handlers of flavors."""

    def __init__(self, flavors: FlavorService, new_id: NewId) -> None:
        self._flavors = flavors
        self._new_id = new_id

    def routes(self) -> list[Route]:
        one, manage = "/flavors/{flavor_id}", f"{PREFIX}os-flavor-manage:"
        return [
            Route("GET", "/flavors", self.list_brief, AUTHENTICATED, query=_LIST),
            Route("GET", "/flavors/detail", self.list_detail, AUTHENTICATED, query=_LIST),
            Route("POST", "/flavors", self.create, f"{manage}create", schema=_CREATE),
            Route("GET", one, self.show, AUTHENTICATED),
            Route("PUT", one, self.update, f"{manage}update", schema=_UPDATE, min_version=(2, 55)),
            Route("DELETE", one, self.delete, f"{manage}delete", success=202),
            *self._spec_routes(one + "/os-extra_specs", f"{PREFIX}os-flavor-extra-specs:"),
            *self._access_routes(one, f"{PREFIX}os-flavor-access"),
        ]

    def _spec_routes(self, every: str, rule: str) -> list[Route]:
        return [
            Route("GET", every, self.list_specs, f"{rule}index"),
            Route("POST", every, self.add_specs, f"{rule}create", schema=boxed("extra_specs", _SPECS)),
            Route("GET", every + "/{key}", self.show_spec, f"{rule}show"),
            Route("PUT", every + "/{key}", self.set_spec, f"{rule}update", schema=_SPEC),
            Route("DELETE", every + "/{key}", self.delete_spec, f"{rule}delete"),
        ]

    def _access_routes(self, one: str, rule: str) -> list[Route]:
        add, remove = "addTenantAccess", "removeTenantAccess"
        return [
            Route("GET", f"{one}/os-flavor-access", self.list_access, rule),
            Route("POST", f"{one}/action", self.grant, f"{rule}:add_tenant_access", boxed(add, _TENANT), action=add),
            Route(
                "POST", f"{one}/action", self.revoke, f"{rule}:remove_tenant_access", boxed(remove, _TENANT),
                action=remove,
            ),
        ]  # fmt: skip

    async def list_brief(self, request: Request) -> dict[str, Any]:
        links = Links.of(request)
        with_description = request.version >= (2, 55)

        def brief(flavor: Flavor) -> dict[str, Any]:
            more = {"description": flavor.description} if with_description else {}
            return {"id": flavor.id, "name": flavor.name, "links": links.both("flavors", flavor.id), **more}

        page, more = await self._page(request)
        return {"flavors": [brief(flavor) for flavor in page], **more}

    async def list_detail(self, request: Request) -> dict[str, Any]:
        page, more = await self._page(request)
        return {"flavors": [_view(flavor, request) for flavor in page], **more}

    async def show(self, request: Request) -> dict[str, Any]:
        return {"flavor": _view(await self._one(request), request)}

    async def create(self, request: Request) -> dict[str, Any]:
        given = request.json["flavor"]
        identifier = given.get("id")
        flavor = Flavor(
            id=self._new_id() if identifier in (None, "auto") else str(identifier),
            name=given["name"],
            vcpus=int(given["vcpus"]),
            memory_mb=int(given["ram"]),
            root_gb=int(given["disk"]),
            ephemeral_gb=int(given.get("OS-FLV-EXT-DATA:ephemeral", 0)),
            swap_mb=int(given.get("swap", 0)),
            rxtx_factor=float(given.get("rxtx_factor", 1.0)),
            is_public=is_true(given.get("os-flavor-access:is_public", True)),
            description=given.get("description"),
        )
        if flavor.rxtx_factor <= 0:
            raise Invalid("Invalid input for field/attribute rxtx_factor. It must be greater than 0")
        return {"flavor": _view(await self._flavors.create(request.context, flavor), request)}

    async def update(self, request: Request) -> dict[str, Any]:
        description = request.json["flavor"]["description"]
        changed = await self._flavors.describe(request.context, request.params["flavor_id"], description)
        return {"flavor": _view(changed, request)}

    async def delete(self, request: Request) -> None:
        await self._flavors.delete(request.context, request.params["flavor_id"])

    async def list_specs(self, request: Request) -> dict[str, Any]:
        return {"extra_specs": dict((await self._one(request)).extra_specs)}

    async def show_spec(self, request: Request) -> dict[str, Any]:
        flavor, key = await self._one(request), request.params["key"]
        if key not in flavor.extra_specs:
            raise NotFound(f"Flavor {flavor.id} has no extra specs with key {key[:255]}.")
        return {key: flavor.extra_specs[key]}

    async def add_specs(self, request: Request) -> dict[str, Any]:
        given = request.json["extra_specs"]
        await self._set(request, given)
        return {"extra_specs": given}

    async def set_spec(self, request: Request) -> dict[str, Any]:
        given: dict[str, Any] = request.json
        if request.params["key"] not in given:
            raise Invalid("Request body and URI mismatch")
        await self._set(request, given)
        return given

    async def delete_spec(self, request: Request) -> Response:
        await self._flavors.remove_spec(request.context, request.params["flavor_id"], request.params["key"])
        return Response(200)

    async def list_access(self, request: Request) -> dict[str, Any]:
        flavor_id = request.params["flavor_id"]
        return _access(flavor_id, await self._flavors.list_access(request.context, flavor_id))

    async def grant(self, request: Request) -> dict[str, Any]:
        flavor_id, tenant = request.params["flavor_id"], request.json["addTenantAccess"]["tenant"]
        return _access(flavor_id, await self._flavors.grant(request.context, flavor_id, tenant))

    async def revoke(self, request: Request) -> dict[str, Any]:
        flavor_id, tenant = request.params["flavor_id"], request.json["removeTenantAccess"]["tenant"]
        return _access(flavor_id, await self._flavors.revoke(request.context, flavor_id, tenant))

    async def _one(self, request: Request) -> Flavor:
        return await self._flavors.get(request.context, request.params["flavor_id"])

    async def _set(self, request: Request, given: Mapping[str, Any]) -> None:
        specs = {key: str(value) for key, value in given.items()}
        if request.version >= (2, 86):
            for key, value in specs.items():
                check_spec(key, value)
        await self._flavors.set_specs(request.context, request.params["flavor_id"], specs)

    async def _page(self, request: Request) -> tuple[list[Flavor], dict[str, Any]]:
        page = read_page(request)
        window = FlavorPage(_read_sort(request), page.limit, page.marker)
        found = list(await self._flavors.list(request.context, _read_filter(request), window)) if page.limit else []
        full = bool(found) and len(found) == page.limit
        return found, next_links(request, "flavors", page_path(request), found[-1].id if full else None)


def _read_sort(request: Request) -> tuple[tuple[str, bool], ...]:
    keys, directions = request.query.get("sort_key", []), request.query.get("sort_dir", [])
    if not keys:
        return SMALLEST_FIRST
    column = _SORT.get(keys[0])
    if column is None:
        raise NotBuilt(f"Flavors cannot be sorted by {keys[0]}")
    down = bool(directions) and directions[0] == "desc"
    return ((column, down), ("id", down)) if column != "id" else ((column, down),)


def _read_filter(request: Request) -> FlavorFilter:
    sizes: list[int | None] = []
    for least in ("minRam", "minDisk"):
        asked = request.query_one(least)
        if asked is not None and not (asked.isascii() and asked.isdecimal() and len(asked) < 10):
            raise Invalid(f"Invalid {least} filter [{asked[:64]}]")
        sizes.append(None if asked is None else int(asked))
    name = request.query_one("name") if request.version >= (2, 102) else None
    public = _read_public(request)
    return FlavorFilter(is_public=public, min_memory_mb=sizes[0], min_root_gb=sizes[1], name=name)


def _read_public(request: Request) -> bool | None:
    """Public ones, private ones or (None) both; only administrators choose."""
    if not request.context.is_admin:
        return None
    asked = request.query_one("is_public")
    if asked is None:
        return True
    if asked.strip().lower() == "none":
        return None
    wanted = read_boolean(asked)
    if wanted is None:
        raise Invalid(f"Invalid is_public filter [{asked[:64]}]")
    return wanted


def _view(flavor: Flavor, request: Request) -> dict[str, Any]:
    minor = request.version[1]
    shown: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "ram": flavor.memory_mb,
        "disk": flavor.root_gb,
        "vcpus": flavor.vcpus,
        "swap": flavor.swap_mb or ("" if minor < 75 else 0),
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gb,
        "os-flavor-access:is_public": flavor.is_public,
        "links": Links.of(request).both("flavors", flavor.id),
    }
    if minor < 102:
        shown |= {"rxtx_factor": flavor.rxtx_factor, "OS-FLV-DISABLED:disabled": flavor.disabled}
    if minor >= 55:
        shown["description"] = flavor.description
    if minor >= 61 and request.permits(f"{PREFIX}os-flavor-extra-specs:index"):
        shown["extra_specs"] = dict(flavor.extra_specs)
    return shown


def _access(flavor_id: str, projects: Any) -> dict[str, Any]:
    return {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": project} for project in projects]}
