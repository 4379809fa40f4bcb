"""Floating IPs and their port forwardings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kilonova.cloud.network.floating_service import NewFloatingIp
from kilonova.cloud.network.forwarding_service import NewForwarding
from kilonova.cloud.network.model import FloatingIp, Forwarding, Listing, Port
from kilonova.cloud.network.service import NetworkServices
from kilonova.core.context import Context
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.network.attribute import (
    DESCRIPTION,
    ID,
    NULL_UUID,
    OWNER,
    REVISION,
    UUID,
    Attribute,
    body_schema,
    read_values,
    read_whole,
    whole,
)
from kilonova.edge.openstack.network.listing import links, pick, read_listing
from kilonova.edge.openstack.network.resource import Resource, Values, refuse_unless
from kilonova.edge.openstack.network.view import owner, standard
from kilonova.kit.http import Request, Route
from kilonova.kit.http.route import Answer

_ADDRESS: Final = {"type": ["string", "null"], "minLength": 2, "maxLength": 64}
_FLOATING: Final = (
    ID,
    DESCRIPTION,
    *OWNER,
    REVISION,
    Attribute("floating_network_id", "network_id", UUID, "c"),
    Attribute("floating_ip_address", "address", _ADDRESS, "c"),
    Attribute("subnet_id", "subnet_id", NULL_UUID, "c", None),
    Attribute("port_id", "port_id", NULL_UUID, "cu"),
    Attribute("fixed_ip_address", "fixed_address", _ADDRESS, "cu"),
    Attribute("router_id", "router_id"),
    Attribute("status", "status"),
)
_NUMBER: Final = whole(1, 65535)
_READ_NUMBER: Final = read_whole(1, 65535)
_RANGE: Final = {"type": "string", "pattern": "^[0-9]{1,5}(:[0-9]{1,5})?$"}
_FORWARDING: Final = (
    ID,
    DESCRIPTION,
    Attribute("protocol", "protocol", {"enum": ["tcp", "udp"]}, "cu"),
    Attribute("internal_port_id", "port_id", UUID, "cu"),
    Attribute("internal_ip_address", "address", _ADDRESS, "cu"),
    Attribute("internal_port", "internal_min", _NUMBER, "cu", "number", convert=_READ_NUMBER),
    Attribute("external_port", "external_min", _NUMBER, "cu", "number", convert=_READ_NUMBER),
    Attribute("internal_port_range", "internal", _RANGE, "cu", None),
    Attribute("external_port_range", "external", _RANGE, "cu", None),
)


@dataclass(frozen=True, slots=True)
class _Led:
    """A floating IP with the port that it leads to."""

    row: FloatingIp
    port: Port | None

    @property
    def id(self) -> str:
        return self.row.id


class _FloatingIps:
    """The service's commands, with the port that each floating IP leads to."""

    def __init__(self, services: NetworkServices) -> None:
        self._service = services.floating_ips
        self.delete = services.floating_ips.delete

    async def find(self, context: Context, listing: Listing) -> list[_Led]:
        return await self.led(await self._service.find(context, listing))

    async def get(self, context: Context, identifier: str) -> _Led:
        return (await self.led([await self._service.get(context, identifier)]))[0]

    async def update(self, context: Context, identifier: str, values: Mapping[str, Any]) -> _Led:
        return (await self.led([await self._service.update(context, identifier, values)]))[0]

    async def led(self, rows: Sequence[FloatingIp]) -> list[_Led]:
        ports = await self._service.ports(rows)
        return [_Led(row, ports.get(row.port_id or "")) for row in rows]


def floating_ips(services: NetworkServices) -> Resource:
    """`/floatingips`."""
    commands = _FloatingIps(services)

    async def create(request: Request, values: list[Values]) -> list[_Led]:
        return await commands.led([await services.floating_ips.create(request.context, NewFloatingIp(**values[0]))])

    async def allow(request: Request, verb: str, values: Values) -> None:
        if values.get("address") is not None:
            refuse_unless(request, "create_floatingip:floating_ip_address")

    return Resource(
        "floatingip", _FLOATING, commands, create, _view, required=("floating_network_id",), tagged=True, allow=allow
    )


