"""Rebuilding, resizing and rescuing servers (API reference "Servers - run an action")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kilonova.cloud.image.model import Image
from kilonova.cloud.server.action import ServerActions
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.service import ServerService
from kilonova.core.context import Context
from kilonova.core.errors import Forbidden, Invalid, NotBuilt, NotFound
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import is_true
from kilonova.edge.openstack.compute.server import schema
from kilonova.edge.openstack.compute.server.attempt import PATH, attempt
from kilonova.edge.openstack.compute.server.create import Creation, copy_flavor, new_password
from kilonova.edge.openstack.compute.server.routes import Viewing, server_id
from kilonova.kit.http import Request, Response, Route
from kilonova.kit.http.route import Handler
from kilonova.wire.hardware import resolve

_UNBUILT: Final = ("trusted_image_certificates",)


class ChangeRoutes:
    """Handlers of actions that make a server another one."""

    def __init__(self, servers: ServerService, actions: ServerActions, creation: Creation, viewing: Viewing) -> None:
        self._servers = servers
        self._actions = actions
        self._creation = creation
        self._viewing = viewing

    def routes(self) -> list[Route]:
        return [
            self._route("rebuild", self.rebuild, "servers:rebuild", schema.REBUILD),
            self._route("resize", self.resize, "servers:resize", schema.RESIZE),
            self._route("confirmResize", self.confirm, "servers:confirm_resize", None, 204),
            self._route("revertResize", self.revert, "servers:revert_resize"),
            self._route("rescue", self.rescue, "os-rescue", schema.RESCUE, 200),
            self._route("unrescue", self.unrescue, "os-unrescue"),
        ]

    def _route(self, action: str, handler: Handler, rule: str, body: Any = None, success: int = 202) -> Route:
        return Route("POST", PATH, handler, PREFIX + rule, schema=body, action=action, success=success)

    async def rebuild(self, request: Request) -> Response:
        """API reference "Rebuild Server"."""
        asked, context, identifier = request.json["rebuild"], request.context, server_id(request)
        for name in _UNBUILT:
            if asked.get(name):
                raise NotBuilt(f"The attribute {name} is not implemented")
        before = await self._servers.get(reach(request), identifier)
        values = await self._values(request, asked, before)
        password = asked.get("adminPass") or new_password()
        preserve = is_true(asked.get("preserve_ephemeral", False))
        work = self._actions.rebuild(context, reach(request), identifier, values, password, preserve_ephemeral=preserve)
        server = await attempt("rebuild", identifier, work)
        shown = (await self._viewing.of(request, [server])).rebuilt(server, values)
        return Response.json({"server": {**shown, "adminPass": password}}, 202)

    async def _values(self, request: Request, asked: Mapping[str, Any], server: Server) -> dict[str, Any]:
        context = request.context
        image = await self._creation.find_image(context, asked["imageRef"].rpartition("/")[2], server.flavor)
        resolve(server.flavor.extra_specs, image.properties, server.flavor.vcpus)
        values: dict[str, Any] = {
            "image_id": image.id, "image": self._creation.copy_image(image, asked.get("OS-DCF:diskConfig"))
        }  # fmt: skip
        for name in ("name", "description", "metadata", "hostname"):
            if name in asked:
                values[name] = asked[name]
        if "metadata" in asked:
            await self._creation.check_metadata(context, asked["metadata"])
        if "key_name" in asked:
            key = await self._creation.find_key(context, asked["key_name"])
            values["key"] = msgspec.to_builtins(key)
        if "user_data" in asked:
            values["user_data"] = "".join((asked["user_data"] or "").split())
        if "personality" in asked:
            values["files"] = await self._creation.read_files(context, asked["personality"])
        for name, column in (("accessIPv4", "access_ip4"), ("accessIPv6", "access_ip6")):
            if name in asked:
                values[column] = asked[name]
        return values

    async def resize(self, request: Request) -> None:
        """API reference "Resize Server"."""
        asked, identifier = request.json["resize"], server_id(request)
        flavor = await self._creation.find_flavor(request.context, asked["flavorRef"])
        server = await self._servers.get(reach(request), identifier)
        resolve(flavor.extra_specs, server.image.get("properties") or {}, flavor.vcpus)
        await self._check_image(request.context, server, flavor.memory_mb)
        work = self._actions.resize(request.context, reach(request), identifier, copy_flavor(flavor))
        await attempt("resize", identifier, work)

    async def _check_image(self, context: Context, server: Server, memory_mb: int) -> None:
        """A flavor that the server's image does not allow, as far as the image is still there."""
        try:
            image = await self._creation.get_image(context, server.image_id)
        except (NotFound, Forbidden):
            return
        if memory_mb < image.min_ram:
            raise Invalid("Flavor's memory is too small for requested image.")

    async def confirm(self, request: Request) -> None:
        identifier = server_id(request)
        work = self._actions.confirm(request.context, reach(request), identifier)
        await attempt("confirmResize", identifier, work)

    async def revert(self, request: Request) -> None:
        identifier = server_id(request)
        await attempt("revertResize", identifier, self._actions.revert(request.context, reach(request), identifier))

    async def rescue(self, request: Request) -> Mapping[str, Any]:
        """API reference "Rescue Server": from the server's own image, or another one."""
        asked = request.json["rescue"] or {}
        identifier, image = server_id(request), None
        if (named := asked.get("rescue_image_ref")) is not None:
            found = await self._creation.find_image(request.context, named.rpartition("/")[2], None)
            _refuse_rescue(found)
            image = self._creation.copy_image(found, None)
        password = asked.get("adminPass") or new_password()
        work = self._actions.rescue(request.context, reach(request), identifier, image, password)
        await attempt("rescue", identifier, work)
        return {"adminPass": password}

    async def unrescue(self, request: Request) -> None:
        identifier = server_id(request)
        await attempt("unrescue", identifier, self._actions.unrescue(request.context, reach(request), identifier))


def _refuse_rescue(image: Image) -> None:
    """The rescued guest has its own hardware; what a rescue image asks for beside that cannot be had."""
    for name in image.properties:
        if name.startswith("hw_rescue_"):
            raise Invalid(f"The image's property {name} cannot be had: the rescue disk is on the bus of the others")
