"""How a driver says that it could not do it."""

from __future__ import annotations


class DriverError(Exception):
    """A driver could not do what was asked. `message` is public text, `detail` (the exception's cause, command output)
    is not. `code` is stable: `no_space`, `image_corrupt`, `image_refused`, `no_such_guest`, `no_memory`, `driver`, …
    `retryable` means that the same call may succeed later without anyone changing the request.
    """

    def __init__(self, code: str, message: str, *, detail: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
        self.retryable = retryable
