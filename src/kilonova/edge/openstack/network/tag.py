"""Tags of every collection whose members have them."""

from __future__ import annotations

from typing import Final

from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.network.tag_service import KINDS
from kilonova.core.errors import Invalid, NotFound
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

MAX_LENGTH: Final = 255
_TAG: Final = {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH}
_TAGS: Final = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": _TAG, "uniqueItems": True, "maxItems": 256}},
    "required": ["tags"],
    "additionalProperties": False,
}


class TagRoutes:
    """`/{collection}/{id}/tags`."""

    def __init__(self, services: NetworkServices) -> None:
        self._service = services.tags

    def routes(self) -> list[Route]:
        return [route for kind in KINDS for route in self._of(kind)]

    def _of(self, kind: str) -> list[Route]:
        async def show(request: Request) -> Answer:
            return {"tags": list(await self._service.get(request.context, kind, request.params["id"]))}

        async def replace(request: Request) -> Answer:
            found = await self._service.replace(request.context, kind, request.params["id"], request.json["tags"])
            return {"tags": list(found)}

        async def more(request: Request) -> Answer:
            found = await self._service.add(request.context, kind, request.params["id"], request.json["tags"])
            return {"tags": list(found)}

        async def clear(request: Request) -> None:
            await self._service.replace(request.context, kind, request.params["id"], [])

        async def has(request: Request) -> None:
            tag = request.params["tag"]
            if tag not in await self._service.get(request.context, kind, request.params["id"]):
                raise NotFound(f"Tag {tag[:64]} could not be found.", why="tag_not_found")

        async def add(request: Request) -> None:
            await self._service.add(request.context, kind, request.params["id"], [_checked(request.params["tag"])])

        async def take(request: Request) -> None:
            await self._service.remove(request.context, kind, request.params["id"], request.params["tag"])

        path, rule = f"/{kind}/{{id}}/tags", f"{kind.replace('-', '_')}_tags"
        return [
            Route("GET", path, show, f"get_{rule}"),
            Route("PUT", path, replace, f"update_{rule}", schema=_TAGS),
            Route("POST", path, more, f"create_{rule}", schema=_TAGS, success=201),
            Route("DELETE", path, clear, f"delete_{rule}", success=204),
            Route("GET", f"{path}/{{tag}}", has, f"get_{rule}", success=204),
            Route("PUT", f"{path}/{{tag}}", add, f"update_{rule}", success=201),
            Route("DELETE", f"{path}/{{tag}}", take, f"delete_{rule}", success=204),
        ]


def _checked(tag: str) -> str:
    if not 1 <= len(tag) <= MAX_LENGTH:
        raise Invalid(f"'{tag[:64]}' exceeds maximum length of {MAX_LENGTH}", why="http_bad_request")
    return tag
