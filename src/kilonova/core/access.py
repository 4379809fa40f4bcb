"""Which requests a narrowed credential may make: service, method and path, as access rules name them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_PATH: Final = 2048
"""No rule means a longer path: what matching costs is bounded by the two lengths."""
_PART: Final = re.compile(r"\{[^}]*\}|\*\*|\*|[^{*]+|\{")


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One kind of request. In `path`, `*` and `{name}` stand for one segment or a part of it, `**` for anything
    (Identity API v3, "Application credentials"; keystonemiddleware)."""

    id: str
    service: str
    method: str
    path: str

    def permits(self, service: str, method: str, path: str) -> bool:
        """Whether the request is of this kind; the path is taken whole and without its query."""
        return method == self.method and service == self.service and _matches(_parts(self.path), path)


@lru_cache(maxsize=4096)
def _parts(pattern: str) -> tuple[str, ...]:
    return tuple("*" if part[0] == "{" and part[-1] == "}" else part for part in _PART.findall(pattern))


def _matches(parts: tuple[str, ...], path: str) -> bool:
    """By the places that the pattern can have come to, part by part: a regular expression could be made to try every
    way to share a path among many `**`."""
    if len(path) > MAX_PATH:
        return False
    places = [0]
    for part in parts:
        if not places:
            return False
        if part == "**":
            places = list(range(places[0], len(path) + 1))
        elif part == "*":
            places = _within_segment(places, path)
        else:
            places = [place + len(part) for place in places if path.startswith(part, place)]
    return bool(places) and places[-1] == len(path)


def _within_segment(places: list[int], path: str) -> list[int]:
    """Every place at least one character on in the same segment, in order."""
    found: list[int] = []
    for place in places:
        if found and place < found[-1]:
            continue
        end = path.find("/", place)
        found.extend(range(place + 1, (len(path) if end < 0 else end) + 1))
    return found
