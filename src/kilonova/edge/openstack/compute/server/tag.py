"""`/servers/{id}/tags` (API reference "Server tags"), from 2.26."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from kilonova.cloud.server.action import ServerActions
from kilonova.cloud.server.service import ServerService
from kilonova.core.errors import Invalid, NotFound
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import record
from kilonova.edge.openstack.compute.server.attempt import attempt
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.edge.openstack.compute.server.schema import TAGS
from kilonova.kit.http import Request, Response, Route

SINCE: Final = (2, 26)
MOST: Final = 50
LONGEST: Final = 60

Tags = tuple[str, ...]


class TagRoutes:
    """Handlers of tags."""

    def __init__(self, servers: ServerService, actions: ServerActions) -> None:
        self._servers = servers
        self._actions = actions

    def routes(self) -> list[Route]:
        every, rule = "/servers/{server_id}/tags", f"{PREFIX}os-server-tags:"
        one = every + "/{tag}"
        replace = record({"tags": TAGS}, "tags")
        return [
            Route("GET", every, self.index, f"{rule}index", min_version=SINCE),
            Route("PUT", every, self.replace, f"{rule}update_all", schema=replace, min_version=SINCE),
            Route("DELETE", every, self.clear, f"{rule}delete_all", min_version=SINCE, success=204),
            Route("GET", one, self.show, f"{rule}show", min_version=SINCE, success=204),
            Route("PUT", one, self.add, f"{rule}update", min_version=SINCE, body="none"),
            Route("DELETE", one, self.remove, f"{rule}delete", min_version=SINCE, success=204),
        ]

    async def index(self, request: Request) -> dict[str, Any]:
        return {"tags": list(await self._tags(request))}

    async def show(self, request: Request) -> None:
        """Whether the server has the tag."""
        if request.params["tag"] not in await self._tags(request):
            raise _absent(request)

    async def replace(self, request: Request) -> dict[str, Any]:
        tags = await self._change(request, lambda _: tuple(request.json["tags"]))
        return {"tags": list(tags)}

    async def clear(self, request: Request) -> None:
        await self._change(request, lambda _: ())

    async def add(self, request: Request) -> Response:
        """201 for a new tag, 204 for one that is there already."""
        tag = request.params["tag"]
        if not 0 < len(tag) <= LONGEST or "," in tag or "/" in tag:
            raise Invalid(f"Tag '{tag[:64]}' is invalid: it must have 1 to {LONGEST} characters and no ',' or '/'.")
        had: Tags = ()

        def added(tags: Tags) -> Tags:
            nonlocal had
            had = tags
            if tag not in tags and len(tags) >= MOST:
                raise Invalid(f"The number of tags exceeded the per-server limit {MOST}")
            return (*tags, tag)

        await self._change(request, added)
        if tag in had:
            return Response(204)
        where = f"{request.service_url}/v2.1/servers/{server_id(request)}/tags/{quote(tag, safe='')}"
        return Response(201, headers=(("location", where),))

    async def remove(self, request: Request) -> None:
        tag = request.params["tag"]

        def removed(tags: Tags) -> Tags:
            if tag not in tags:
                raise _absent(request)
            return tuple(one for one in tags if one != tag)

        await self._change(request, removed)

    async def _tags(self, request: Request) -> Tags:
        return (await self._servers.get(reach(request), server_id(request))).tags

    async def _change(self, request: Request, change: Callable[[Tags], Tags]) -> Tags:
        identifier = server_id(request)
        work = self._actions.tag(reach(request), identifier, change)
        return (await attempt("update tags of", identifier, work)).tags


def _absent(request: Request) -> NotFound:
    return NotFound(f"Server {server_id(request)} has no tag '{request.params['tag'][:64]}'")
