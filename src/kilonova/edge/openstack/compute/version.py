"""Which versions of the Compute API are spoken, and how clients find out."""

from __future__ import annotations

from typing import Any, Final

from kilonova.core.errors import NotFound
from kilonova.kit.http import PUBLIC, Request, Response, Route, Version, Versioning
from kilonova.kit.http.version import text

MINIMUM: Final[Version] = (2, 1)
MAXIMUM: Final[Version] = (2, 104)
"""What is built is right at every version up to here; what is not built answers 501 where Nova has it."""

VERSIONING: Final = Versioning(
    "compute", MINIMUM, MAXIMUM, header="OpenStack-API-Version", legacy="X-OpenStack-Nova-API-Version"
)
UPDATED: Final = "2013-07-23T11:33:21Z"


def since(minor: int) -> Version:
    """Version 2.`minor`."""
    return (2, minor)


def discovery_routes() -> list[Route]:
    """`GET /` and `GET /v2.1`, which need no token, at paths from the service's prefix."""
    return [
        Route("GET", "/", _show_versions, PUBLIC),
        Route("GET", "/versions", _offer_choices, PUBLIC),
        Route("GET", "/v2.1", _show_version, PUBLIC),
        Route("GET", "/v2.1/{project_id:[0-9a-f-]+}", _show_version, PUBLIC),
        Route("GET", "/v2.1/versions/{id}", _show_named_version, PUBLIC),
    ]


async def _show_versions(request: Request) -> dict[str, Any]:
    return {"versions": [_summary(request)]}


async def _offer_choices(request: Request) -> Response:
    choice = {
        "id": "v2.1",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": f"{request.service_url}/v2.1/versions"}],
        "media-types": _MEDIA,
    }
    return Response.json({"choices": [choice]}, 300)


async def _show_version(request: Request) -> dict[str, Any]:
    summary = _summary(request)
    described = {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}
    return {"version": {**summary, "links": [*summary["links"], described], "media-types": _MEDIA}}


async def _show_named_version(request: Request) -> dict[str, Any]:
    if request.params["id"] != "v2.1":
        raise NotFound("The resource could not be found.")
    return await _show_version(request)


_MEDIA: Final = [{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}]


def _summary(request: Request) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": text(MAXIMUM),
        "min_version": text(MINIMUM),
        "updated": UPDATED,
        "links": [{"rel": "self", "href": f"{request.service_url}/v2.1/"}],
    }
