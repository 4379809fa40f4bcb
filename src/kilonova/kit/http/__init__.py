"""HTTP: routes as data, schema checks, API versions, failures → responses. See `route.Route` and `route.Service`."""

from kilonova.kit.http.app import App
from kilonova.kit.http.error import (
    ClientGone,
    HttpFailure,
    MethodNotAllowed,
    Misfit,
    NotAcceptable,
    TooManyRequests,
    UnsupportedMedia,
    status_of,
)
from kilonova.kit.http.request import Request
from kilonova.kit.http.response import Response
from kilonova.kit.http.route import AUTHENTICATED, PUBLIC, Gate, Handler, Route, Service, unbuilt
from kilonova.kit.http.schema import VersionedSchemas, multi, query, single
from kilonova.kit.http.seat import Seats
from kilonova.kit.http.version import Version, Versioning

__all__ = [
    "AUTHENTICATED",
    "PUBLIC",
    "App",
    "ClientGone",
    "Gate",
    "Handler",
    "HttpFailure",
    "MethodNotAllowed",
    "Misfit",
    "NotAcceptable",
    "Request",
    "Response",
    "Route",
    "Seats",
    "Service",
    "TooManyRequests",
    "UnsupportedMedia",
    "Version",
    "VersionedSchemas",
    "Versioning",
    "multi",
    "query",
    "single",
    "status_of",
    "unbuilt",
]
