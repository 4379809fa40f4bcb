"""Which providers could together give what is asked for. Pure: a function over a landscape.

Source: Placement API reference, "Allocation candidates", and its guide "Modeling with provider trees".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from kilonova.cloud.placement.landscape import Landscape, Place

MAX_STEPS: Final = 200_000
"""Combinations that one search looks at; a request that allows more is answered by what was found until then."""

Key = tuple[str, str]
"""(provider, resource class)."""


@dataclass(frozen=True, slots=True)
class Group:
    """What is asked for together. With a suffix one provider gives all of it; without one, providers of a tree (and
    those that share with it) give it between them, and have the traits between them.

    `required`: one trait of each set; `member_of`: one aggregate of each set. `with_root`: the root of the tree counts
    as one of the providers, whatever it gives.
    """

    suffix: str = ""
    resources: Mapping[str, int] = field(default_factory=dict)
    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()
    member_of: tuple[frozenset[str], ...] = ()
    not_member_of: frozenset[str] = frozenset()
    in_tree: str | None = None
    with_root: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """Groups, and how they go together. `isolate`: each group with a suffix has a provider of its own. `same_subtree`:
    suffixes of which one's provider is above the others'. `nested` False: one provider of a tree at most."""

    groups: tuple[Group, ...]
    isolate: bool = False
    root_required: frozenset[str] = frozenset()
    root_forbidden: frozenset[str] = frozenset()
    same_subtree: tuple[frozenset[str], ...] = ()
    limit: int | None = None
    nested: bool = True


@dataclass(frozen=True, slots=True)
class Option:
    """One way to satisfy one group."""

    takes: tuple[tuple[Key, int], ...]
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to satisfy all groups: amounts by (provider, resource class), and the providers by suffix."""

    amounts: Mapping[Key, int]
    mappings: Mapping[str, tuple[str, ...]]

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two of them the same."""
        return frozenset(self.amounts.items()), tuple(sorted(self.mappings.items()))


def search(land: Landscape, wish: Wish) -> list[Candidate]:
    """Every way to satisfy `wish`, each once, trees taking turns; at most `wish.limit`."""
    found: dict[tuple[object, ...], Candidate] = {}
    turns = [ways for _, ways in by_anchor(land, wish)]
    while turns:
        still = []
        for ways in turns:
            if (one := next(ways, None)) is None:
                continue
            found.setdefault(one.identity, one)
            if wish.limit is not None and len(found) >= wish.limit:
                return list(found.values())
            still.append(ways)
        turns = still
    return list(found.values())


def by_anchor(land: Landscape, wish: Wish) -> list[tuple[str, Iterator[Candidate]]]:
    """The roots of trees that can satisfy each group by itself, with the ways of each tree to satisfy all."""
    roots = None
    if wish.root_required or wish.root_forbidden:
        needs = tuple(frozenset((name,)) for name in wish.root_required)
        roots = {r for r in land.trees if r in land.places and land.places[r].is_like(needs, wish.root_forbidden)}
    steps = itertools.count()
    options: list[dict[str, list[Option]]] = []
    for group in wish.groups:
        if group.in_tree is not None and group.in_tree not in land.places:
            return []
        ways = _single(land, group, roots) if group.suffix else _spread(land, group, roots, steps)
        if not ways:
            return []
        options.append(ways)
    if not options:
        return []
    common = [anchor for anchor in options[0] if all(anchor in ways for ways in options[1:])]
    return [(anchor, _merge(land, wish, [ways[anchor] for ways in options], steps)) for anchor in common]


def _single(land: Landscape, group: Group, roots: set[str] | None) -> dict[str, list[Option]]:
    """By anchor, the providers that give all of a group alone."""
    pools = [land.holders(name) for name in group.resources]
    pool = min(pools, key=len) if pools else list(land.places.values())
    found: dict[str, list[Option]] = {}
    for place in pool:
        if not (_is_in_tree(land, place, group) and place.is_like(group.required, group.forbidden)):
            continue
        if not place.is_member(group.member_of) or group.not_member_of & place.aggregates:
            continue
        if all(place.has(name, amount) for name, amount in group.resources.items()):
            takes = tuple(((place.id, name), amount) for name, amount in group.resources.items())
            for anchor in land.anchors(place):
                if roots is None or anchor in roots:
                    found.setdefault(anchor, []).append(Option(takes, (place.id,)))
    return found


def _spread(land: Landscape, group: Group, roots: set[str] | None, steps: Iterator[int]) -> dict[str, list[Option]]:
    """By anchor, the ways in which providers give a group between them."""
    givers: dict[str, dict[str, list[Place]]] = {}
    if group.with_root and not group.resources:
        givers = {root: {} for root in land.trees if root in land.places}
    anywhere = not group.member_of and not group.not_member_of
    for name, amount in group.resources.items():
        for place in land.holders(name):
            if not place.has(name, amount) or group.forbidden & place.traits or not _is_in_tree(land, place, group):
                continue
            for anchor in _anchors(land, place, group):
                if (roots is None or anchor in roots) and (anywhere or _may_give(land, place, anchor, group)):
                    givers.setdefault(anchor, {}).setdefault(name, []).append(place)
    found: dict[str, list[Option]] = {}
    for anchor, by_class in givers.items():
        if len(by_class) == len(group.resources) and (ways := _ways(land, group, anchor, by_class, steps)):
            found[anchor] = ways
    return found


def _ways(
    land: Landscape, group: Group, anchor: str, by_class: Mapping[str, list[Place]], steps: Iterator[int]
) -> list[Option]:
    root = (land.places[anchor],) if group.with_root else ()
    if root and not root[0].is_like((), group.forbidden):
        return []
    ways = []
    for chosen in itertools.product(*by_class.values()):
        if next(steps) >= MAX_STEPS:
            break
        if not group.required or _have(group.required, (*root, *chosen)):
            named = zip(by_class, chosen, strict=True)
            takes = tuple(((place.id, name), group.resources[name]) for name, place in named)
            ways.append(Option(takes, tuple({place.id: None for place in chosen})))
    return ways


def _have(required: tuple[frozenset[str], ...], places: tuple[Place, ...]) -> bool:
    """Whether providers have one trait of each set between them."""
    traits = set().union(*(place.traits for place in places))
    return all(some & traits for some in required)


def _anchors(land: Landscape, place: Place, group: Group) -> list[str]:
    """Where a provider may give a part of a group without suffix: sharing needs membership of its own, and no tree."""
    if group.in_tree is not None or not place.is_member(group.member_of):
        return [place.root_id]
    return land.anchors(place)


def _may_give(land: Landscape, place: Place, anchor: str, group: Group) -> bool:
    """Aggregates of the root span its tree: the provider or its root is in them, and neither in a forbidden one."""
    root = land.places.get(anchor, place)
    if group.member_of and not (place.is_member(group.member_of) or root.is_member(group.member_of)):
        return False
    return not (group.not_member_of & (place.aggregates | root.aggregates))


def _is_in_tree(land: Landscape, place: Place, group: Group) -> bool:
    return group.in_tree is None or place.root_id == land.places[group.in_tree].root_id


def _merge(land: Landscape, wish: Wish, options: list[list[Option]], steps: Iterator[int]) -> Iterator[Candidate]:
    """One option of each group, together within what providers have and how groups may go together."""

    def walk(at: int, amounts: dict[Key, int], chosen: tuple[Option, ...]) -> Iterator[Candidate]:
        if at == len(options):
            if (one := _candidate(land, wish, amounts, chosen)) is not None:
                yield one
            return
        for option in options[at]:
            if next(steps) >= MAX_STEPS:
                return
            if wish.isolate and wish.groups[at].suffix and _is_taken(wish, chosen, option):
                continue
            if (more := _sum(land, amounts, option)) is not None:
                yield from walk(at + 1, more, (*chosen, option))

    return walk(0, {}, ())


def _is_taken(wish: Wish, chosen: tuple[Option, ...], option: Option) -> bool:
    others = zip(wish.groups, chosen, strict=False)
    return any(group.suffix and other.providers == option.providers for group, other in others)


def _sum(land: Landscape, amounts: dict[Key, int], option: Option) -> dict[Key, int] | None:
    """The amounts with an option's added; None when a provider has not that much."""
    more = dict(amounts)
    for key, amount in option.takes:
        total = more[key] = more.get(key, 0) + amount
        stock = land.places[key[0]].stocks[key[1]]
        if total != amount and (total > stock.inventory.max_unit or stock.used + total > stock.capacity):
            return None
    return more


def _candidate(land: Landscape, wish: Wish, amounts: Mapping[Key, int], chosen: tuple[Option, ...]) -> Candidate | None:
    mappings = {
        group.suffix: tuple(sorted(option.providers)) for group, option in zip(wish.groups, chosen, strict=True)
    }
    for suffixes in wish.same_subtree:
        members = {p for suffix in suffixes for p in mappings.get(suffix, ())}
        if members and not set.intersection(*(land.ancestors(p) for p in members)) & members:
            return None
    if not wish.nested:
        used = {provider for provider, _ in amounts}
        if len(used) != len({land.places[provider].root_id for provider in used}):
            return None
    return Candidate(amounts, mappings)
