"""Allocations, their candidates, usages of projects, and the reshaper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kilonova.cloud.placement.allocation_service import AllocationService
from kilonova.cloud.placement.model import EVERYTHING, NOBODY, UNKNOWN, Usage, Wanted
from kilonova.core.errors import Invalid
from kilonova.core.ids import is_uuid
from kilonova.edge.openstack.placement import ask, schema, view
from kilonova.edge.openstack.placement.inventory import read_all
from kilonova.edge.openstack.placement.policy import PREFIX
from kilonova.kit.http import Request, Response, Route, Version

_ONE: Final = "/allocations/{consumer_uuid}"


class AllocationRoutes:
    """`/allocations`, `/resource_providers/{uuid}/allocations`, `/allocation_candidates` (1.10), `/usages` (1.9) and
    `/reshaper` (1.30)."""

    def __init__(self, allocations: AllocationService) -> None:
        self._allocations = allocations

    def routes(self) -> list[Route]:
        rule, of_provider = f"{PREFIX}allocations:", "/resource_providers/{uuid}/allocations"
        return [
            Route("GET", of_provider, self.of_provider, f"{PREFIX}resource_providers:allocations:list"),
            Route("GET", _ONE, self.of_consumer, f"{rule}list"),
            Route("PUT", _ONE, self.put, f"{rule}update", schema=schema.PUT_ALLOCATIONS, success=204),
            Route("DELETE", _ONE, self.remove, f"{rule}delete", success=204),
            Route(
                "POST", "/allocations", self.post, f"{rule}manage", schema=schema.POST_ALLOCATIONS, success=204,
                min_version=(1, 13),
            ),
            Route(
                "GET", "/allocation_candidates", self.candidates, f"{PREFIX}allocation_candidates:list",
                query=schema.CANDIDATES, min_version=(1, 10),
            ),
            Route(
                "GET", "/usages", self.usages, f"{PREFIX}usages", query=schema.USAGES, min_version=(1, 9),
                target=_whose,
            ),
            Route(
                "POST", "/reshaper", self.reshape, f"{PREFIX}reshaper:reshape", schema=schema.RESHAPE, success=204,
                min_version=(1, 30),
            ),
        ]  # fmt: skip

    async def of_provider(self, request: Request) -> Response:
        provider_id = ask.path_id(request, "uuid")
        share = await self._allocations.of_provider(provider_id)
        newest = max((one.created_at for one in share.allocations), default=0)
        shown = view.provider_share(request, share.providers[provider_id], share)
        return view.answer(request, shown, moment=newest)

    async def of_consumer(self, request: Request) -> Response:
        share = await self._allocations.of_consumer(ask.path_id(request, "consumer_uuid"))
        newest = max((one.created_at for one in share.allocations), default=0)
        return view.answer(request, view.consumer_share(request, share), moment=newest)

    async def put(self, request: Request) -> None:
        named = request.params["consumer_uuid"]
        if not is_uuid(named):
            raise Invalid(f"Malformed consumer_uuid: {named[:64]}")
        await self._allocations.replace({ask.canonical(named): _wanted(request.json, request.version)})

    async def post(self, request: Request) -> None:
        await self._allocations.replace(_all_wanted(request.json, request.version))

    async def remove(self, request: Request) -> None:
        await self._allocations.remove(ask.path_id(request, "consumer_uuid"))

    async def candidates(self, request: Request) -> Response:
        wish = ask.wish(request)
        land, found = await self._allocations.candidates(wish)
        return view.answer(request, view.candidates(request, land, found, wish))

    async def usages(self, request: Request) -> Response:
        """Before 1.38 by class; since then by the consumers' type, and there by class."""
        project_id = request.query_one("project_id") or ""
        found = await self._allocations.usages(project_id, request.query_one("user_id"))
        if request.version < (1, 38):
            return view.answer(request, {"usages": dict(_total(found).amounts)})
        kind = request.query_one("consumer_type")
        if kind == EVERYTHING:
            named = {EVERYTHING: _total(found)} if found else {}
        else:
            named = {name or UNKNOWN: one for name, one in found.items() if kind in (None, name or UNKNOWN)}
        shown = {name: {**one.amounts, "consumer_count": one.consumers} for name, one in named.items()}
        return view.answer(request, {"usages": shown})

    async def reshape(self, request: Request) -> None:
        given, version = request.json, request.version
        inventories = {
            provider_id: (one["resource_provider_generation"], read_all(one["inventories"], request))
            for provider_id, one in ask.by_id(given["inventories"]).items()
        }
        await self._allocations.reshape(inventories, _all_wanted(given["allocations"], version))


async def _whose(request: Request) -> Mapping[str, str | None]:
    return {"project_id": request.query_one("project_id")}


def _wanted(given: Mapping[str, Any], version: Version) -> Wanted:
    """What a consumer shall have: a list before 1.12, by provider since."""
    if version < (1, 12):
        amounts = _merged(given["allocations"])
    else:
        amounts = {provider_id: one["resources"] for provider_id, one in ask.by_id(given["allocations"]).items()}
    return Wanted(
        amounts,
        given.get("project_id", NOBODY),
        given.get("user_id", NOBODY),
        given.get("consumer_type"),
        given.get("consumer_generation"),
        guarded=version >= (1, 28),
    )


def _merged(listed: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Amounts by provider and class; a provider may be listed more than once."""
    amounts: dict[str, dict[str, int]] = {}
    for one in listed:
        of_provider = amounts.setdefault(ask.canonical(one["resource_provider"]["uuid"]), {})
        for name, amount in one["resources"].items():
            of_provider[name] = of_provider.get(name, 0) + amount
    return amounts


def _all_wanted(given: Mapping[str, Any], version: Version) -> dict[str, Wanted]:
    return {consumer_id: _wanted(one, version) for consumer_id, one in ask.by_id(given).items()}


def _total(found: Mapping[str | None, Usage]) -> Usage:
    amounts: dict[str, int] = {}
    for one in found.values():
        for name, amount in one.amounts.items():
            amounts[name] = amounts.get(name, 0) + amount
    return Usage(amounts, sum(one.consumers for one in found.values()))
