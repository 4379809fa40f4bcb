"""Collections that are truly empty, because nothing of the kind can be made yet: listed, so that clients that look
first find that there is nothing. Making one answers 501."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.server.service import ServerService
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Handler

_OF_A_SERVER: Final = (
    ("/servers/{server_id}/os-volume_attachments", "volumeAttachments", "os-volumes-attachments:index", 1),
)


class EmptyRoutes:
    """Handlers that answer an empty list."""

    def __init__(self, servers: ServerService) -> None:
        self._servers = servers

    def routes(self) -> list[Route]:
        return [
            Route("GET", path, self._answer(name), PREFIX + rule, min_version=(2, since))
            for path, name, rule, since in _OF_A_SERVER
        ]

    def _answer(self, name: str) -> Handler:
        async def handle(request: Request) -> dict[str, Any]:
            await self._servers.get(reach(request), server_id(request))
            return {name: []}

        return handle
