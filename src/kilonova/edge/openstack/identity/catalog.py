"""Regions, services and endpoints (Identity API v3), and the catalog that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kilonova.cloud.identity.catalog import CatalogService, Listing, check_url, url_of
from kilonova.cloud.identity.catalog_store import Entry, Noun
from kilonova.cloud.identity.model import Session
from kilonova.core.errors import Conflict, Invalid
from kilonova.edge.openstack.identity import body
from kilonova.edge.openstack.identity.view import collection
from kilonova.kit.http import PUBLIC, Request, Response, Route
from kilonova.kit.http.route import Answer

VERSION: Final = "v3.14"
UPDATED: Final = "2020-04-07T00:00:00Z"
_COLUMNS: Final[Mapping[Noun, frozenset[str]]] = {
    "region": frozenset({"id", "parent_region_id", "description"}),
    "service": frozenset({"type", "name", "description", "enabled"}),
    "endpoint": frozenset({"service_id", "region_id", "interface", "url", "enabled"}),
}
_FILTERS: Final[Mapping[Noun, tuple[str, ...]]] = {
    "region": ("parent_region_id",),
    "service": ("type", "name"),
    "endpoint": ("service_id", "interface", "region_id"),
}
_CREATE: Final = {"region": body.REGION, "service": body.SERVICE, "endpoint": body.ENDPOINT}
_CHANGE: Final = {"region": body.REGION_CHANGE, "service": body.SERVICE_CHANGE, "endpoint": body.ENDPOINT_CHANGE}


class CatalogRoutes:
    """The routes of one noun."""

    def __init__(self, noun: Noun, catalog: CatalogService) -> None:
        self._noun = noun
        self._plural = f"{noun}s"
        self._catalog = catalog

    def routes(self) -> list[Route]:
        noun, several = self._noun, f"/{self._plural}"
        one = f"{several}/{{{noun}_id}}"
        found = [
            Route("GET", several, self.list, f"identity:list_{self._plural}"),
            Route("POST", several, self.create, f"identity:create_{noun}", schema=_CREATE[noun], success=201),
            Route("GET", one, self.show, f"identity:get_{noun}"),
            Route("PATCH", one, self.change, f"identity:update_{noun}", schema=_CHANGE[noun]),
            Route("DELETE", one, self.delete, f"identity:delete_{noun}", success=204),
        ]
        if noun == "region":
            put = Route("PUT", one, self.create, "identity:create_region", schema=_CREATE[noun], success=201)
            found.append(put)
        return found

    async def list(self, request: Request) -> Answer:
        where = {key: value for key in _FILTERS[self._noun] if (value := request.query_one(key)) is not None}
        rows = [_view(one, request) for one in await self._catalog.list(self._noun, where)]
        return collection(self._plural, rows, f"{request.service_url}/v3/{self._plural}")

    async def show(self, request: Request) -> Answer:
        return self._shown(await self._catalog.show(self._noun, self._id(request)), request)

    async def create(self, request: Request) -> Answer:
        given = request.json[self._noun]
        values = await self._values(given)
        if self._noun == "region":
            values["description"] = values.get("description") or ""
            values["id"] = _region_id(given, request.params.get("region_id"))
        return self._shown(await self._catalog.create(self._noun, values), request)

    async def change(self, request: Request) -> Answer:
        given = request.json[self._noun]
        if given.get("id", self._id(request)) != self._id(request):
            raise Invalid(f"Cannot change {self._noun} ID")
        values = await self._values(given)
        values.pop("id", None)
        if self._noun == "region" and "description" in values:
            values["description"] = values["description"] or ""
        return self._shown(await self._catalog.change(self._noun, self._id(request), values), request)

    async def delete(self, request: Request) -> Answer:
        await self._catalog.delete(self._noun, self._id(request))
        return None

    async def _values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The body's members as columns; what has no column of its own is kept in `extra`."""
        columns = _COLUMNS[self._noun]
        values = {key: value for key, value in given.items() if key in columns}
        extra = {k: v for k, v in given.items() if k not in columns and k not in ("id", "links", "region")}
        if self._noun == "endpoint":
            if "url" in values:
                check_url(values["url"])
            if given.get("region") and "region_id" not in given:
                # The older word for it: such a region comes into being by being named.
                values["region_id"] = given["region"]
                await self._ensure_region(given["region"])
        return {**values, "extra": extra}

    async def _ensure_region(self, region_id: str) -> None:
        try:
            await self._catalog.create("region", {"id": region_id, "description": ""})
        except Conflict:
            return

    def _id(self, request: Request) -> str:
        return request.params[f"{self._noun}_id"]

    def _shown(self, entry: Entry, request: Request) -> Answer:
        return {self._noun: _view(entry, request)}


def show_catalog(listings: Iterable[Listing], session: Session, base_url: str) -> list[dict[str, Any]]:
    """The catalog as the holder of a token sees it: own endpoints at `base_url`, what needs a project only with one."""
    ticket = session.ticket
    facts = {"user_id": session.user.id, "project_id": ticket.project_id, "tenant_id": ticket.project_id}
    return _document(listings, base_url, facts)


def show_catalog_to(listings: Iterable[Listing], request: Request) -> list[dict[str, Any]]:
    """The catalog for the caller of a request."""
    context = request.context
    facts = {"user_id": context.user_id, "project_id": context.project_id, "tenant_id": context.project_id}
    return _document(listings, request.base_url, facts)


def _document(listings: Iterable[Listing], base_url: str, facts: Mapping[str, str | None]) -> list[dict[str, Any]]:
    found = []
    for one in listings:
        endpoints = [
            {
                "id": endpoint.id,
                "interface": endpoint.fields["interface"],
                "region_id": endpoint.fields["region_id"],
                "region": endpoint.fields["region_id"],
                "url": url,
            }
            for endpoint in one.endpoints
            if (url := url_of(endpoint, base_url, facts)) is not None
        ]
        fields = one.service.fields
        entry = {"id": one.service.id, "type": fields["type"], "name": fields["name"] or "", "endpoints": endpoints}
        found.append(entry)
    return found


def _region_id(given: Mapping[str, Any], in_path: str | None) -> str | None:
    in_body: str | None = given.get("id") or None
    if in_path is not None and in_body not in (None, in_path):
        raise Invalid(f'Conflicting region IDs specified: "{in_path}" != "{in_body}"')
    return in_path or in_body


def _view(entry: Entry, request: Request) -> dict[str, Any]:
    fields = dict(entry.fields)
    if entry.noun == "endpoint":
        fields["region"] = fields["region_id"]
        if fields["url"].startswith("/"):
            fields["url"] = request.base_url + fields["url"]
    if entry.noun == "service":
        fields = {key: value for key, value in fields.items() if value is not None}
    link = f"{request.service_url}/v3/{entry.noun}s/{entry.id}"
    return {**entry.extra, "id": entry.id, **fields, "links": {"self": link}}


def discovery_routes() -> list[Route]:
    """`GET /` and `GET /v3`, as clients discover the version."""
    return [Route("GET", "/", _show_versions, PUBLIC), Route("GET", "/v3", _show_version, PUBLIC)]


async def _show_versions(request: Request) -> Answer:
    return Response.json({"versions": {"values": [_version(request)]}}, 300, [("vary", "X-Auth-Token")])


async def _show_version(request: Request) -> Answer:
    return {"version": _version(request)}


def _version(request: Request) -> dict[str, Any]:
    return {
        "id": VERSION,
        "status": "stable",
        "updated": UPDATED,
        "links": [{"rel": "self", "href": f"{request.service_url}/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }
