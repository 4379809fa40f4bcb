"""The kinds of failure that kilonova knows. Edges map a kind to the answer of their dialect; nothing else does.

`message` is public text: it may reach any caller of the API. `detail` is for logs and operators only.
"""

from __future__ import annotations

from typing import Any, ClassVar


class Failure(Exception):
    """Base of all expected failures. `code` is stable and machine-readable; `facts` carries public data."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.facts = facts


class Invalid(Failure):
    """The request makes no sense as written."""

    code = "invalid"


class Unauthenticated(Failure):
    """Nobody known is asking: no token, or one that is forged, expired or revoked."""

    code = "unauthenticated"


class Forbidden(Failure):
    """The caller is known and may not do this."""

    code = "forbidden"


class NotFound(Failure):
    """It does not exist, or the caller may not know that it does."""

    code = "not_found"


class Conflict(Failure):
    """The request is fine but not in the present state."""

    code = "conflict"


class TooLarge(Failure):
    """More bytes than are taken."""

    code = "too_large"


class QuotaExceeded(Failure):
    """The project's (or user's) limit does not allow it."""

    code = "quota_exceeded"


class NoCapacity(Failure):
    """No host, address or device is left; `facts` says why not."""

    code = "no_capacity"


class NotBuilt(Failure):
    """Part of the dialect that kilonova does not have; docs/coverage.md lists it."""

    code = "not_built"


class Unavailable(Failure):
    """Something that is needed does not answer now."""

    code = "unavailable"
    retryable = True


class Expired(Failure):
    """A deadline passed without progress."""

    code = "expired"


class Lost(Failure):
    """The caller no longer owns what it is changing (a fence or version moved on)."""

    code = "lost"
