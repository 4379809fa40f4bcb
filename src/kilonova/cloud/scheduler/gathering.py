"""What aggregates' metadata asks: who may use their hosts, and which flavors and images belong there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from kilonova.cloud.scheduler.snapshot import Mask, Snapshot

TENANT: Final = "filter_tenant_id"
SPEC: Final = "aggregate_instance_extra_specs:"
_NUMBERS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": lambda have, want: have >= want,
    "==": lambda have, want: have == want,
    "!=": lambda have, want: have != want,
    ">=": lambda have, want: have >= want,
    "<=": lambda have, want: have <= want,
}
_TEXTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "s==": lambda have, want: have == want,
    "s!=": lambda have, want: have != want,
    "s>=": lambda have, want: have >= want,
    "s>": lambda have, want: have > want,
    "s<=": lambda have, want: have <= want,
    "s<": lambda have, want: have < want,
    "<in>": lambda have, want: want in have,
}


def admits_project(snapshot: Snapshot, project_id: str) -> Mask:
    """Hosts whose aggregates name no projects (`filter_tenant_id…`), or this one."""
    closed, open_to = (np.zeros(len(snapshot), dtype=np.bool_) for _ in range(2))
    for metadata, mask in snapshot.gatherings:
        named = {one.strip() for key, text in metadata.items() if key.startswith(TENANT) for one in text.split(",")}
        if named:
            closed |= mask
            open_to |= mask if project_id in named else False
    return ~closed | open_to


def has_specs(snapshot: Snapshot, specs: Mapping[str, str]) -> Mask:
    """Hosts in aggregates with what a flavor's `aggregate_instance_extra_specs:` name."""
    left = np.ones(len(snapshot), dtype=np.bool_)
    for key, wanted in specs.items():
        if not key.startswith(SPEC):
            continue
        has = np.zeros(len(snapshot), dtype=np.bool_)
        for metadata, mask in snapshot.gatherings:
            text = metadata.get(key.removeprefix(SPEC))
            if text is not None and any(_meets(one.strip(), wanted) for one in text.split(",")):
                has |= mask
        left &= has
    return left


def suits_image(snapshot: Snapshot, properties: Mapping[str, str]) -> Mask:
    """Hosts whose aggregates do not say otherwise of a property that the image has."""
    left = np.ones(len(snapshot), dtype=np.bool_)
    for key, value in properties.items():
        said, agreed = (np.zeros(len(snapshot), dtype=np.bool_) for _ in range(2))
        for metadata, mask in snapshot.gatherings:
            if (text := metadata.get(key)) is not None:
                said |= mask
                agreed |= mask if value in {one.strip() for one in text.split(",")} else False
        left &= ~said | agreed
    return left


def _meets(have: str, wanted: str) -> bool:
    """Nova's operators of extra specs; without one, the same text."""
    words = wanted.split()
    if words and words[0] == "<or>":
        return have in words[1::2]
    if len(words) == 2 and words[0] in _TEXTS:
        return _TEXTS[words[0]](have, words[1])
    if len(words) == 2 and words[0] in _NUMBERS:
        try:
            return _NUMBERS[words[0]](float(have), float(words[1]))
        except ValueError:
            return False
    return have == wanted
