"""All providers at one moment, in memory: trees, who has what, who shares with whom. Pure: no SQL, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kilonova.cloud.placement.model import SHARES, Provider, Stock


@dataclass(slots=True)
class Place:
    """A provider with everything about it."""

    provider: Provider
    stocks: dict[str, Stock] = field(default_factory=dict)
    traits: set[str] = field(default_factory=set)
    aggregates: set[str] = field(default_factory=set)
    id: str = field(init=False)
    root_id: str = field(init=False)

    def __post_init__(self) -> None:
        # Read so often in a search that a property is felt.
        self.id, self.root_id = self.provider.id, self.provider.root_id

    def is_like(self, required: Iterable[frozenset[str]], forbidden: frozenset[str]) -> bool:
        """Whether it has one trait of each of `required`, and none of `forbidden`."""
        return not (forbidden & self.traits) and all(some & self.traits for some in required)

    def is_member(self, member_of: Iterable[frozenset[str]]) -> bool:
        """Whether it is in one aggregate of each of these."""
        return all(some & self.aggregates for some in member_of)

    def has(self, resource_class: str, amount: int) -> bool:
        """Whether it could give this much now."""
        stock = self.stocks.get(resource_class)
        return stock is not None and stock.has(amount)


class Landscape:
    """Providers by id, by tree and by what they have."""

    def __init__(self, places: Iterable[Place]) -> None:
        self.places = {place.id: place for place in places}
        self.trees: dict[str, list[Place]] = {}
        self._holders: dict[str, list[Place]] = {}
        self._roots_by_aggregate: dict[str, set[str]] = {}
        for place in self.places.values():
            self.trees.setdefault(place.root_id, []).append(place)
            for name in place.stocks:
                self._holders.setdefault(name, []).append(place)
            for one in place.aggregates:
                self._roots_by_aggregate.setdefault(one, set()).add(place.root_id)

    def holders(self, resource_class: str) -> list[Place]:
        """Everyone with an inventory of this class."""
        return self._holders.get(resource_class, [])

    def anchors(self, place: Place) -> list[str]:
        """The roots of the trees that a provider may serve: its own, and where it shares, those with an aggregate in
        common."""
        if SHARES not in place.traits:
            return [place.root_id]
        others = {root for one in place.aggregates for root in self._roots_by_aggregate[one]}
        return [place.root_id, *sorted(others - {place.root_id})]

    def ancestors(self, provider_id: str) -> set[str]:
        """A provider and everything above it."""
        found: set[str] = set()
        at: str | None = provider_id
        while at is not None and at not in found and at in self.places:
            found.add(at)
            at = self.places[at].provider.parent_id
        return found
