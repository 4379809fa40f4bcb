"""Bodies and queries of servers at each microversion (API reference "Servers"; microversion history)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.edge.openstack.compute.schema import (
    ADDRESS,
    BOOLEAN,
    DESCRIPTION,
    HOST,
    METADATA,
    MOMENT,
    NAME,
    PAGE,
    TEXT,
    UUID,
    boxed,
    count,
    record,
    strict_from,
)
from kilonova.kit.http import VersionedSchemas, multi
from kilonova.kit.http.schema import JsonSchema

PASSWORD: Final[JsonSchema] = {"type": "string", "maxLength": 255, "format": "printable"}
TAG: Final[JsonSchema] = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
_LONG: Final[JsonSchema] = {"type": "string", "maxLength": 255}
_ONE_OR_MORE: Final[JsonSchema] = {"oneOf": [UUID, {"type": "array", "items": UUID}]}
_HOSTNAME: Final[JsonSchema] = {
    "type": "string", "minLength": 2, "maxLength": 63, "pattern": "^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$",
}  # fmt: skip
_FQDN: Final[JsonSchema] = {**HOST}
_DISK: Final[JsonSchema] = {"enum": ["AUTO", "MANUAL"]}
_SIZE: Final = count(1)

_OLD_DEVICE: Final[dict[str, JsonSchema]] = {
    "virtual_name": _LONG, "volume_id": UUID, "snapshot_id": UUID, "volume_size": _SIZE,
    "device_name": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._/-]*$"},
    "delete_on_termination": BOOLEAN, "no_device": {}, "connection_info": {"type": "string"},
}  # fmt: skip
_DEVICE: Final[dict[str, JsonSchema]] = {
    **_OLD_DEVICE,
    "source_type": {"enum": ["volume", "image", "snapshot", "blank"]},
    "uuid": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"},
    "image_id": UUID, "destination_type": {"enum": ["local", "volume"]}, "guest_format": _LONG,
    "device_type": _LONG, "disk_bus": _LONG,
    "boot_index": {"type": ["integer", "string", "null"], "pattern": "^-?[0-9]+$", "maxLength": 10},
}  # fmt: skip
_HINTS: Final[JsonSchema] = {
    "type": "object",
    "properties": {
        "group": _ONE_OR_MORE, "different_host": _ONE_OR_MORE, "same_host": _ONE_OR_MORE,
        "query": {"type": ["string", "object"]}, "target_cell": NAME, "build_near_host_ip": ADDRESS,
        "cidr": {"type": "string", "pattern": "^/[0-9a-f.:]+$"},
    },
}  # fmt: skip


def _networks(network: JsonSchema, *, tagged: bool) -> dict[str, Any]:
    port = {"type": ["string", "null"], "format": "uuid"}
    properties = {"uuid": network, "port": port, "fixed_ip": ADDRESS, **({"tag": TAG} if tagged else {})}
    return {"type": "array", "items": record(properties), "maxItems": 100}


def _named(network: JsonSchema) -> JsonSchema:
    return {"oneOf": [network, {"enum": ["none", "auto"]}]}


def _devices(**more: JsonSchema) -> JsonSchema:
    return {"type": "array", "items": record({**_DEVICE, **more}), "maxItems": 255}


_CREATE: Final[dict[str, JsonSchema]] = {
    "name": NAME,
    "imageRef": {"oneOf": [UUID, {"type": "string", "maxLength": 0}]},
    "flavorRef": {"type": ["string", "integer"], "minLength": 1, "maxLength": 255, "minimum": 0},
    "adminPass": PASSWORD,
    "metadata": METADATA,
    "networks": _networks({"type": "string", "maxLength": 255}, tagged=False),
    "OS-DCF:diskConfig": _DISK,
    "accessIPv4": {"type": "string", "format": "ipv4"},
    "accessIPv6": {"type": "string", "format": "ipv6"},
    "personality": {
        "type": "array",
        "items": record({"path": {"type": "string"}, "contents": {"type": "string", "format": "base64"}}),
    },
    "availability_zone": NAME,
    "block_device_mapping": {"type": "array", "items": record(_OLD_DEVICE), "maxItems": 255},
    "block_device_mapping_v2": _devices(),
    "config_drive": BOOLEAN,
    "key_name": NAME,
    "min_count": count(1),
    "max_count": count(1),
    "return_reservation_id": BOOLEAN,
    "security_groups": {"type": "array", "items": record({"name": NAME}), "maxItems": 100},
    "user_data": {"type": "string", "format": "base64", "maxLength": 65535},
}
_CERTIFICATES: Final[JsonSchema] = {
    "type": ["array", "null"], "minItems": 1, "maxItems": 50, "uniqueItems": True,
    "items": {"type": "string", "minLength": 1},
}  # fmt: skip
TAGS: Final[JsonSchema] = {"type": "array", "items": TAG, "maxItems": 50}
_VOLUME_TYPE: Final[JsonSchema] = {"type": ["string", "null"], "maxLength": 255}

_CREATE_STEPS: Final[Mapping[int, Mapping[str, JsonSchema | None]]] = {
    19: {"description": DESCRIPTION},
    32: {
        "networks": _networks({"type": "string", "maxLength": 255}, tagged=True),
        "block_device_mapping_v2": _devices(tag=TAG),
    },
    33: {"block_device_mapping_v2": _devices()},
    37: {"networks": _named(_networks(UUID, tagged=False))},
    42: {"networks": _named(_networks(UUID, tagged=True)), "block_device_mapping_v2": _devices(tag=TAG)},
    52: {"tags": TAGS},
    57: {"personality": None},
    63: {"trusted_image_certificates": _CERTIFICATES},
    67: {"block_device_mapping_v2": _devices(tag=TAG, volume_type=_VOLUME_TYPE)},
    74: {"host": HOST, "hypervisor_hostname": HOST},
    90: {"hostname": _HOSTNAME},
    94: {"hostname": _FQDN},
}
"""What changes at each minor version; None takes an attribute away."""

_UPDATE: Final[dict[str, JsonSchema]] = {
    "name": NAME,
    "OS-DCF:diskConfig": _DISK,
    "accessIPv4": {"type": "string", "format": "ipv4"},
    "accessIPv6": {"type": "string", "format": "ipv6"},
}


def _versions(
    first: Mapping[str, JsonSchema],
    steps: Mapping[int, Mapping[str, JsonSchema | None]],
    *,
    create: bool = False,
    box: str = "server",
    needs: tuple[str, ...] = (),
) -> VersionedSchemas:
    found: dict[tuple[int, int], JsonSchema] = {}
    known: dict[str, JsonSchema] = dict(first)
    for minor in (1, *steps):
        for name, schema in steps.get(minor, {}).items():
            if schema is None:
                known.pop(name)
            else:
                known[name] = schema
        required = (("name", "flavorRef", "networks") if minor >= 37 else ("name", "flavorRef")) if create else needs
        hints = {"os:scheduler_hints": _HINTS, "OS-SCH-HNT:scheduler_hints": _HINTS} if create else {}
        found[(2, minor)] = boxed(box, record(known, *required), **hints)
    return VersionedSchemas(found)


CREATE: Final = _versions(_CREATE, _CREATE_STEPS, create=True)
UPDATE: Final = _versions(
    _UPDATE,
    {
        19: {"description": DESCRIPTION},
        90: {"hostname": _HOSTNAME},
        94: {"hostname": _FQDN},
        104: {"pinned_availability_zone": {**NAME, "type": ["string", "null"]}},
    },
)
_SHARED: Final = ("name", "adminPass", "metadata", "OS-DCF:diskConfig", "accessIPv4", "accessIPv6", "personality")
REBUILD: Final = _versions(
    {"imageRef": UUID, "preserve_ephemeral": BOOLEAN, **{name: _CREATE[name] for name in _SHARED}},
    {
        19: {"description": DESCRIPTION},
        54: {"key_name": {**NAME, "type": ["string", "null"]}},
        57: {"user_data": {**_CREATE["user_data"], "type": ["string", "null"]}, "personality": None},
        63: {"trusted_image_certificates": _CERTIFICATES},
        90: {"hostname": _HOSTNAME},
        94: {"hostname": _FQDN},
    },
    box="rebuild",
    needs=("imageRef",),
)
RESIZE: Final = boxed("resize", record({"flavorRef": _CREATE["flavorRef"], "OS-DCF:diskConfig": _DISK}, "flavorRef"))
RESCUE: Final = boxed(
    "rescue",
    {
        "type": ["object", "null"], "additionalProperties": False,
        "properties": {"adminPass": _CREATE["adminPass"], "rescue_image_ref": UUID},
    },
)  # fmt: skip

_PLAIN: Final = (
    "user_id project_id tenant_id launch_index image_ref image kernel_id ramdisk_id hostname key_name power_state "
    "vm_state task_state host node flavor reservation_id launched_at terminated_at availability_zone name "
    "display_name description display_description locked_by uuid root_device_name config_drive access_ip_v4 "
    "access_ip_v6 auto_disk_config progress sort_dir all_tenants soft_deleted deleted status ip ip6 created_at "
    "block_device_mapping services metadata system_metadata info_cache security_groups pci_devices"
)
_TAG_FILTERS: Final = ("tags", "tags-any", "not-tags", "not-tags-any")
_SORT: Final = (
    "access_ip_v4 access_ip_v6 auto_disk_config availability_zone config_drive created_at display_description "
    "display_name host hostname image_ref instance_type_id kernel_id key_name launch_index launched_at locked_by node "
    "power_state progress project_id ramdisk_id root_device_name task_state terminated_at updated_at user_id uuid "
    "vm_state"
)
_IGNORED_SORT: Final = (
    "architecture cell_name cleaned default_ephemeral_device default_swap_device deleted deleted_at disable_terminate "
    "ephemeral_gb ephemeral_key_uuid id key_data launched_on locked memory_mb os_type reservation_id root_gb "
    "shutdown_terminate user_data vcpus vm_mode"
)
UNSORTABLE: Final = frozenset(_IGNORED_SORT.split()) - {"id"}
"""Keys that the API took before 2.75 and never sorted by."""

SHOW: Final = strict_from(102, {1: {"wait": multi(TEXT), "status": multi(TEXT)}})
"""Our own words: see `wait.Waiting`."""

LIST: Final = strict_from(
    75,
    {
        1: {
            **{name: multi(_LONG) for name in _PLAIN.split()},
            **PAGE,
            "changes-since": multi(MOMENT),
            "sort_key": multi({"enum": f"{_SORT} {_IGNORED_SORT}".split()}),
        },
        26: {name: multi(TEXT) for name in _TAG_FILTERS},
        66: {"changes-before": multi(MOMENT)},
        73: {"locked": multi(TEXT)},
        75: {"sort_key": multi({"enum": f"{_SORT} locked".split()})},
    },
)
META_ITEM: Final = boxed("meta", {**METADATA, "minProperties": 1, "maxProperties": 1})
META_ALL: Final = boxed("metadata", METADATA)
REBOOT: Final = boxed("reboot", record({"type": {"enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}}, "type"))
CONSOLE: Final = boxed(
    "os-getConsoleOutput",
    record({"length": {**count(-1), "type": ["integer", "string", "null"]}}),
)
