"""How things of Placement look."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any

from kilonova.cloud.placement.allocation_service import Share
from kilonova.cloud.placement.candidate import Candidate, Wish
from kilonova.cloud.placement.inventory_service import Holding
from kilonova.cloud.placement.landscape import Landscape
from kilonova.cloud.placement.model import UNKNOWN, Inventory, Provider
from kilonova.kit.http import Request, Response


def answer(request: Request, document: Any, *, moment: int = 0, status: int = 200, at: str | None = None) -> Response:
    """A document (None: no body), since 1.15 with when what it shows last changed (µs; 0 for now)."""
    headers = [] if at is None else [("location", at)]
    if request.version >= (1, 15):
        changed = formatdate(moment / 1e6 if moment else time.time(), usegmt=True)
        headers += [("last-modified", changed), ("cache-control", "no-cache")]
    if document is None:
        return Response(status, b"", headers)
    return Response.json(document, status, headers)


def address(request: Request, *path: str) -> str:
    """The path of a resource on this listener."""
    return "/".join((request.service.prefix if request.service else "", *path))


def location(request: Request, *path: str) -> str:
    """Where a new resource is, as the Location header says it."""
    return "/".join((request.service_url, *path))


def provider(request: Request, one: Provider) -> dict[str, Any]:
    """A resource provider."""
    version, own = request.version, address(request, "resource_providers", one.id)
    parts = ["inventories", "usages"]
    parts += [name for since, name in ((1, "aggregates"), (6, "traits"), (11, "allocations")) if version >= (1, since)]
    links = [{"rel": "self", "href": own}, *({"rel": name, "href": f"{own}/{name}"} for name in parts)]
    shown: dict[str, Any] = {"uuid": one.id, "name": one.name, "generation": one.generation, "links": links}
    if version >= (1, 14):
        shown["parent_provider_uuid"], shown["root_provider_uuid"] = one.parent_id, one.root_id
    return shown


def inventory(one: Inventory) -> dict[str, Any]:
    """An inventory without its class."""
    return {
        "total": one.total,
        "reserved": one.reserved,
        "min_unit": one.min_unit,
        "max_unit": one.max_unit,
        "step_size": one.step_size,
        "allocation_ratio": one.allocation_ratio,
    }


def inventories(held: Holding) -> dict[str, Any]:
    """Everything that a provider has."""
    return {
        "resource_provider_generation": held.provider.generation,
        "inventories": {name: inventory(stock.inventory) for name, stock in held.stocks.items()},
    }


def consumer_share(request: Request, share: Share) -> dict[str, Any]:
    """What one consumer has, by provider."""
    found: dict[str, Any] = {}
    for one in share.allocations:
        generation = share.providers[one.provider_id].generation if one.provider_id in share.providers else 0
        entry = found.setdefault(one.provider_id, {"resources": {}, "generation": generation})
        entry["resources"][one.resource_class] = one.amount
    shown: dict[str, Any] = {"allocations": found}
    who = next(iter(share.consumers.values()), None)
    if who is not None and found and request.version >= (1, 12):
        shown["project_id"], shown["user_id"] = who.project_id, who.user_id
        if request.version >= (1, 28):
            shown["consumer_generation"] = who.generation
        if request.version >= (1, 38):
            shown["consumer_type"] = who.type or UNKNOWN
    return shown


def provider_share(request: Request, one: Provider, share: Share) -> dict[str, Any]:
    """What is used of one provider, by consumer."""
    found: dict[str, Any] = {}
    for held in share.allocations:
        entry = found.setdefault(held.consumer_id, {"resources": {}})
        entry["resources"][held.resource_class] = held.amount
        if request.version >= (1, 28):
            who = share.consumers.get(held.consumer_id)
            entry["consumer_generation"] = who.generation if who else None
    return {"allocations": found, "resource_provider_generation": one.generation}


def candidates(request: Request, land: Landscape, found: Sequence[Candidate], wish: Wish) -> dict[str, Any]:
    """Allocation requests, and a summary of every provider in a tree that one of them uses (before
    1.29: of every provider that one of them uses)."""
    used = {provider_id: None for one in found for provider_id, _ in one.amounts}
    roots = {land.places[provider_id].root_id: None for provider_id in used}
    whole = request.version >= (1, 29)
    asked = {name for group in wish.groups for name in group.resources}
    return {
        "allocation_requests": [_candidate(request, one) for one in found],
        "provider_summaries": {
            place.id: _summary(request, land, place.id, asked)
            for root in roots
            for place in land.trees[root]
            if whole or place.id in used
        },
    }


def _candidate(request: Request, one: Candidate) -> dict[str, Any]:
    amounts: dict[str, dict[str, int]] = {}
    for (provider_id, name), amount in one.amounts.items():
        amounts.setdefault(provider_id, {})[name] = amount
    if request.version < (1, 12):
        given = [{"resource_provider": {"uuid": i}, "resources": some} for i, some in amounts.items()]
        return {"allocations": given}
    shown: dict[str, Any] = {"allocations": {i: {"resources": some} for i, some in amounts.items()}}
    return {**shown, "mappings": one.mappings} if request.version >= (1, 34) else shown


def _summary(request: Request, land: Landscape, provider_id: str, asked: set[str]) -> Mapping[str, Any]:
    place, version = land.places[provider_id], request.version
    shown: dict[str, Any] = {
        "resources": {
            name: {"capacity": stock.capacity, "used": stock.used}
            for name, stock in place.stocks.items()
            if version >= (1, 27) or name in asked
        }
    }
    if version >= (1, 17):
        shown["traits"] = sorted(place.traits)
    if version >= (1, 29):
        shown["parent_provider_uuid"] = place.provider.parent_id
        shown["root_provider_uuid"] = place.root_id
    return shown
