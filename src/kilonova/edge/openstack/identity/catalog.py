"""The service catalog, derived from what is served; every interface is the one listener."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

from kilonova.cloud.identity.model import Endpoint
from kilonova.core.errors import NotFound
from kilonova.edge.openstack.identity.view import collection
from kilonova.kit.http import PUBLIC, Request, Response, Route, unbuilt
from kilonova.kit.http.route import Answer

INTERFACES: Final = ("public", "internal", "admin")
VERSION: Final = "v3.14"
UPDATED: Final = "2020-04-07T00:00:00Z"
_SPACE: Final = uuid.UUID("9f4b4d5e-52e8-4d2c-8b52-1f5a3ad2a3c1")


def _id(*parts: str) -> str:
    """The same id for the same thing, in every process and after every start."""
    return uuid.uuid5(_SPACE, "/".join(parts)).hex


class Catalog:
    """`endpoints`: what is served, by path on the listener. `region`: its region's id."""

    def __init__(self, endpoints: Sequence[Endpoint], region: str) -> None:
        self._endpoints = tuple(endpoints)
        self._region = region

    def document(self, base_url: str) -> list[dict[str, Any]]:
        """The catalog as tokens carry it."""
        return [
            {
                "id": _id(one.service_type),
                "type": one.service_type,
                "name": one.service_name,
                "endpoints": [
                    {
                        "id": _id(one.service_type, self._region, interface),
                        "interface": interface,
                        "region_id": self._region,
                        "region": self._region,
                        "url": base_url + one.path,
                    }
                    for interface in INTERFACES
                ],
            }
            for one in self._endpoints
        ]

    def routes(self) -> list[Route]:
        """Services, endpoints and regions, to read; they follow from the configuration."""
        return [
            Route("GET", "/services", self.list_services, "identity:list_services"),
            Route("GET", "/services/{service_id}", self.show_service, "identity:get_service"),
            Route("GET", "/endpoints", self.list_endpoints, "identity:list_endpoints"),
            Route("GET", "/endpoints/{endpoint_id}", self.show_endpoint, "identity:get_endpoint"),
            Route("GET", "/regions", self.list_regions, "identity:list_regions"),
            Route("GET", "/regions/{region_id}", self.show_region, "identity:get_region"),
            *unbuilt("/services", "/services/{service_id}", "/endpoints", "/endpoints/{endpoint_id}"),
            *unbuilt("/regions", "/regions/{region_id}"),
        ]

    async def list_services(self, request: Request) -> Answer:
        rows = _filter(self._services(request), request, ("type", "name"))
        return collection("services", rows, f"{request.service_url}/v3/services")

    async def show_service(self, request: Request) -> Answer:
        return {"service": _pick(self._services(request), request.params["service_id"], "service")}

    async def list_endpoints(self, request: Request) -> Answer:
        rows = _filter(self._shown(request), request, ("service_id", "interface", "region_id"))
        return collection("endpoints", rows, f"{request.service_url}/v3/endpoints")

    async def show_endpoint(self, request: Request) -> Answer:
        return {"endpoint": _pick(self._shown(request), request.params["endpoint_id"], "endpoint")}

    async def list_regions(self, request: Request) -> Answer:
        return collection("regions", self._regions(request), f"{request.service_url}/v3/regions")

    async def show_region(self, request: Request) -> Answer:
        return {"region": _pick(self._regions(request), request.params["region_id"], "region")}

    def _services(self, request: Request) -> list[dict[str, Any]]:
        return [
            {
                "id": _id(one.service_type),
                "type": one.service_type,
                "name": one.service_name,
                "description": "",
                "enabled": True,
                "links": {"self": f"{request.service_url}/v3/services/{_id(one.service_type)}"},
            }
            for one in self._endpoints
        ]

    def _shown(self, request: Request) -> list[dict[str, Any]]:
        return [
            {
                **endpoint,
                "service_id": service["id"],
                "enabled": True,
                "links": {"self": f"{request.service_url}/v3/endpoints/{endpoint['id']}"},
            }
            for service in self.document(request.base_url)
            for endpoint in service["endpoints"]
        ]

    def _regions(self, request: Request) -> list[dict[str, Any]]:
        link = f"{request.service_url}/v3/regions/{self._region}"
        return [{"id": self._region, "description": "", "parent_region_id": None, "links": {"self": link}}]


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


def _filter(rows: list[dict[str, Any]], request: Request, keys: Sequence[str]) -> list[dict[str, Any]]:
    asked = {key: request.query_one(key) for key in keys}
    return [row for row in rows if all(value is None or row[key] == value for key, value in asked.items())]


def _pick(rows: list[dict[str, Any]], identifier: str, noun: str) -> dict[str, Any]:
    for row in rows:
        if row["id"] == identifier:
            return row
    raise NotFound(f"Could not find {noun}: {identifier}.")
