"""Payloads of Nova's versioned notifications: names, versions and fields as its samples have them.

The state is the event's; the rest is the server as it is when it is told. Who asked is told by `request_id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from kilonova.cloud.event.model import Event
from kilonova.cloud.keypair.key import fingerprint
from kilonova.cloud.server.model import FlavorCopy, NicView, Server
from kilonova.core.errors import Invalid
from kilonova.edge.openstack.compute.link import moment
from kilonova.edge.openstack.compute.notification.naming import CREATE, EXISTS, UPDATE
from kilonova.edge.openstack.compute.server.state import STATES
from kilonova.edge.openstack.compute.server.view import disk_config

_POWER: Final[Mapping[str, str]] = {
    "running": "running", "paused": "paused", "stopped": "shutdown", "crashed": "crashed", "suspended": "suspended",
}  # fmt: skip
_EXTRA: Final[Mapping[str, tuple[str, str, str]]] = {
    "instance.rescue.": ("InstanceActionRescuePayload", "1.3", "rescue_image_ref"),
    "instance.rebuild.": ("InstanceActionRebuildPayload", "1.9", "trusted_image_certificates"),
}
"""Actions whose payload has one field more than others; it is not known here, which Nova allows."""


def payload(event_type: str, event: Event, server: Server, instance_name: str) -> dict[str, Any]:
    """The payload that goes with an event type."""
    data = _instance(event, server)
    if event_type == UPDATE:
        return _object("InstanceUpdatePayload", "1.9", {**data, **_update(event, server)})
    if event_type == EXISTS:
        period = _audit(*event.body["period"])
        return _object("InstanceExistsPayload", "2.0", {**data, "audit_period": period, "bandwidth": []})
    data["fault"] = _fault(event.body.get("fault"))
    if event_type.startswith(f"{CREATE}."):
        return _object("InstanceCreatePayload", "1.12", {**data, **_create(server, instance_name)})
    for prefix, (name, version, field) in _EXTRA.items():
        if event_type.startswith(prefix):
            return _object(name, version, {**data, field: None})
    return _object("InstanceActionPayload", "1.8", data)


def _object(name: str, version: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        "nova_object.data": dict(data),
    }


def _instance(event: Event, server: Server) -> dict[str, Any]:
    state = STATES[event.body["phase"]]
    properties = server.image.get("properties") or {}
    host = event.body.get("host") or None
    gone = _time(server.terminated_at) if state.vm == "deleted" else None
    return {
        "uuid": server.id,
        "user_id": server.user_id,
        "tenant_id": server.project_id,
        "reservation_id": server.reservation_id,
        "display_name": server.name,
        "display_description": server.description,
        "host_name": server.hostname,
        "host": host,
        "node": host,
        "os_type": properties.get("os_type"),
        "architecture": properties.get("hw_architecture") or properties.get("architecture"),
        "availability_zone": server.zone or server.requested_zone,
        "flavor": _flavor(server.flavor),
        "image_uuid": server.image_id,
        "key_name": server.key.name if server.key else None,
        "kernel_id": "",
        "ramdisk_id": "",
        "created_at": _time(server.created_at),
        "launched_at": _time(server.launched_at),
        "terminated_at": gone,
        "deleted_at": gone,
        "updated_at": _time(event.at),
        "state": state.vm,
        "task_state": state.task,
        "power_state": _POWER.get(event.body["power"], "pending"),
        "progress": 0,
        "ip_addresses": [address for nic in server.nics for address in _addresses(nic)],
        "block_devices": [],
        "metadata": server.metadata,
        "locked": server.locked,
        "locked_reason": server.locked_reason,
        "auto_disk_config": disk_config(server),
        **_origin(event),
    }


def _origin(event: Event) -> dict[str, Any]:
    request = event.body.get("request_id") or None
    return {"request_id": request, "action_initiator_user": None, "action_initiator_project": None}


def _create(server: Server, instance_name: str) -> dict[str, Any]:
    return {
        "keypairs": _keypairs(server),
        "tags": list(server.tags),
        "trusted_image_certificates": None,
        "instance_name": instance_name,
    }


def _update(event: Event, server: Server) -> dict[str, Any]:
    """`audit_period` is the month so far, Nova's default."""
    new = STATES[event.body["phase"]]
    old = STATES[event.body.get("before", event.body["phase"])]
    change = {"old_state": old.vm, "state": new.vm, "old_task_state": old.task, "new_task_state": new.task}
    at = datetime.fromtimestamp(event.at // 1_000_000, UTC)
    month = at.replace(day=1, hour=0, minute=0, second=0)
    return {
        "state_update": _object("InstanceStateUpdatePayload", "1.0", change),
        "audit_period": _audit(int(month.timestamp()) * 1_000_000, event.at),
        "bandwidth": [],
        "old_display_name": event.body.get("old_name"),
        "tags": list(server.tags),
    }


def _audit(begin: int, end: int) -> dict[str, Any]:
    period = {"audit_period_beginning": moment(begin), "audit_period_ending": moment(end)}
    return _object("AuditPeriodPayload", "1.0", period)


def _flavor(flavor: FlavorCopy) -> dict[str, Any]:
    data = {
        "flavorid": flavor.id,
        "name": flavor.name,
        "memory_mb": flavor.memory_mb,
        "vcpus": flavor.vcpus,
        "root_gb": flavor.root_gb,
        "ephemeral_gb": flavor.ephemeral_gb,
        "swap": flavor.swap_mb,
        "rxtx_factor": 1.0,
        "vcpu_weight": 0,
        "disabled": False,
        "is_public": True,
        "extra_specs": flavor.extra_specs,
        "projects": None,
        "description": flavor.description,
    }
    return _object("FlavorPayload", "1.4", data)


def _addresses(nic: NicView) -> list[dict[str, Any]]:
    known: dict[str, Any] = {
        "label": nic.network_label,
        "mac": nic.mac,
        "meta": {},
        "port_uuid": nic.port_id,
        "device_name": None,
    }
    return [
        _object("IpPayload", "1.0", {**known, "version": version, "address": address})
        for _, address, version in nic.addresses
    ]


def _keypairs(server: Server) -> list[dict[str, Any]]:
    key = server.key
    if key is None:
        return []
    try:
        digest = fingerprint("x509" if key.type == "x509" else "ssh", key.public_key)
    except Invalid:
        digest = ""
    known = {"user_id": server.user_id, "name": key.name, "public_key": key.public_key, "type": key.type}
    return [_object("KeypairPayload", "1.0", {**known, "fingerprint": digest})]


def _fault(message: str | None) -> dict[str, Any] | None:
    if message is None:
        return None
    unknown = {"function_name": "", "module_name": "", "traceback": ""}
    return _object("ExceptionPayload", "1.1", {**unknown, "exception": "Failure", "exception_message": message})


def _time(at: int) -> str | None:
    return moment(at) if at else None
