"""Which part of an image a download asks for (RFC 9110, "Range"; and Content-Range, which Glance takes as well)."""

from __future__ import annotations

import re
from typing import Final

from kilonova.core.errors import Invalid
from kilonova.kit.http import HttpFailure

_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


class Unsatisfiable(HttpFailure):
    """No such part."""

    code = "range_not_satisfiable"
    status = 416


def read_span(wanted: str | None, content_range: str | None, size: int) -> tuple[int, int] | None:
    """(first byte, length) of an image of `size` bytes; None: all of it. Raises Invalid (several ranges),
    Unsatisfiable."""
    if wanted is not None:
        if "," in wanted:
            raise Invalid(
                "Requests with multiple ranges are not supported. You may make multiple single-range requests instead."
            )
        return _range(wanted, size)
    return None if content_range is None else _content_range(content_range, size)


def _range(wanted: str, size: int) -> tuple[int, int]:
    form = _RANGE.fullmatch(wanted.strip())
    if form is None or not (form[1] or form[2]):
        raise Unsatisfiable("Invalid Range header.")
    if not form[1]:
        length = min(int(form[2]), size)
        if not length:
            raise Unsatisfiable("Invalid Range header.")
        return size - length, length
    first, last = int(form[1]), min(int(form[2]) if form[2] else size - 1, size - 1)
    _check_start(first, size, "Range")
    if last < first:
        raise Unsatisfiable("Invalid Range header.")
    return first, last - first + 1


def _content_range(given: str, size: int) -> tuple[int, int]:
    form = _CONTENT_RANGE.fullmatch(given.strip())
    if form is None or int(form[2]) < int(form[1]) or (form[3] != "*" and int(form[2]) >= int(form[3])):
        raise Unsatisfiable("Invalid Content-Range header.")
    first, last = int(form[1]), int(form[2])
    _check_start(first, size, "Content-Range")
    if last >= size:
        raise Unsatisfiable(
            "Invalid stop position in Content-Range header. "
            f"The stop position MUST be in the inclusive range [0, {size - 1}]."
        )
    return first, last - first + 1


def _check_start(first: int, size: int, header: str) -> None:
    if first >= size:
        raise Unsatisfiable(
            f"Invalid start position in {header} header. Start position MUST be in the inclusive range [0, {size - 1}]."
        )
