"""Inventories and usages of a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.placement.inventory_service import Holding, InventoryService
from kilonova.cloud.placement.model import Inventory
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.edge.openstack.placement import ask, schema, view
from kilonova.edge.openstack.placement.policy import PREFIX
from kilonova.kit.http import MethodNotAllowed, Request, Response, Route

_EVERY: Final = "/resource_providers/{uuid}/inventories"
_ONE: Final = _EVERY + "/{resource_class}"


class InventoryRoutes:
    """`/resource_providers/{uuid}/inventories` and `/usages`."""

    def __init__(self, inventories: InventoryService) -> None:
        self._inventories = inventories

    def routes(self) -> list[Route]:
        rule = f"{PREFIX}resource_providers:inventories:"
        return [
            Route("GET", _EVERY, self.list, f"{rule}list"),
            Route("POST", _EVERY, self.add, f"{rule}create", schema=schema.CREATE_INVENTORY),
            Route("PUT", _EVERY, self.put_all, f"{rule}update", schema=schema.PUT_INVENTORIES),
            Route("DELETE", _EVERY, self.clear, f"{rule}delete", success=204),
            Route("GET", _ONE, self.show, f"{rule}show"),
            Route("PUT", _ONE, self.put, f"{rule}update", schema=schema.UPDATE_INVENTORY),
            Route("DELETE", _ONE, self.remove, f"{rule}delete", success=204),
            Route("GET", "/resource_providers/{uuid}/usages", self.usages, f"{PREFIX}resource_providers:usages"),
        ]

    async def list(self, request: Request) -> Response:
        held = await self._inventories.show(ask.path_id(request, "uuid"))
        return view.answer(request, view.inventories(held), moment=_newest(held))

    async def add(self, request: Request) -> Response:
        given, provider_id = request.json, ask.path_id(request, "uuid")
        name = given["resource_class"]
        wanted = read(given, name, request)
        held = await self._inventories.add(provider_id, name, wanted)
        return self._one(
            request, held, name, 201, view.location(request, "resource_providers", provider_id, "inventories", name)
        )

    async def put_all(self, request: Request) -> Response:
        given = request.json
        wanted = read_all(given["inventories"], request)
        held = await self._inventories.put_all(
            ask.path_id(request, "uuid"), wanted, given["resource_provider_generation"]
        )
        return view.answer(request, view.inventories(held), moment=_newest(held))

    async def clear(self, request: Request) -> None:
        if request.version < (1, 5):
            raise MethodNotAllowed(
                "The method specified is not allowed for this resource.", allow=["GET", "POST", "PUT"]
            )
        await self._inventories.put_all(ask.path_id(request, "uuid"), {}, None)

    async def show(self, request: Request) -> Response:
        name = request.params["resource_class"]
        held = await self._inventories.show(ask.path_id(request, "uuid"))
        if name not in held.stocks:
            raise NotFound(f"No inventory of class {name[:255]} for {held.provider.id}")
        return self._one(request, held, name)

    async def put(self, request: Request) -> Response:
        name, given = request.params["resource_class"], request.json
        wanted = read(given, name, request)
        held = await self._inventories.put(
            ask.path_id(request, "uuid"), name, wanted, given["resource_provider_generation"]
        )
        return self._one(request, held, name)

    async def remove(self, request: Request) -> None:
        """An inventory in use is told as a concurrent update here, unlike elsewhere (Placement API reference)."""
        try:
            await self._inventories.remove(ask.path_id(request, "uuid"), request.params["resource_class"])
        except Conflict as failure:
            if failure.facts.get("why") == "inventory_in_use":
                failure.facts["why"] = "concurrent_update"
            raise

    async def usages(self, request: Request) -> Response:
        held = await self._inventories.show(ask.path_id(request, "uuid"))
        used = {name: stock.used for name, stock in held.stocks.items()}
        return view.answer(request, {"resource_provider_generation": held.provider.generation, "usages": used})

    def _one(self, request: Request, held: Holding, name: str, status: int = 200, at: str | None = None) -> Response:
        stock = held.stocks[name]
        shown = {**view.inventory(stock.inventory), "resource_provider_generation": held.provider.generation}
        return view.answer(request, shown, moment=stock.updated_at, status=status, at=at)


def read(given: Mapping[str, Any], name: str, request: Request) -> Inventory:
    """An inventory of a body. Raises Invalid when nothing of it could be given out (since 1.26: less than nothing)."""
    values = {key: given[key] for key in Inventory.__dataclass_fields__ if key in given}
    one = Inventory(**{**values, "allocation_ratio": float(values.get("allocation_ratio", 1.0))})
    old = request.version < (1, 26)
    if one.capacity < 0 or (one.capacity == 0 and old):
        verb, provider_id = "create" if request.method == "POST" else "update", ask.path_id(request, "uuid")
        raise Invalid(
            f"Unable to {verb} inventory for resource provider {provider_id}: Invalid inventory for '{name}'. "
            f"The reserved value is greater than {'or equal to ' if old else ''}total."
        )
    return one


def read_all(given: Mapping[str, Any], request: Request) -> dict[str, Inventory]:
    """Inventories by class. Raises Invalid."""
    return {name: read(one, name, request) for name, one in given.items()}


def _newest(held: Holding) -> int:
    return max((stock.updated_at for stock in held.stocks.values()), default=0)
