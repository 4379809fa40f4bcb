"""Resource providers, their traits and their aggregates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.placement.provider_service import ProviderService, Sieve
from kilonova.edge.openstack.placement import ask, schema, view
from kilonova.edge.openstack.placement.policy import PREFIX
from kilonova.kit.http import Request, Response, Route

_ONE: Final = "/resource_providers/{uuid}"


class ProviderRoutes:
    """`/resource_providers` and what belongs to one of them beside its inventories."""

    def __init__(self, providers: ProviderService) -> None:
        self._providers = providers

    def routes(self) -> list[Route]:
        rule, every = f"{PREFIX}resource_providers:", "/resource_providers"
        traits, aggregates = f"{_ONE}/traits", f"{_ONE}/aggregates"
        return [
            Route("GET", every, self.list, f"{rule}list", query=schema.LIST_PROVIDERS),
            Route("POST", every, self.create, f"{rule}create", schema=schema.CREATE_PROVIDER),
            Route("GET", _ONE, self.show, f"{rule}show"),
            Route("PUT", _ONE, self.update, f"{rule}update", schema=schema.UPDATE_PROVIDER),
            Route("DELETE", _ONE, self.delete, f"{rule}delete", success=204),
            Route("GET", traits, self.traits, f"{rule}traits:list", min_version=(1, 6)),
            Route(
                "PUT", traits, self.set_traits, f"{rule}traits:update", schema=schema.PUT_TRAITS, min_version=(1, 6)
            ),
            Route("DELETE", traits, self.clear_traits, f"{rule}traits:delete", success=204, min_version=(1, 6)),
            Route("GET", aggregates, self.aggregates, f"{rule}aggregates:list", min_version=(1, 1)),
            Route(
                "PUT", aggregates, self.set_aggregates, f"{rule}aggregates:update", schema=schema.PUT_AGGREGATES,
                min_version=(1, 1),
            ),
        ]  # fmt: skip

    async def list(self, request: Request) -> Response:
        asked = request.query
        required, forbidden = ask.traits(request)
        member_of, not_member_of = ask.aggregates(request)
        sieve = Sieve(
            name=asked["name"][-1] if "name" in asked else None,
            id=ask.canonical(asked["uuid"][-1]) if "uuid" in asked else None,
            in_tree=ask.canonical(asked["in_tree"][-1]) if "in_tree" in asked else None,
            resources=ask.resources(asked["resources"][-1]) if "resources" in asked else {},
            required=required,
            forbidden=forbidden,
            member_of=member_of,
            not_member_of=not_member_of,
        )
        found = await self._providers.list(sieve)
        newest = max((one.updated_at for one in found), default=0)
        return view.answer(
            request, {"resource_providers": [view.provider(request, one) for one in found]}, moment=newest
        )

    async def create(self, request: Request) -> Response:
        """201 and nothing; since 1.20 200 and what it is."""
        given = request.json
        own = ask.canonical(given["uuid"]) if "uuid" in given else None
        one = await self._providers.create(given["name"], own, _parent(given))
        at = view.location(request, "resource_providers", one.id)
        if request.version < (1, 20):
            return Response(201, b"", [("location", at)])
        return view.answer(request, view.provider(request, one), moment=one.updated_at, at=at)

    async def show(self, request: Request) -> Response:
        one = await self._providers.get(ask.path_id(request, "uuid"))
        return view.answer(request, view.provider(request, one), moment=one.updated_at)

    async def update(self, request: Request) -> Response:
        given = request.json
        parent = (_parent(given),) if "parent_provider_uuid" in given else None
        one = await self._providers.update(
            ask.path_id(request, "uuid"), given["name"], parent=parent, may_move=request.version >= (1, 37)
        )
        return view.answer(request, view.provider(request, one), moment=one.updated_at)

    async def delete(self, request: Request) -> None:
        await self._providers.delete(ask.path_id(request, "uuid"))

    async def traits(self, request: Request) -> Response:
        one, names = await self._providers.traits(ask.path_id(request, "uuid"))
        shown = {"traits": names, "resource_provider_generation": one.generation}
        return view.answer(request, shown, moment=one.updated_at)

    async def set_traits(self, request: Request) -> Response:
        given = request.json
        one, names = await self._providers.set_traits(
            ask.path_id(request, "uuid"), given["traits"], given["resource_provider_generation"]
        )
        shown = {"traits": names, "resource_provider_generation": one.generation}
        return view.answer(request, shown, moment=one.updated_at)

    async def clear_traits(self, request: Request) -> None:
        await self._providers.set_traits(ask.path_id(request, "uuid"), (), None)

    async def aggregates(self, request: Request) -> Response:
        one, ids = await self._providers.aggregates(ask.path_id(request, "uuid"))
        return view.answer(request, _aggregates(request, one.generation, ids))

    async def set_aggregates(self, request: Request) -> Response:
        """A list; since 1.19 with the generation, which then rises."""
        given, guarded = request.json, request.version >= (1, 19)
        ids = list(dict.fromkeys(map(ask.canonical, given["aggregates"] if guarded else given)))
        generation = given["resource_provider_generation"] if guarded else None
        one, _ = await self._providers.set_aggregates(ask.path_id(request, "uuid"), ids, generation, noticed=guarded)
        return view.answer(request, _aggregates(request, one.generation, ids))


def _parent(given: Mapping[str, Any]) -> str | None:
    parent = given.get("parent_provider_uuid")
    return None if parent is None else ask.canonical(parent)


def _aggregates(request: Request, generation: int, ids: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"aggregates": ids}
    return {**shown, "resource_provider_generation": generation} if request.version >= (1, 19) else shown
