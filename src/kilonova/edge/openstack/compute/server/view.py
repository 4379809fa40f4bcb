"""Servers as the API shows them, at each microversion (API reference "Servers"; microversion history)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from kilonova.cloud.host.model import Host
from kilonova.cloud.server.model import NicView, Server
from kilonova.edge.openstack.compute.link import Links, exact, moment
from kilonova.edge.openstack.compute.server.state import STATES, power

_A: Final = "OS-EXT-SRV-ATTR:"
SINCE: Final[Mapping[str, int]] = {
    f"{_A}reservation_id": 3, f"{_A}launch_index": 3, f"{_A}hostname": 3, f"{_A}kernel_id": 3, f"{_A}ramdisk_id": 3,
    f"{_A}root_device_name": 3, f"{_A}user_data": 3, "locked": 9, "host_status": 16, "description": 19, "tags": 26,
    "trusted_image_certificates": 63, "server_groups": 71, "locked_reason": 73, "pinned_availability_zone": 96,
    "scheduler_hints": 100,
}  # fmt: skip
"""The minor version from which each of these is shown; everything else is there from the start."""

_OPERATORS: Final = frozenset(
    {f"{_A}{name}" for name in ("host", "hypervisor_hostname", "instance_name", "reservation_id", "launch_index")}
    | {f"{_A}{name}" for name in ("hostname", "kernel_id", "ramdisk_id", "root_device_name", "user_data")}
)
_EXTENDED: Final = (
    frozenset(
        {"config_drive", "key_name", "security_groups", "os-extended-volumes:volumes_attached", "host_status"}
        | {"OS-EXT-AZ:availability_zone", "OS-EXT-STS:power_state", "OS-EXT-STS:task_state", "OS-EXT-STS:vm_state"}
        | {"OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "pinned_availability_zone"}
    )
    | _OPERATORS
)
"""What the answer to a change left out before 2.75."""

_MOVING: Final = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})
_FAULTY: Final = frozenset({"ERROR", "DELETED"})


@dataclass(frozen=True, slots=True)
class Sight:
    """What the caller may see. `hosts`: states of hosts by id where `host_status` may be shown, else None."""

    attributes: bool = False
    details: bool = False
    extra_specs: bool = True
    hosts: Mapping[str, Host] | None = None


class ServerView:
    """Shows servers to one caller at one minor version. `instance_name` makes a hypervisor's name of a server id."""

    def __init__(self, minor: int, links: Links, sight: Sight, cloud_id: str) -> None:
        self._minor = minor
        self._links = links
        self._sight = sight
        self._cloud_id = cloud_id
        hidden = {key for key, since in SINCE.items() if since > minor}
        if not sight.attributes:
            hidden |= _OPERATORS if minor < 90 else _OPERATORS - {f"{_A}hostname"}
        if sight.hosts is None:
            hidden.add("host_status")
        self._hidden = frozenset(hidden)

    def brief(self, server: Server) -> dict[str, Any]:
        """Id, name and links."""
        return {"id": server.id, "name": server.name, "links": self._links.both("servers", server.id)}

    def show(self, server: Server) -> dict[str, Any]:
        """One server in full."""
        return {
            **self.detail(server),
            **({"server_groups": [server.group_id] if server.group_id else []} if self._minor >= 71 else {}),
        }

    def changed(self, server: Server) -> dict[str, Any]:
        """A server in the answer to its own change."""
        if self._minor >= 75:
            return self.show(server)
        shown = {key: value for key, value in self.show(server).items() if key not in _EXTENDED}
        shown["addresses"] = addresses(server.nics)
        return shown

    def rebuilt(self, server: Server, values: Mapping[str, Any]) -> dict[str, Any]:
        """A server in the answer to its rebuild, with what it will have then (2.54: its key, 2.57: its user data)."""
        known = {name: value for name, value in values.items() if name != "key"}
        changed = replace(server, **known)
        shown = self.changed(changed)
        if self._minor >= 54:
            key = values.get("key", msgspec.to_builtins(server.key))
            shown["key_name"] = key["name"] if key else None
        if self._minor >= 57:
            shown["user_data"] = changed.user_data or None
        return shown

    def detail(self, server: Server) -> dict[str, Any]:
        """One server of a detailed list."""
        state = STATES[server.phase]
        full: dict[str, Any] = {
            **self.brief(server),
            "status": state.status,
            "tenant_id": server.project_id,
            "user_id": server.user_id,
            "metadata": server.metadata,
            "hostId": host_digest(server.project_id, server.host_name),
            "image": self._image(server),
            "flavor": self._flavor(server),
            "created": moment(server.created_at),
            "updated": moment(server.updated_at),
            "addresses": addresses(server.nics, extended=True),
            "accessIPv4": server.access_ip4,
            "accessIPv6": server.access_ip6,
            "OS-DCF:diskConfig": disk_config(server),
            "OS-EXT-AZ:availability_zone": server.zone or server.requested_zone or "",
            "config_drive": "True" if server.config_drive else "",
            "key_name": server.key.name if server.key else None,
            "OS-EXT-STS:task_state": state.task,
            "OS-EXT-STS:vm_state": state.vm,
            "OS-EXT-STS:power_state": 0 if server.deleted else power(server.power),
            "OS-SRV-USG:launched_at": exact(server.launched_at),
            "OS-SRV-USG:terminated_at": exact(server.terminated_at),
            "os-extended-volumes:volumes_attached": [],
            "locked": server.locked,
            "description": server.description,
            "tags": list(server.tags),
            "trusted_image_certificates": None,
            "locked_reason": server.locked_reason,
            "pinned_availability_zone": server.requested_zone,
            "scheduler_hints": {**({"group": server.group_id} if server.group_id else {}), **server.hints},
            f"{_A}hostname": server.hostname,
            **self._sometimes(server, state.status),
        }
        return {key: value for key, value in full.items() if key not in self._hidden}

    def _sometimes(self, server: Server, status: str) -> dict[str, Any]:
        """What only some servers, or some callers, see."""
        found: dict[str, Any] = {}
        if status in _MOVING:
            found["progress"] = 0
        if server.fault and status in _FAULTY:
            found["fault"] = self._fault(server.fault)
        if server.security_groups and server.nics:
            found["security_groups"] = [{"name": name} for name in server.security_groups]
        if self._sight.hosts is not None:
            found["host_status"] = _host_status(server, self._sight.hosts)
        if self._sight.attributes:
            found.update(self._attributes(server))
        return found

    def _attributes(self, server: Server) -> dict[str, Any]:
        return {
            f"{_A}host": server.host_name or None,
            f"{_A}hypervisor_hostname": server.host_name or None,
            f"{_A}instance_name": f"kn-{self._cloud_id}-{server.id}",
            f"{_A}reservation_id": server.reservation_id,
            f"{_A}launch_index": server.launch_index,
            f"{_A}kernel_id": "",
            f"{_A}ramdisk_id": "",
            f"{_A}root_device_name": "/dev/vda",
            f"{_A}user_data": server.user_data or None,
        }

    def _image(self, server: Server) -> dict[str, Any]:
        shown = {"id": server.image_id, "links": self._links.bookmark("images", server.image_id)}
        return {**shown, "properties": server.image.get("properties") or {}} if self._minor >= 98 else shown

    def _flavor(self, server: Server) -> dict[str, Any]:
        flavor = server.flavor
        if self._minor < 47:
            return {"id": flavor.id, "links": self._links.bookmark("flavors", flavor.id)}
        shown: dict[str, Any] = {
            "original_name": flavor.name,
            "vcpus": flavor.vcpus,
            "ram": flavor.memory_mb,
            "disk": flavor.root_gb,
            "ephemeral": flavor.ephemeral_gb,
            "swap": flavor.swap_mb,
        }
        return {**shown, "extra_specs": flavor.extra_specs} if self._sight.extra_specs else shown

    def _fault(self, fault: Mapping[str, Any]) -> dict[str, Any]:
        shown = {"code": fault["code"], "created": moment(fault["created"]), "message": fault["message"]}
        if fault.get("details") and (self._sight.details or fault["code"] != 500):
            shown["details"] = fault["details"]
        return shown


