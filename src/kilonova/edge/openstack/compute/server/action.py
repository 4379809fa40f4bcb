"""`POST /servers/{id}/action` (API reference "Servers - run an action")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from kilonova.cloud.server.service import ServerService
from kilonova.core.errors import Conflict, NotFound
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.server import schema
from kilonova.edge.openstack.compute.server.attempt import PATH, attempt
from kilonova.edge.openstack.compute.server.routes import delete, server_id
from kilonova.kit.http import AUTHENTICATED, Request, Route
from kilonova.kit.http.route import Answer, Handler, refuse_unbuilt

Console = Callable[[str], Awaitable[str]]
"""All that is kept of what a server wrote on its console."""

_UNBUILT: Final[dict[str, tuple[int, int | None]]] = {
    "injectNetworkInfo": (1, None),
    "resetNetwork": (1, 3),
}
"""Actions of Nova that kilonova does not have, and the minor versions in which they exist."""


class ActionRoutes:
    """Handlers of the actions that are built, and refusals of the others."""

    def __init__(self, servers: ServerService, console: Console) -> None:
        self._servers = servers
        self._console = console

    def routes(self) -> list[Route]:
        return [
            self._route("os-start", self.start, "servers:start"),
            self._route("os-stop", self.stop, "servers:stop"),
            self._route("reboot", self.reboot, "servers:reboot", schema.REBOOT),
            self._route("os-getConsoleOutput", self.show_console, "os-console-output", schema.CONSOLE, 200),
            self._route("restore", self.restore, "os-deferred-delete:restore"),
            self._route("forceDelete", self.force_delete, "os-deferred-delete:force"),
            *_unbuilt_routes(),
        ]

    def _route(self, action: str, handler: Handler, rule: str, body: Any = None, success: int = 202) -> Route:
        return Route("POST", PATH, handler, PREFIX + rule, schema=body, action=action, success=success)

    async def start(self, request: Request) -> None:
        identifier = server_id(request)
        await attempt("start", identifier, self._servers.start(request.context, reach(request), identifier))

    async def stop(self, request: Request) -> None:
        identifier = server_id(request)
        await attempt("stop", identifier, self._servers.stop(request.context, reach(request), identifier))

    async def reboot(self, request: Request) -> None:
        identifier = server_id(request)
        hard = request.json["reboot"]["type"].upper() == "HARD"
        work = self._servers.reboot(request.context, reach(request), identifier, "HARD" if hard else "SOFT")
        await attempt("reboot", identifier, work)

    async def restore(self, request: Request) -> None:
        """API reference "Restore Soft-Deleted Instance"."""
        identifier = server_id(request)
        await attempt("restore", identifier, self._servers.restore(request.context, reach(request), identifier))

    async def force_delete(self, request: Request) -> None:
        await delete(self._servers, request, force=True)

    async def show_console(self, request: Request) -> Answer:
        """API reference "Show Console Output"; -1 and no length mean everything that is kept."""
        asked = request.json["os-getConsoleOutput"].get("length")
        server = await self._servers.get(reach(request), server_id(request))
        if server.host_id is None:
            raise Conflict(f"Instance {server.id} is not ready")
        text = await self._console(server.id)
        return {"output": text if asked is None or int(asked) < 0 else _last_lines(text, int(asked))}


def _last_lines(text: str, length: int) -> str:
    """Only line feeds end a line: a terminal writes carriage returns at will."""
    return "\n".join(text.split("\n")[-length - text.endswith("\n") :]) if length else ""


def _unbuilt_routes() -> list[Route]:
    return [
        _refusal(action, refuse_unbuilt, (2, first), None if last is None else (2, last))
        for action, (first, last) in _UNBUILT.items()
    ]


def absent_actions(routes: Iterable[Route]) -> list[Route]:
    """404 for actions at the versions that do not have them."""
    found = []
    for route in routes:
        if route.action is None or route.path != PATH:
            continue
        if route.min_version is not None and route.min_version > (2, 1):
            found.append(_refusal(route.action, _refuse_absent, None, (2, route.min_version[1] - 1)))
        if route.max_version is not None:
            found.append(_refusal(route.action, _refuse_absent, (2, route.max_version[1] + 1), None))
    return found


def _refusal(action: str, handler: Handler, first: tuple[int, int] | None, last: tuple[int, int] | None) -> Route:
    return Route("POST", PATH, handler, AUTHENTICATED, action=action, min_version=first, max_version=last)


async def _refuse_absent(request: Request) -> Answer:
    raise NotFound("The resource could not be found.")
