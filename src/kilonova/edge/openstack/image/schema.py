"""What bodies of the Image API look like (API reference "Images", and the schemas that `/v2/schemas` shows)."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.image.model import CONTAINER_FORMATS, DISK_FORMATS, MEMBER_STATUSES, VISIBILITIES

STATUSES: Final = (
    "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated",
)  # fmt: skip
_TEXT: Final = {"type": ["null", "string"], "maxLength": 255}
_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_PROPERTY: Final = {"type": "string", "maxLength": 65535}
_NAMES: Final = {"minLength": 1, "maxLength": 255}

WRITABLE: Final[dict[str, Any]] = {
    "id": {"type": "string", "format": "uuid", "minLength": 36, "maxLength": 36},
    "name": _TEXT,
    "owner": {"type": ["null", "string"], "maxLength": 64},
    "visibility": {"type": "string", "enum": list(VISIBILITIES)},
    "disk_format": {"type": ["null", "string"], "enum": [None, *DISK_FORMATS]},
    "container_format": {"type": ["null", "string"], "enum": [None, *CONTAINER_FORMATS]},
    "min_disk": _COUNT,
    "min_ram": _COUNT,
    "protected": {"type": "boolean"},
    "os_hidden": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}, "maxItems": 1000},
}
READ_ONLY: Final[dict[str, Any]] = {
    "status": {"type": "string"},
    "size": {"type": ["null", "integer"]},
    "virtual_size": {"type": ["null", "integer"]},
    "checksum": {"type": ["null", "string"], "maxLength": 32},
    "os_hash_algo": {"type": ["null", "string"], "maxLength": 64},
    "os_hash_value": {"type": ["null", "string"], "maxLength": 128},
    "created_at": {"type": "string"},
    "updated_at": {"type": "string"},
    "self": {"type": "string"},
    "file": {"type": "string"},
    "schema": {"type": "string"},
    "direct_url": {"type": "string"},
}
RESERVED: Final = frozenset({"deleted", "deleted_at", "is_public", "locations", "base_uri", "members", "stores"})
OURS: Final = "os_glance_"
"""How the names of properties begin that only the service itself may write."""

CREATE: Final[dict[str, Any]] = {
    "type": "object",
    # What may not be written passes here, so that it is refused by name (403) rather than by type.
    "properties": {**WRITABLE, **{name: {} for name in (*READ_ONLY, *RESERVED)}},
    "additionalProperties": _PROPERTY,
    "propertyNames": _NAMES,
}
VALUE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": WRITABLE,
    "additionalProperties": _PROPERTY,
    "propertyNames": _NAMES,
}
"""One property of an update, as `{name: value}`."""

PATCH: Final[dict[str, Any]] = {
    "type": "array",
    "maxItems": 1000,
    "items": {
        "type": "object",
        "properties": {
            "op": {"enum": ["add", "replace", "remove"]},
            "path": {"type": "string", "pattern": "^/[^/]+$", "maxLength": 512},
            "value": {},
        },
        "required": ["op", "path"],
        "additionalProperties": False,
    },
}
OLD_PATCH: Final[dict[str, Any]] = {
    "type": "array",
    "maxItems": 1000,
    "items": {
        "type": "object",
        "properties": {
            **{op: {"type": "string", "pattern": "^/[^/]+$", "maxLength": 512} for op in ("add", "replace", "remove")},
            "value": {},
        },
        "minProperties": 1,
        "maxProperties": 2,
        "additionalProperties": False,
    },
}
"""The v2.0 media type: the operation is the name of the member that holds the path."""


_ID: Final = {"type": "string", "pattern": "^([0-9a-fA-F]){8}(-([0-9a-fA-F]){4}){3}-([0-9a-fA-F]){12}$"}
_SHOWN: Final[dict[str, Any]] = {
    **{name: {**schema, "readOnly": True} for name, schema in READ_ONLY.items()},
    "status": {"type": "string", "readOnly": True, "enum": list(STATUSES)},
    "stores": {"type": "string", "readOnly": True},
    "locations": {"type": "array", "items": {"type": "object", "required": ["url", "metadata"]}},
}
_STAMPS: Final[dict[str, Any]] = {
    "created_at": {"type": "string"},
    "updated_at": {"type": "string"},
    "schema": {"type": "string", "readOnly": True},
}
_MEMBER: Final[dict[str, Any]] = {
    "member_id": {"type": "string"},
    "image_id": _ID,
    "status": {"type": "string", "enum": list(MEMBER_STATUSES)},
    **_STAMPS,
}
_TASK_STUB: Final[dict[str, Any]] = {
    "id": _ID,
    "type": {"type": "string", "enum": ["import", "api_image_import", "location_import"]},
    "status": {"type": "string", "enum": ["pending", "processing", "success", "failure"]},
    "owner": {"type": "string"},
    "image_id": {"type": "string"},
    "request_id": {"type": "string"},
    "user_id": {"type": "string"},
    "expires_at": {"type": ["null", "string"]},
    "self": {"type": "string", "readOnly": True},
    **_STAMPS,
}
_TASK: Final[dict[str, Any]] = {
    **_TASK_STUB,
    "input": {"type": ["null", "object"]},
    "result": {"type": ["null", "object"]},
    "message": {"type": "string"},
}
_IMAGE: Final[dict[str, Any]] = {
    "name": "image",
    "properties": {**WRITABLE, **_SHOWN, "id": _ID},
    "additionalProperties": {"type": "string"},
    "links": [
        {"rel": "self", "href": "{self}"},
        {"rel": "enclosure", "href": "{file}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}


def document(name: str) -> dict[str, Any] | None:
    """`/v2/schemas/{name}`; None when there is none."""
    return _DOCUMENTS.get(name)


def _collection(name: str, item: dict[str, Any], *, paged: bool) -> dict[str, Any]:
    """A list of `item`, with the links by which it is walked."""
    links = [{"rel": rel, "href": f"{{{rel}}}"} for rel in ("first", "next")] if paged else []
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            **{link["rel"]: {"type": "string"} for link in links},
            "schema": {"type": "string"},
        },
        "links": [*links, {"rel": "describedby", "href": "{schema}"}],
    }


_DOCUMENTS: Final[dict[str, dict[str, Any]]] = {
    "image": _IMAGE,
    "images": _collection("images", _IMAGE, paged=True),
    "member": {"name": "member", "properties": _MEMBER},
    "members": _collection("members", {"name": "member", "properties": _MEMBER}, paged=False),
    "task": {"name": "task", "properties": _TASK},
    "tasks": _collection("tasks", {"name": "task", "properties": _TASK_STUB}, paged=True),
}
