"""What hosts offer, for operators: `/os-services` and `/os-availability-zone`."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from kilonova.cloud.host.model import Host
from kilonova.cloud.host.service import HostView
from kilonova.core.errors import Invalid, NotFound
from kilonova.edge.openstack.compute.link import exact
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.edge.openstack.compute.schema import BOOLEAN, HOST, TEXT, is_true, record, strict_from
from kilonova.kit.http import Request, Route, VersionedSchemas, multi, unbuilt
from kilonova.kit.http.schema import JsonSchema

BINARY: Final = "nova-compute"
_REASON: Final[JsonSchema] = {"type": "string", "minLength": 1, "maxLength": 255, "format": "name"}
_BINARY: Final[JsonSchema] = {"type": "string", "minLength": 1, "maxLength": 255}
_OLD: Final[dict[str, JsonSchema]] = {"host": HOST, "binary": _BINARY, "disabled_reason": _REASON}
_UPDATE: Final = VersionedSchemas(
    {
        (2, 1): record(_OLD, "host", "binary"),
        (2, 11): record({**_OLD, "forced_down": BOOLEAN}, "host", "binary"),
        (2, 53): record(
            {"status": {"enum": ["enabled", "disabled"]}, "disabled_reason": _REASON, "forced_down": BOOLEAN}
        ),
    }
)
_LIST: Final = strict_from(75, {1: {"host": multi(TEXT), "binary": multi(TEXT)}})


class Hosts(Protocol):
    """What the edge asks of the host service."""

    async def list(self) -> Sequence[HostView]: ...

    async def states(self, host_ids: Collection[str] | None = None) -> Mapping[str, Host]: ...

    async def find(self, name: str) -> Host: ...

    async def zones(self) -> Mapping[str, bool]: ...

    async def enable(self, host_id: str) -> Host: ...

    async def disable(self, host_id: str, reason: str = "") -> Host: ...

    async def force_down(self, host_id: str, forced: bool) -> Host: ...


def number(identifier: str) -> int:
    """The integer that a UUID was before 2.53: the same each time."""
    return zlib.crc32(identifier.encode()) & 0x7FFFFFFF


class HostRoutes:
    """Handlers of services and zones. A host shows as the one service nova-compute; the rest of the cloud is one
    process whose parts have no life of their own."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    def routes(self) -> list[Route]:
        rule, zone = f"{PREFIX}os-services:", f"{PREFIX}os-availability-zone:"
        one = "/os-services/{service_id}"
        return [
            Route("GET", "/os-services", self.list_services, f"{rule}list", query=_LIST),
            Route("PUT", one, self.update_service, f"{rule}update", schema=_UPDATE),
            *unbuilt(one),
            Route("GET", "/os-availability-zone", self.list_zones, f"{zone}list"),
            Route("GET", "/os-availability-zone/detail", self.detail_zones, f"{zone}detail"),
        ]

    async def list_services(self, request: Request) -> dict[str, Any]:
        host, binary = request.query_one("host"), request.query_one("binary")
        if binary not in (None, "", BINARY):
            return {"services": []}
        found = (await self._hosts.states()).values()
        return {"services": [_service(one, request) for one in found if host in (None, "", one.name)]}

    async def update_service(self, request: Request) -> dict[str, Any]:
        """API reference "Update Compute Service" (2.53), before that enable, disable and disable-log-reason."""
        given, named = request.json, request.params["service_id"]
        if request.version < (2, 53):
            return await self._update_by_name(given, named, request)
        host = (await self._hosts.states()).get(named)
        if host is None:
            raise NotFound(f"Service {named[:64]} could not be found.")
        status, reason = given.get("status"), given.get("disabled_reason")
        if status is None and "forced_down" in given and reason is None:
            forced = await self._hosts.force_down(host.id, is_true(given["forced_down"]))
            return {"service": _service(forced, request)}
        if status is None:
            raise Invalid(
                "No updates were requested. Fields 'status' or 'forced_down' should be specified."
                if reason is None
                else "Specifying disabled_reason requires that status is set to disabled"
            )
        if status == "enabled" and reason is not None:
            raise Invalid("Specifying disabled_reason requires that status is set to disabled")
        changed = await self._switch(host, status == "enabled", reason or "")
        if "forced_down" in given:
            changed = await self._hosts.force_down(host.id, is_true(given["forced_down"]))
        return {"service": _service(changed, request)}

    async def _update_by_name(self, given: Mapping[str, Any], verb: str, request: Request) -> dict[str, Any]:
        if verb == "force-down" and request.version >= (2, 11):
            return await self._force_by_name(given)
        if verb not in ("enable", "disable", "disable-log-reason"):
            raise NotFound("Unknown action")
        if given["binary"] != BINARY:
            raise NotFound(f"Could not find binary {given['binary'][:64]} on host {given['host']}.")
        reason = given.get("disabled_reason", "") if verb == "disable-log-reason" else ""
        if verb == "disable-log-reason" and not reason:
            raise Invalid("Missing disabled reason field")
        host = await self._hosts.find(given["host"])
        changed = await self._switch(host, verb == "enable", reason)
        shown = {"host": changed.name, "binary": BINARY, "status": _status(changed)}
        return {"service": {**shown, "disabled_reason": reason} if reason else shown}

    async def _force_by_name(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if given["binary"] != BINARY:
            raise NotFound(f"Could not find binary {given['binary'][:64]} on host {given['host']}.")
        if "forced_down" not in given:
            raise Invalid("Missing forced_down field")
        host = await self._hosts.find(given["host"])
        forced = await self._hosts.force_down(host.id, is_true(given["forced_down"]))
        return {"service": {"host": forced.name, "binary": BINARY, "forced_down": forced.forced_down}}

    async def _switch(self, host: Host, on: bool, reason: str) -> Host:
        return await (self._hosts.enable(host.id) if on else self._hosts.disable(host.id, reason))

    async def list_zones(self, request: Request) -> dict[str, Any]:
        """Zones that take servers; operators see the others too."""
        everything = request.permits(f"{PREFIX}os-availability-zone:detail")
        zones = await self._hosts.zones()
        return {
            "availabilityZoneInfo": [
                {"zoneName": name, "zoneState": {"available": available}, "hosts": None}
                for name, available in zones.items()
                if available or everything
            ]
        }

    async def detail_zones(self, request: Request) -> dict[str, Any]:
        hosts = (await self._hosts.states()).values()
        zones = await self._hosts.zones()
        return {
            "availabilityZoneInfo": [
                {
                    "zoneName": name,
                    "zoneState": {"available": available},
                    "hosts": {host.name: {BINARY: _life(host)} for host in hosts if host.zone == name},
                }
                for name, available in zones.items()
            ]
        }


def _life(host: Host) -> dict[str, Any]:
    return {"available": host.up, "active": host.enabled, "updated_at": exact(host.updated_at)}


def _status(host: Host) -> str:
    return "enabled" if host.enabled else "disabled"


def _service(host: Host, request: Request) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": host.id if request.version >= (2, 53) else number(host.id),
        "binary": BINARY,
        "host": host.name,
        "zone": host.zone,
        "status": _status(host),
        "state": "up" if host.up else "down",
        "updated_at": exact(host.updated_at),
        "disabled_reason": host.disabled_reason or None,
    }
    return {**shown, "forced_down": host.forced_down} if request.version >= (2, 11) else shown
