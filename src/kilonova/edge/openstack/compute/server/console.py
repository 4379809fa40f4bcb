"""Remote consoles (API reference "Server consoles", "Compute console auth tokens")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from kilonova.cloud.server.console import Consoles
from kilonova.core.errors import Invalid, NotFound, Unauthenticated
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import boxed, record
from kilonova.edge.openstack.compute.server.attempt import PATH, attempt
from kilonova.edge.openstack.compute.server.routes import server_id
from kilonova.kit.http import Request, Route, VersionedSchemas
from kilonova.kit.http.schema import JsonSchema
from kilonova.wire.node import ConsoleKind

_TYPES: Final[Mapping[str, ConsoleKind]] = {"novnc": "vnc", "serial": "serial"}
"""What there is; all other types that the API knows, no hypervisor of this cloud has."""
_OLD: Final[Mapping[str, tuple[str, ...]]] = {
    "os-getVNCConsole": ("novnc", "xvpvnc"),
    "os-getSPICEConsole": ("spice-html5",),
    "os-getRDPConsole": ("rdp-html5",),
    "os-getSerialConsole": ("serial",),
}
SOCKET: Final = "console/socket"
PAGE: Final = "console/vnc.html"


def _remote(protocols: tuple[str, ...], types: tuple[str, ...]) -> JsonSchema:
    shape = record({"protocol": {"enum": list(protocols)}, "type": {"enum": list(types)}}, "protocol", "type")
    return boxed("remote_console", shape)


_PROTOCOLS: Final = ("vnc", "spice", "rdp", "serial")
_NAMES: Final = ("novnc", "xvpvnc", "rdp-html5", "spice-html5", "serial")
_REMOTE: Final = VersionedSchemas(
    {
        (2, 6): _remote(_PROTOCOLS, _NAMES),
        (2, 8): _remote((*_PROTOCOLS, "mks"), (*_NAMES, "webmks")),
        (2, 99): _remote((*_PROTOCOLS, "mks"), (*_NAMES, "webmks", "spice-direct")),
    }
)
_OF_PROTOCOL: Final[Mapping[str, tuple[str, ...]]] = {
    "vnc": ("novnc", "xvpvnc"), "spice": ("spice-html5", "spice-direct"), "rdp": ("rdp-html5",), "serial": ("serial",),
    "mks": ("webmks",),
}  # fmt: skip


class ConsoleRoutes:
    """Handlers of consoles."""

    def __init__(self, consoles: Consoles) -> None:
        self._consoles = consoles

    def routes(self) -> list[Route]:
        remote, tokens = "/servers/{server_id}/remote-consoles", "/os-console-auth-tokens/{token}"
        return [
            Route("POST", remote, self.create, f"{PREFIX}os-remote-consoles", schema=_REMOTE, min_version=(2, 6)),
            Route("GET", tokens, self.show, f"{PREFIX}os-console-auth-tokens", private=True),
            *(
                Route(
                    "POST", PATH, self.get, f"{PREFIX}os-remote-consoles", action=action, max_version=(2, 5),
                    schema=boxed(action, record({"type": {"enum": list(types)}}, "type")),
                )
                for action, types in _OLD.items()
            ),
        ]  # fmt: skip

    async def create(self, request: Request) -> dict[str, Any]:
        """API reference "Create Console"."""
        asked = request.json["remote_console"]
        if asked["type"] not in _OF_PROTOCOL[asked["protocol"]]:
            raise Invalid(f"Invalid input for field/attribute type: {asked['type']} is no {asked['protocol']} console.")
        url = await self._open(request, asked["type"])
        return {"remote_console": {"protocol": asked["protocol"], "type": asked["type"], "url": url}}

    async def get(self, request: Request) -> dict[str, Any]:
        """The actions until 2.5."""
        [asked] = request.json.values()
        return {"console": {"type": asked["type"], "url": await self._open(request, asked["type"])}}

    async def show(self, request: Request) -> dict[str, Any]:
        """API reference "Show Console Authentication Token": for other proxies than our own. Before 2.31 it knew RDP
        alone, which there is not."""
        if request.version < (2, 31):
            raise Unauthenticated("The requested console type details are not accessible")
        line = await self._consoles.show(request.params["token"])
        shown = {
            "instance_uuid": line.server_id, "host": line.host_name, "port": None,
            "internal_access_path": line.address,
        }  # fmt: skip
        return {"console": {**shown, "tls_port": None} if request.version >= (2, 99) else shown}

    async def _open(self, request: Request, kind: str) -> str:
        identifier = server_id(request)
        if kind not in _TYPES:
            raise Invalid(f"Unavailable console type {kind}.")
        try:
            token = await attempt(
                "get_console", identifier, self._consoles.open(reach(request), identifier, _TYPES[kind])
            )
        except NotFound as failure:
            raise NotFound(f"Instance {identifier} could not be found.") from failure
        root = request.base_url
        socket = f"{SOCKET}?token={token}"
        if kind == "serial":
            return f"ws{root.removeprefix('http')}/{socket}"
        return f"{root}/{PAGE}?autoconnect=1&path={quote(socket, safe='')}"
