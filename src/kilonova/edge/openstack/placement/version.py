"""Which versions of the Placement API are spoken, and how clients find out."""

from __future__ import annotations

from typing import Any, Final

from kilonova.edge.openstack.placement.view import answer
from kilonova.kit.http import PUBLIC, Request, Response, Route, Version, Versioning
from kilonova.kit.http.version import text

MINIMUM: Final[Version] = (1, 0)
MAXIMUM: Final[Version] = (1, 39)

VERSIONING: Final = Versioning("placement", MINIMUM, MAXIMUM, header="openstack-api-version", from_zero=True)


def discovery_routes() -> list[Route]:
    """`GET /`, which needs no token."""
    return [Route("GET", "/", _show_versions, PUBLIC)]


async def _show_versions(request: Request) -> Response:
    shown: dict[str, Any] = {
        "id": f"v{text(MINIMUM)}",
        "max_version": text(MAXIMUM),
        "min_version": text(MINIMUM),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }
    return answer(request, {"versions": [shown]})
