"""Everything under `/placement`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kilonova.cloud.placement.service import PlacementServices
from kilonova.core.errors import Failure, Invalid
from kilonova.edge.openstack.auth import Gate, build_service
from kilonova.edge.openstack.fault import image_fault, placement_fault
from kilonova.edge.openstack.placement.allocation import AllocationRoutes
from kilonova.edge.openstack.placement.form import check, is_for_reading
from kilonova.edge.openstack.placement.inventory import InventoryRoutes
from kilonova.edge.openstack.placement.provider import ProviderRoutes
from kilonova.edge.openstack.placement.version import VERSIONING, discovery_routes
from kilonova.edge.openstack.placement.vocabulary import VocabularyRoutes
from kilonova.kit.http import MethodNotAllowed, Misfit, NotAcceptable, Request, Response, Service

_CODES: Final = {
    "inventory_in_use": "inventory.inuse",
    "provider_in_use": "resource_provider.inuse",
    "cannot_delete_parent": "resource_provider.cannot_delete_parent",
    "provider_not_found": "resource_provider.not_found",
}

_MALFORMED: Final = "Malformed request body"
_MISFIT: Final = {"body": "JSON does not validate: ", "query": "Invalid query string parameters: "}


def build_placement(
    services: PlacementServices,
    gate: Gate,
    prefix: str = "/placement",
    observe: Callable[[str, str, int, float], None] | None = None,
) -> Service:
    """The Placement API, to be served at `prefix`; the gate holds `placement.policy.RULES`."""
    routes = [
        *discovery_routes(),
        *ProviderRoutes(services.providers).routes(),
        *InventoryRoutes(services.inventories).routes(),
        *VocabularyRoutes(services.vocabulary).routes(),
        *AllocationRoutes(services.allocations).routes(),
    ]
    return build_service("placement", prefix, routes, gate, fault, versioning=VERSIONING, observe=observe, check=check)


def fault(failure: Failure, request: Request) -> Response:
    """As Placement words it: the domain's `why` (`concurrent_update`) is the code there."""
    why = failure.facts.get("why")
    if isinstance(why, str):
        failure.facts["code"] = f"placement.{_CODES.get(why, why)}"
    asked = failure.facts.get("asked")
    if isinstance(failure, Misfit):
        failure.message = _misfit(failure, request)
    elif isinstance(failure, MethodNotAllowed):
        failure.message = f"The method {request.method} is not allowed for this resource."
    elif isinstance(failure, NotAcceptable) and asked:
        failure.message = f"Unacceptable version header: {asked}. {failure.message}"
    elif isinstance(failure, Invalid) and asked:
        failure.message = f"invalid version string: {asked}"
    elif failure.message.startswith(_MALFORMED):
        failure.message = "Malformed JSON" + failure.message.removeprefix(_MALFORMED)
    return image_fault(failure, request) if is_for_reading(request) else placement_fault(failure, request)


def _misfit(failure: Misfit, request: Request) -> str:
    """What is wrong, by which keyword of the schema, and where: clients look for these words."""
    if failure.part == "body" and request.route is not None and request.route.schema and request.json is None:
        return "Malformed JSON: there is no document"
    rule, where = ("".join(f"[{step!r}]" for step in steps) for steps in (failure.rule[:-1], failure.path))
    failed = f"Failed validating {failure.rule[-1]!r} in schema{rule}\n\nOn instance{where}"
    return f"{_MISFIT[failure.part]}{failure.reason}\n\n{failed}"