def addresses(nics: tuple[NicView, ...], *, extended: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Addresses by network; extended with what they are and the MAC that has them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for nic in nics:
        more = {"OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": nic.mac} if extended else {}
        shown = [{"version": version, "addr": address, **more} for _, address, version in nic.addresses]
        more = {"OS-EXT-IPS:type": "floating", "OS-EXT-IPS-MAC:mac_addr": nic.mac} if extended else {}
        shown += [{"version": 4, "addr": outside, **more} for _, outside in nic.floating]
        found.setdefault(nic.network_label, []).extend(shown)
    return found


def disk_config(server: Server) -> str:
    """AUTO or MANUAL: whether the guest's file system was asked to grow with its disk, as image property."""
    properties = server.image.get("properties") or {}
    return "AUTO" if str(properties.get("auto_disk_config", "")).lower() == "true" else "MANUAL"


def host_digest(project_id: str, host: str) -> str:
    """A host's name that tells a project whether two of its servers share one, and nothing else."""
    return hashlib.sha224(f"{project_id}{host}".encode()).hexdigest() if host else ""


def _host_status(server: Server, hosts: Mapping[str, Host]) -> str:
    if server.host_id is None:
        return ""
    host = hosts.get(server.host_id)
    if host is None:
        return "UNKNOWN"
    if not host.up:
        return "DOWN"
    return "UP" if host.enabled else "MAINTENANCE"
