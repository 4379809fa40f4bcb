"""Failures in the words of each OpenStack service. Every function here is a `kit.http.route.Fault`."""

from __future__ import annotations

import html
from http import HTTPStatus
from typing import Final

from kilonova.core.errors import Failure
from kilonova.kit.http import MethodNotAllowed, NotAcceptable, Request, Response, status_of

_COMPUTE_NAMES: Final = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
_RETRY: Final = {413: "0", 429: "1", 503: "1"}
_NETWORK_TYPES: Final = {
    400: "HTTPBadRequest",
    401: "HTTPUnauthorized",
    403: "PolicyNotAuthorized",
    404: "HTTPNotFound",
    409: "Conflict",
    501: "HTTPNotImplemented",
    503: "ServiceUnavailable",
}
DENIED: Final = "The request you have made requires authentication."


def compute_fault(failure: Failure, request: Request) -> Response:
    """`{"itemNotFound": {"code": 404, "message": …}}` (Compute API guide, "Faults"); volumes use it too."""
    status = status_of(failure)
    if status == 401:
        return _denied(failure, request)
    name = _COMPUTE_NAMES.get(status, "computeFault")
    fault: dict[str, object] = {"code": status, "message": failure.message}
    if isinstance(failure, NotAcceptable):
        fault.update(_range(failure))
    return Response.json({name: fault}, status, _headers(failure, status))


volume_fault = compute_fault


def identity_fault(failure: Failure, request: Request) -> Response:
    """`{"error": {"code": 404, "message": …, "title": "Not Found"}}` (Identity API v3)."""
    status = status_of(failure)
    if status == 401:
        return _denied(failure, request)
    message = failure.message
    if status == 403 and "rule" in failure.facts:
        message = f"You are not authorized to perform the requested action: {failure.facts['rule']}."
    return Response.json(_error(status, message), status, _headers(failure, status))


def network_fault(failure: Failure, request: Request) -> Response:
    """`{"NeutronError": {"type": …, "message": …, "detail": ""}}`; `facts["type"]` names the kind where one is known.
    A project's quota is 409 there."""
    status = 409 if failure.code == "quota_exceeded" else status_of(failure)
    if status == 401:
        return _denied(failure, request)
    kind = failure.facts.get("type") or _NETWORK_TYPES.get(status, "HTTPInternalServerError")
    if failure.code == "quota_exceeded":
        kind = "OverQuota"
    document = {"NeutronError": {"type": kind, "message": failure.message, "detail": ""}}
    return Response.json(document, status, _headers(failure, status))


def image_fault(failure: Failure, request: Request) -> Response:
    """A small HTML page whose text is the message, as Glance answers and its clients parse. Quota is 413 there."""
    status = 413 if failure.code == "quota_exceeded" else status_of(failure)
    if status == 401:
        return _denied(failure, request)
    title = f"{status} {_phrase(status)}"
    page = (
        f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n"
        f"  {html.escape(failure.message)}<br /><br />\n\n\n\n </body>\n</html>"
    )
    headers = [("content-type", "text/html; charset=UTF-8"), *_headers(failure, status)]
    return Response(status, page.encode(), headers)


def placement_fault(failure: Failure, request: Request) -> Response:
    """`{"errors": [{"status", "title", "detail", "request_id"}]}` (API-SIG "Errors"), with the `code` since 1.23:
    `facts["code"]` where the reference names one."""
    status = status_of(failure)
    if status == 401:
        return _denied(failure, request)
    error: dict[str, object] = {
        "status": status,
        "title": _phrase(status),
        "detail": failure.message,
        "request_id": request.request_id,
    }
    if request.version >= (1, 23):
        error["code"] = failure.facts.get("code", "placement.undefined_code")
    if isinstance(failure, NotAcceptable):
        error.update(_range(failure))
    return Response.json({"errors": [error]}, status, _headers(failure, status))


def _range(failure: Failure) -> dict[str, object]:
    """Which versions are served, where one was asked for that is not."""
    return {key: failure.facts[key] for key in ("min_version", "max_version") if key in failure.facts}


def _denied(failure: Failure, request: Request) -> Response:
    """401 as keystonemiddleware and Keystone write it: where to get a token, and no reason but the one."""
    challenge = ("www-authenticate", f'Keystone uri="{request.base_url}/identity"')
    return Response.json(_error(401, failure.message or DENIED), 401, [challenge])


def _error(status: int, message: str) -> dict[str, object]:
    return {"error": {"code": status, "message": message, "title": _phrase(status)}}


def _headers(failure: Failure, status: int) -> list[tuple[str, str]]:
    headers = [("retry-after", _RETRY[status])] if status in _RETRY else []
    if isinstance(failure, MethodNotAllowed):
        headers.append(("allow", ", ".join(failure.facts["allow"])))
    return headers


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
