"""What bodies of the Image API look like (API reference "Images", and the schemas that `/v2/schemas` shows)."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.image.model import CONTAINER_FORMATS, DISK_FORMATS, VISIBILITIES

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


def image_document() -> dict[str, Any]:
    """`/v2/schemas/image`."""
    shown = {name: {**schema, "readOnly": True} for name, schema in READ_ONLY.items()}
    return {
        "name": "image",
        "properties": {**WRITABLE, **shown},
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def images_document() -> dict[str, Any]:
    """`/v2/schemas/images`."""
    return {
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": image_document()},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }
