"""Resource classes and traits: the names that there are."""

from __future__ import annotations

import re
from typing import Any, Final

from kilonova.cloud.placement.vocabulary_service import VocabularyService
from kilonova.core.errors import Conflict, Invalid
from kilonova.edge.openstack.placement import schema, view
from kilonova.edge.openstack.placement.policy import PREFIX
from kilonova.kit.http import Misfit, Request, Response, Route

_CUSTOM: Final = re.compile(r"CUSTOM_[A-Z0-9_]{1,248}")
MOST: Final = 255
_CLASS: Final = "/resource_classes/{name}"
_TRAIT: Final = "/traits/{name}"


class VocabularyRoutes:
    """`/resource_classes` (1.2) and `/traits` (1.6)."""

    def __init__(self, vocabulary: VocabularyService) -> None:
        self._vocabulary = vocabulary

    def routes(self) -> list[Route]:
        rule, every, since = f"{PREFIX}resource_classes:", "/resource_classes", (1, 2)
        trait = f"{PREFIX}traits:"
        return [
            Route("GET", every, self.list_classes, f"{rule}list", min_version=since),
            Route("POST", every, self.add_class, f"{rule}create", schema=schema.RESOURCE_CLASS, min_version=since),
            Route("GET", _CLASS, self.show_class, f"{rule}show", min_version=since),
            Route(
                "PUT", _CLASS, self.rename_class, f"{rule}update", schema=schema.RESOURCE_CLASS, min_version=since,
                max_version=(1, 6),
            ),
            Route("PUT", _CLASS, self.ensure_class, f"{rule}update", body="none", min_version=(1, 7)),
            Route("DELETE", _CLASS, self.remove_class, f"{rule}delete", success=204, min_version=since),
            Route("GET", "/traits", self.list_traits, f"{trait}list", query=schema.LIST_TRAITS, min_version=(1, 6)),
            Route("GET", _TRAIT, self.show_trait, f"{trait}show", min_version=(1, 6)),
            Route("PUT", _TRAIT, self.ensure_trait, f"{trait}update", body="none", min_version=(1, 6)),
            Route("DELETE", _TRAIT, self.remove_trait, f"{trait}delete", success=204, min_version=(1, 6)),
        ]  # fmt: skip

    async def list_classes(self, request: Request) -> Response:
        found = await self._vocabulary.classes()
        return view.answer(
            request, {"resource_classes": [_class(request, name) for name, _ in found]}, moment=_newest(found)
        )

    async def add_class(self, request: Request) -> Response:
        name = request.json["name"]
        if not await self._vocabulary.add_class(name):
            raise Conflict(f"Conflicting resource class already exists: {name}")
        return Response(201, b"", [("location", view.location(request, "resource_classes", name))])

    async def show_class(self, request: Request) -> Response:
        name = request.params["name"]
        return view.answer(request, _class(request, name), moment=await self._vocabulary.show_class(name))

    async def rename_class(self, request: Request) -> dict[str, Any]:
        await self._vocabulary.rename_class(request.params["name"], request.json["name"])
        return _class(request, request.json["name"])

    async def ensure_class(self, request: Request) -> Response:
        name = request.params["name"]
        if not _CUSTOM.fullmatch(name):
            raise _misnamed(name)
        made = await self._vocabulary.add_class(name)
        return Response(201 if made else 204, b"", [("location", view.location(request, "resource_classes", name))])

    async def remove_class(self, request: Request) -> None:
        await self._vocabulary.remove_class(request.params["name"])

    async def list_traits(self, request: Request) -> Response:
        """`name=in:A,B` or `name=startswith:P`; `associated=true` those that some provider has."""
        associated = request.query_one("associated")
        if associated is not None and associated.lower() not in ("true", "false"):
            raise Invalid('The query parameter "associated" only accepts "true" or "false"')
        found = await self._vocabulary.traits(associated=None if associated is None else associated.lower() == "true")
        if (asked := request.query_one("name")) is not None:
            how, colon, value = asked.partition(":")
            if not colon:
                raise Invalid(
                    "Badly formatted name parameter. Expected name query string parameter in form: "
                    f'?name=[in|startswith]:[name1,name2|prefix]. Got: "{asked[:255]}"'
                )
            named = set(value.split(","))
            if how == "in":
                found = [one for one in found if one[0] in named]
            elif how == "startswith":
                found = [one for one in found if one[0].startswith(value)]
        return view.answer(request, {"traits": [name for name, _ in found]}, moment=_newest(found))

    async def show_trait(self, request: Request) -> Response:
        moment = await self._vocabulary.show_trait(request.params["name"])
        return view.answer(request, None, moment=moment, status=204)

    async def ensure_trait(self, request: Request) -> Response:
        name = request.params["name"]
        if not _CUSTOM.fullmatch(name):
            raise Invalid(
                "The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix "
                '"CUSTOM_" and use following characters: "A"-"Z", "0"-"9" and "_"'
            )
        made = await self._vocabulary.add_trait(name)
        moment = await self._vocabulary.show_trait(name)
        at = view.location(request, "traits", name)
        return view.answer(request, None, moment=moment, status=201 if made else 204, at=at)

    async def remove_trait(self, request: Request) -> None:
        await self._vocabulary.remove_trait(request.params["name"])


def _misnamed(name: str) -> Misfit:
    """What is wrong with the name of a resource class, told as where it stands in a body."""
    if len(name) > MOST:
        return Misfit(f"{name[:MOST]!r}… is too long", "body", rule=("maxLength",))
    return Misfit(f"{name!r} does not match '^CUSTOM_[A-Z0-9_]+$'", "body", rule=("pattern",))


def _class(request: Request, name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": view.address(request, "resource_classes", name)}]}


def _newest(found: Any) -> int:
    """Now (0) where something of the standard is among them, which has no age."""
    ages = [age for _, age in found]
    return max(ages) if ages and all(ages) else 0
