"""`/servers`: create, list, show, change, delete."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from kilonova.cloud.server.model import Repeat, Server
from kilonova.cloud.server.service import ServerService
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.core.ids import is_uuid
from kilonova.edge.openstack.compute.host import Hosts
from kilonova.edge.openstack.compute.link import Links, page_path
from kilonova.edge.openstack.compute.policy import PREFIX, reach
from kilonova.edge.openstack.compute.schema import is_true
from kilonova.edge.openstack.compute.server import schema
from kilonova.edge.openstack.compute.server.create import Creation
from kilonova.edge.openstack.compute.server.query import Listing, matches, passes, read_listing
from kilonova.edge.openstack.compute.server.state import refusal
from kilonova.edge.openstack.compute.server.view import ServerView, Sight, disk_config
from kilonova.edge.openstack.compute.server.wait import LONGEST, Waiting
from kilonova.edge.openstack.page import next_links
from kilonova.kit.http import Request, Response, Route

_STEP: Final = 1000
_MOST_KEY: Final = 255


def server_id(request: Request) -> str:
    """The id in the path. Raises NotFound for what cannot be one."""
    identifier = request.params["server_id"]
    if not is_uuid(identifier):
        raise NotFound(f"Instance {identifier[:64]} could not be found.")
    return identifier


class Viewing:
    """Shows servers to whoever asks."""

    def __init__(self, hosts: Hosts, cloud_id: str) -> None:
        self._hosts = hosts
        self._cloud_id = cloud_id

    async def of(self, request: Request, servers: Sequence[Server]) -> ServerView:
        """The view of these servers for a request: what its caller may see, at its version."""
        attributes = request.permits(f"{PREFIX}os-extended-server-attributes")
        shows_hosts = request.version >= (2, 16) and request.permits(f"{PREFIX}servers:show:host_status")
        sight = Sight(
            attributes=attributes,
            details=attributes,
            extra_specs=request.permits(f"{PREFIX}os-flavor-extra-specs:index"),
            hosts=await self._hosts.states({s.host_id for s in servers if s.host_id}) if shows_hosts else None,
        )
        return ServerView(request.version[1], Links.of(request), sight, self._cloud_id)


class ServerRoutes:
    """Handlers of `/servers` and `/servers/{id}`."""

    def __init__(self, servers: ServerService, creation: Creation, viewing: Viewing, waiting: Waiting) -> None:
        self._servers = servers
        self._waiting = waiting
        self._creation = creation
        self._viewing = viewing

    def routes(self) -> list[Route]:
        rule, one = f"{PREFIX}servers:", "/servers/{server_id}"
        return [
            Route("GET", "/servers", self.list_brief, f"{rule}index", query=schema.LIST),
            Route("GET", "/servers/detail", self.list_detail, f"{rule}detail", query=schema.LIST),
            Route("POST", "/servers", self.create, f"{rule}create", schema=schema.CREATE, success=202),
            Route("GET", one, self.show, f"{rule}show", query=schema.SHOW, deadline=LONGEST + 15.0),
            Route("PUT", one, self.update, f"{rule}update", schema=schema.UPDATE),
            Route("DELETE", one, self.delete, f"{rule}delete", success=204),
        ]

    async def create(self, request: Request) -> Response:
        """API reference "Create Server"; `Idempotency-Key` makes a repetition answer what the first one made."""
        repeat = _repeat(request)
        if not request.context.project_id:
            raise Invalid("A server belongs to a project; the token is not scoped to one")
        made = await self._servers.recall(request.context, repeat) if repeat else None
        if made is None:
            new = await self._creation.resolve(request)
            made = await self._servers.create(request.context, new, repeat)
        first, links = made[0], Links.of(request)
        headers = [("location", f"{links.root}/servers/{first.id}")]
        if is_true(request.json["server"].get("return_reservation_id", False)):
            return Response.json({"reservation_id": first.reservation_id}, 202, headers)
        shown = {
            "id": first.id,
            "links": links.both("servers", first.id),
            "OS-DCF:diskConfig": disk_config(first),
            "security_groups": [{"name": name} for name in first.security_groups],
            "adminPass": first.admin_password,
        }
        return Response.json({"server": shown}, 202, headers)

    async def list_brief(self, request: Request) -> dict[str, Any]:
        listing = read_listing(request, "index")
        page = await self._page(listing)
        view = ServerView(request.version[1], Links.of(request), Sight(), "")
        return self._listed(request, listing, page, [view.brief(server) for server in page])

    async def list_detail(self, request: Request) -> dict[str, Any]:
        listing = read_listing(request, "detail")
        page = await self._page(listing)
        view = await self._viewing.of(request, page)
        return self._listed(request, listing, page, [view.detail(server) for server in page])

    async def show(self, request: Request) -> dict[str, Any]:
        server = await self._waiting.look(request, reach(request), server_id(request))
        return {"server": (await self._viewing.of(request, [server])).show(server)}

    async def update(self, request: Request) -> dict[str, Any]:
        """API reference "Update Server": name, description, host name; from 2.104 the zone that it is pinned to."""
        asked = dict(request.json["server"])
        if "OS-DCF:diskConfig" in asked:
            asked["disk_config"] = asked.pop("OS-DCF:diskConfig")
        for name, column in (("accessIPv4", "access_ip4"), ("accessIPv6", "access_ip6")):
            if name in asked:
                asked[column] = asked.pop(name)
        if "description" in asked and asked["description"] == "":
            asked["description"] = None
        scope, identifier = reach(request), server_id(request)
        if "pinned_availability_zone" in asked:
            asked["requested_zone"] = asked.pop("pinned_availability_zone")
            _check_pin(await self._servers.get(scope, identifier), asked["requested_zone"])
        if asked:
            server = await self._servers.rename(request.context, scope, identifier, **asked)
        else:
            server = await self._servers.get(scope, identifier)
        return {"server": (await self._viewing.of(request, [server])).changed(server)}

    async def delete(self, request: Request) -> None:
        await delete(self._servers, request)

    def _listed(
        self, request: Request, listing: Listing, page: list[Server], shown: list[dict[str, Any]]
    ) -> dict[str, Any]:
        full = bool(page) and len(page) == listing.page.limit
        links = next_links(request, "servers", page_path(request), page[-1].id if full else None)
        return {"servers": shown, **links}

    async def _page(self, listing: Listing) -> list[Server]:
        """One page: the living first, then those that are gone, each in their order."""
        limit, marker = listing.page.limit, listing.page.marker
        found: list[Server] = []
        if listing.nothing or limit == 0:
            return found
        in_history = marker is not None and listing.deleted is not False and await self._is_gone(listing, marker)
        if listing.deleted is not True and not in_history:
            found = await self._living(listing, marker, limit)
            marker = None
        if listing.deleted is not False and len(found) < limit:
            found += await self._gone(listing, marker, limit - len(found))
        return found

    async def _is_gone(self, listing: Listing, marker: str) -> bool:
        try:
            return (await self._servers.get(listing.scope, marker, deleted=True)).deleted
        except NotFound:
            raise Invalid(f"marker [{marker}] not found") from None

    async def _living(self, listing: Listing, marker: str | None, limit: int) -> list[Server]:
        found: list[Server] = []
        step = _STEP if listing.tests else limit
        while len(found) < limit:
            try:
                page = await self._servers.page(listing.scope, listing.filters, listing.sort, marker, step)
            except NotFound:
                raise Invalid(f"marker [{marker}] not found") from None
            found += [server for server in page if passes(server, listing)]
            if len(page) < step:
                break
            marker = page[-1].id
        return found[:limit]

    async def _gone(self, listing: Listing, marker: str | None, limit: int) -> list[Server]:
        found: list[Server] = []
        while len(found) < limit:
            page = await self._servers.page_deleted(listing.scope, marker, _STEP, listing.since)
            found += [server for server in page if matches(server, listing)]
            if len(page) < _STEP:
                break
            marker = page[-1].id
        return found[:limit]


async def delete(servers: ServerService, request: Request, *, force: bool = False) -> None:
    """Delete the server in the path; `force` does not put it aside first."""
    identifier = server_id(request)
    try:
        await servers.delete(request.context, reach(request), identifier, force=force)
    except Conflict as failure:
        raise refusal(failure, "delete", identifier) from failure


def _check_pin(server: Server, zone: str | None) -> None:
    """A server can be pinned where it is: it moves only when it is asked to."""
    if zone is not None and zone not in (server.zone, server.requested_zone):
        where = f"in availability zone {server.zone}" if server.zone else "in no availability zone"
        raise Invalid(f"Server {server.id} is {where}: it cannot be pinned to {zone}. Move it there first.")


def _repeat(request: Request) -> Repeat | None:
    """The Idempotency-Key, bound to the body as sent: what it refers to may have changed since the first time."""
    key = request.header("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= _MOST_KEY or not key.isascii() or not key.isprintable():
        raise Invalid(f"Idempotency-Key must have 1 to {_MOST_KEY} printable characters")
    asked = msgspec.json.encode((request.version, request.json), order="deterministic")
    return Repeat(key, hashlib.sha256(asked).hexdigest())
