"""What a flavor asks for beside its sizes, and which hosts could give it. Pure.

Source: Nova, "Extra Specs": `resources{group}:{class}={amount}`, `trait{group}:{name}=required|forbidden`,
`group_policy=none|isolate`. VCPU, MEMORY_MB and DISK_GB without a group follow the flavor's sizes here, always.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from kilonova.cloud.placement.candidate import Group, Wish, by_anchor
from kilonova.cloud.placement.landscape import Landscape
from kilonova.cloud.placement.model import HOST_CLASSES, MAX_INT
from kilonova.core.errors import Invalid

_KEY: Final = re.compile(r"^(resources|trait)([1-9][0-9]{0,3}|_[A-Za-z0-9_-]{1,63}|):([A-Z0-9_]{1,255})$")
_POLICIES: Final = ("none", "isolate")
WAYS: Final = 8
"""Ways of one host that are tried before the next host is."""

Takes = tuple[tuple[str, str, int], ...]
"""(provider, resource class, amount)."""


@dataclass(frozen=True, slots=True)
class Offers:
    """The hosts that can give what is asked for, each with its ways to; `nearest`: why the others cannot, in words."""

    ways: Mapping[str, tuple[Takes, ...]]
    nearest: str


def wish_of(extra_specs: Mapping[str, str]) -> Wish | None:
    """What extra specs ask of providers; None when they ask for nothing. Raises Invalid when they make no sense."""
    resources: dict[str, dict[str, int]] = {}
    traits: dict[str, dict[str, set[str]]] = {}
    for key, value in extra_specs.items():
        if (form := _KEY.match(key)) is None:
            continue
        kind, suffix, name = form.groups()
        if kind == "resources" and (suffix or name not in HOST_CLASSES):
            resources.setdefault(suffix, {})[name] = _amount(key, value)
        elif kind == "trait":
            _check_trait(key, value)
            traits.setdefault(suffix, {}).setdefault(value, set()).add(name)
    suffixes = sorted({*resources, *traits})
    if not suffixes:
        return None
    policy = extra_specs.get("group_policy")
    numbered = [suffix for suffix in suffixes if suffix]
    if policy not in _POLICIES and (policy is not None or len(numbered) > 1):
        raise Invalid("The flavor's extra specs need group_policy, which is 'none' or 'isolate'")
    if bare := [suffix for suffix in numbered if suffix not in resources]:
        raise Invalid(f"The flavor's extra specs ask for traits but no resources in group {bare[0]}")
    groups = tuple(_group(suffix, resources.get(suffix, {}), traits.get(suffix, {})) for suffix in suffixes)
    return Wish(groups, isolate=policy == "isolate")


def check_spec(key: str, value: str, sizes: Mapping[str, int]) -> None:
    """Nothing, if a flavor of these sizes (by class) may have this extra spec, whatever others it has or will get.
    Raises Invalid: a boot would fail by it, or take what it does not say."""
    if key == "group_policy" and value not in _POLICIES:
        raise Invalid(f"The extra spec group_policy is 'none' or 'isolate', not '{value[:64]}'")
    if (form := _KEY.match(key)) is None:
        return
    kind, suffix, name = form.groups()
    if kind == "trait":
        _check_trait(key, value)
    elif suffix or name not in HOST_CLASSES:
        _amount(key, value)
    elif value != str(sizes[name]):
        raise Invalid(f"The flavor's size decides what its servers take: {key} can only be {sizes[name]}")


def takes_something(extra_specs: Mapping[str, str]) -> bool:
    """Whether a server with these extra specs may have allocations beside its claim."""
    return any(key.startswith("resources") for key in extra_specs)


def offers(land: Landscape, wish: Wish) -> Offers:
    """Which hosts can satisfy a wish, by themselves and what hangs below them or shares with them."""
    ways: dict[str, tuple[Takes, ...]] = {}
    for anchor, found in by_anchor(land, wish):
        place = land.places.get(anchor)
        if place is not None and place.provider.is_host:
            some = tuple(_takes(one.amounts) for one in islice(found, WAYS))
            if some:
                ways[anchor] = some
    return Offers(ways, "; ".join(_misses(land, wish.groups)))


def _group(suffix: str, resources: Mapping[str, int], traits: Mapping[str, set[str]]) -> Group:
    required = tuple(frozenset((name,)) for name in sorted(traits.get("required", ())))
    forbidden = frozenset(traits.get("forbidden", ()))
    return Group(suffix, resources, required, forbidden, with_root=not suffix)


def _check_trait(key: str, value: str) -> None:
    if value not in ("required", "forbidden"):
        raise Invalid(f"The flavor's extra spec {key} is neither 'required' nor 'forbidden'")


def _amount(key: str, value: str) -> int:
    digits = value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_INT))
    if not digits or not 0 < int(value) <= MAX_INT:
        raise Invalid(f"The flavor's extra spec {key} is not a positive number")
    return int(value)


def _takes(amounts: Mapping[tuple[str, str], int]) -> Takes:
    return tuple((provider_id, name, amount) for (provider_id, name), amount in sorted(amounts.items()))


def _misses(land: Landscape, groups: Iterable[Group]) -> list[str]:
    """What no provider has by itself; where each has a part, nothing is told."""
    told = []
    for group in groups:
        for name, amount in group.resources.items():
            free = [p.stocks[name].capacity - p.stocks[name].used for p in land.holders(name)]
            if not any(p.has(name, amount) for p in land.holders(name)):
                told.append(f"{max(free, default=0)} {name} free, {amount} needed")
        for some in group.required:
            if not any(some & place.traits for place in land.places.values()):
                told.append(f"no provider has {' or '.join(sorted(some))}")
    return told
