"""API versions asked for by a header (microversions), as data.

Source: OpenStack API-SIG, "Microversion Specification".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kilonova.core.errors import Invalid
from kilonova.kit.http.error import NotAcceptable

Version = tuple[int, int]
_FORM: Final = re.compile(r"^([1-9]\d{0,5})\.([1-9]\d{0,5}|0)$")
_FROM_ZERO: Final = re.compile(r"^(\d{1,6})\.(\d{1,6})$")


@dataclass(frozen=True, slots=True)
class Versioning:
    """How a service's version is asked for.

    `header` holds `<service> <version>` (several services separated by commas); `legacy`, where a service has one,
    holds the version alone. Asking for none means `minimum`; `latest` means `maximum`. `from_zero`: 0.9 is well-formed,
    though no such version is served.
    """

    service: str
    minimum: Version
    maximum: Version
    header: str
    legacy: str | None = None
    from_zero: bool = False

    def negotiate(self, header: Callable[[str], str | None]) -> Version:
        """The version to serve. Raises Invalid when malformed, NotAcceptable when not served."""
        asked = self._asked(header)
        if asked is None:
            return self.minimum
        if asked == "latest":
            return self.maximum
        form = (_FROM_ZERO if self.from_zero else _FORM).match(asked)
        if form is None:
            raise Invalid(
                f"API Version String {asked[:32]!r} is of invalid format. Must be of format MajorNum.MinorNum.",
                asked=asked[:32],
            )
        version = int(form[1]), int(form[2])
        if not self.minimum <= version <= self.maximum:
            raise NotAcceptable(
                f"Version {asked} is not supported by the API. "
                f"Minimum is {text(self.minimum)} and maximum is {text(self.maximum)}.",
                asked=asked,
                min_version=text(self.minimum),
                max_version=text(self.maximum),
            )
        return version

    def headers(self, version: Version) -> list[tuple[str, str]]:
        """What every answer says about the version that it was made by."""
        shown = text(version)
        told = [(self.header, f"{self.service} {shown}")]
        vary = self.header
        if self.legacy:
            told.append((self.legacy, shown))
            vary = f"{self.header}, {self.legacy}"
        return [*told, ("vary", vary)]

    def _asked(self, header: Callable[[str], str | None]) -> str | None:
        for part in (header(self.header.lower()) or "").split(","):
            words = part.split()
            if words and words[0].lower() == self.service:
                return words[1] if len(words) == 2 else part.strip()
        asked = header(self.legacy.lower()) if self.legacy else None
        return asked.strip() if asked else None


def text(version: Version) -> str:
    """`2.79`."""
    return f"{version[0]}.{version[1]}"
