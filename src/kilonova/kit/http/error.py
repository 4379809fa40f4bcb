"""Failures that only HTTP knows, and the status that each kind of failure has unless a dialect says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final, Literal

from kilonova.core.errors import Failure, Invalid

STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "invalid": 400,
        "unauthenticated": 401,
        "forbidden": 403,
        "not_found": 404,
        "conflict": 409,
        "too_large": 413,
        "quota_exceeded": 403,
        "no_capacity": 409,
        "not_built": 501,
        "unavailable": 503,
        "expired": 503,
        "lost": 409,
    }
)


class HttpFailure(Failure):
    """A failure with a status of its own."""

    code = "http"
    status: ClassVar[int] = 400


class Misfit(Invalid):
    """The body or the query does not fit its schema; `part` says which. For dialects that word it differently: `reason`
    is the message without the field, `rule` where in the schema stands what failed, `path` where in the document."""

    def __init__(
        self,
        message: str,
        part: Literal["body", "query"],
        reason: str = "",
        rule: Sequence[str | int] = (),
        path: Sequence[str | int] = (),
    ) -> None:
        super().__init__(message)
        self.part, self.reason = part, reason or message
        self.rule, self.path = tuple(rule), tuple(path)


class MethodNotAllowed(HttpFailure):
    """The path is known, the method is not. `facts["allow"]` lists those that are (RFC 9110 §15.5.6)."""

    code = "method_not_allowed"
    status = 405


class NotAcceptable(HttpFailure):
    """A well-formed API version that is not served, or no form of the answer that the client takes."""

    code = "not_acceptable"
    status = 406


class UnsupportedMedia(HttpFailure):
    """The body is of a type that the route does not take."""

    code = "unsupported_media"
    status = 415


class TooManyRequests(HttpFailure):
    """Slow down."""

    code = "too_many_requests"
    status = 429


class ClientGone(HttpFailure):
    """The client left before its request was complete; nobody reads the answer."""

    code = "client_gone"
    status = 400


def status_of(failure: Failure) -> int:
    """The HTTP status of a failure: its own, else its kind's, else 500."""
    return failure.status if isinstance(failure, HttpFailure) else STATUS.get(failure.code, 500)