class ForwardingRoutes:
    """`/floatingips/{id}/port_forwardings`."""

    def __init__(self, services: NetworkServices) -> None:
        self._service = services.forwardings

    def routes(self) -> list[Route]:
        path, rule = "/floatingips/{floating_ip_id}/port_forwardings", "floatingip_port_forwarding"
        one = f"{path}/{{id}}"
        making = body_schema("port_forwarding", _FORWARDING, "c", ("protocol", "internal_port_id"))
        changing = body_schema("port_forwarding", _FORWARDING, "u", ())
        return [
            Route("GET", path, self.list, f"get_{rule}"),
            Route("POST", path, self.create, f"create_{rule}", schema=making, success=201),
            Route("GET", one, self.show, f"get_{rule}"),
            Route("PUT", one, self.update, f"update_{rule}", schema=changing),
            Route("DELETE", one, self.delete, f"delete_{rule}", success=204),
        ]

    async def list(self, request: Request) -> Answer:
        listing = read_listing(request, _FORWARDING)
        rows = await self._service.find(request.context, request.params["floating_ip_id"], listing)
        shown = [pick(request, view_forwarding(row)) for row in rows]
        return {"port_forwardings": shown, **links(request, "port_forwardings", listing, rows)}

    async def show(self, request: Request) -> Answer:
        row = await self._service.get(request.context, *_ids(request))
        return {"port_forwarding": pick(request, view_forwarding(row))}

    async def create(self, request: Request) -> Answer:
        values = _read(request)
        if "external" not in values or "internal" not in values:
            raise Invalid("Bad port_forwarding request: external and internal ports are needed.", why="bad_request")
        floating_ip_id = request.params["floating_ip_id"]
        row = await self._service.create(request.context, floating_ip_id, NewForwarding(**values))
        return {"port_forwarding": view_forwarding(row)}

    async def update(self, request: Request) -> Answer:
        row = await self._service.update(request.context, *_ids(request), _read(request))
        return {"port_forwarding": view_forwarding(row)}

    async def delete(self, request: Request) -> None:
        await self._service.delete(request.context, *_ids(request))


def view_forwarding(row: Forwarding) -> dict[str, Any]:
    """API reference, "Floating IP port forwarding": a single port stands beside the range that it is."""
    shown: dict[str, Any] = {
        "id": row.id,
        "protocol": row.protocol,
        "internal_port_id": row.port_id,
        "internal_ip_address": row.address,
        "internal_port_range": f"{row.internal_min}:{row.internal_max}",
        "external_port_range": f"{row.external_min}:{row.external_max}",
        "description": row.description,
    }
    if row.internal_min == row.internal_max:
        shown["internal_port"] = row.internal_min
    if row.external_min == row.external_max:
        shown["external_port"] = row.external_min
    return shown


def _ids(request: Request) -> tuple[str, str]:
    return request.params["floating_ip_id"], request.params["id"]


def _read(request: Request) -> Values:
    """The body in the domain's words. Raises Invalid when a port and a range are both given."""
    values = read_values(request.json["port_forwarding"], _FORWARDING)
    for name in ("internal", "external"):
        port = values.pop(f"{name}_min", None)
        text = values.pop(name, None)
        if port is not None and text is not None:
            raise Invalid(
                f"Bad port_forwarding request: {name}_port and {name}_port_range exclude each other.", why="bad_request"
            )
        if port is not None:
            values[name] = (port, port)
        elif text is not None:
            low, _, high = text.partition(":")
            values[name] = (int(low), int(high or low))
    return values


def _view(led: _Led, request: Request) -> Mapping[str, Any]:
    """API reference, "Floating IPs"."""
    row, port = led.row, led.port
    return {
        "id": row.id,
        **owner(row.project_id),
        "floating_network_id": row.network_id,
        "floating_ip_address": row.address,
        "port_id": row.port_id,
        "fixed_ip_address": row.fixed_address,
        "router_id": row.router_id,
        "status": row.status,
        "port_details": None if port is None else _details(port),
        "port_forwardings": [_brief(f) for f in row.forwardings],
        "tags": list(row.tags),
        **standard(row),
    }


def _brief(row: Forwarding) -> dict[str, Any]:
    """A forwarding within its floating IP: single ports, or ranges."""
    shown = view_forwarding(row)
    single = row.external_min == row.external_max
    ports = ("internal_port", "external_port") if single else ("internal_port_range", "external_port_range")
    return {name: shown[name] for name in ("protocol", "internal_ip_address", *ports)}


def _details(port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "network_id": port.network_id,
        "mac_address": port.mac,
        "admin_state_up": port.admin_up,
        "status": port.status,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
    }
