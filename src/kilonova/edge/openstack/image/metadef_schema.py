"""What bodies of metadata definitions look like (API reference "Metadata definition"), and the schemas that
`/v2/schemas/metadefs` shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.metadef.model import MAX_ENTRIES, VISIBILITIES

JsonSchema = Mapping[str, Any]

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 80}
_SHORT: Final = {"type": "string", "maxLength": 80}
_TEXT: Final = {"type": "string", "maxLength": 65535}
_FLAG: Final = {"type": "boolean"}
_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_COUNT_OR_0: Final = {**_COUNT, "default": 0}
_NAMES: Final = {"type": "array", "items": {"type": "string", "maxLength": 80}, "maxItems": 1000, "uniqueItems": True}
_MOMENT: Final = {"type": "string", "readOnly": True, "format": "date-time"}
_LINK: Final = {"type": "string", "readOnly": True}
_TIMES: Final = {"created_at": _MOMENT, "updated_at": _MOMENT}
_LINKS: Final = {"self": _LINK, "schema": _LINK}

PROPERTY: Final[dict[str, Any]] = {
    "name": _NAME,
    "title": {"type": "string", "maxLength": 255},
    "description": _TEXT,
    "operators": {"type": "array", "items": _SHORT, "maxItems": 100},
    "type": {"type": "string", "enum": list(_TYPES)},
    "required": _NAMES,
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "maxLength": _COUNT,
    "minLength": _COUNT_OR_0,
    "pattern": _TEXT,
    "enum": {"type": "array", "maxItems": 1000},
    "readonly": _FLAG,
    "default": {},
    "items": {
        "type": "object",
        "properties": {"type": {"type": "string", "enum": list(_TYPES)}, "enum": {"type": "array", "maxItems": 1000}},
        "additionalProperties": False,
    },
    "maxItems": _COUNT,
    "minItems": _COUNT_OR_0,
    "uniqueItems": {"type": "boolean", "default": False},
    "additionalItems": _FLAG,
}
_PROPERTIES: Final = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["title", "type"],
        "properties": PROPERTY,
        "additionalProperties": False,
    },
    "propertyNames": _NAME,
    "maxProperties": MAX_ENTRIES,
}
OBJECT: Final[dict[str, Any]] = {
    "name": _NAME,
    "description": _TEXT,
    "required": _NAMES,
    "properties": _PROPERTIES,
}
TAG: Final[dict[str, Any]] = {"name": _NAME}
ASSOCIATION: Final[dict[str, Any]] = {"name": _NAME, "prefix": _SHORT, "properties_target": _SHORT}
_BASICS: Final[dict[str, Any]] = {
    "namespace": _NAME,
    "display_name": _SHORT,
    "description": {"type": "string", "maxLength": 500},
    "visibility": {"type": "string", "enum": list(VISIBILITIES)},
    "protected": _FLAG,
    "owner": {"type": "string", "maxLength": 255},
}


def _list_of(properties: JsonSchema, **more: Any) -> dict[str, Any]:
    item = {"type": "object", "properties": properties, "required": ["name"], "additionalProperties": False}
    return {"type": "array", "items": item, "maxItems": MAX_ENTRIES, **more}


NAMESPACE: Final[dict[str, Any]] = {
    **_BASICS,
    # What is shown of these may come back as it was, with what is read-only.
    "resource_type_associations": _list_of({**ASSOCIATION, **_TIMES}),
    "properties": _PROPERTIES,
    "objects": _list_of({**OBJECT, **_TIMES, **_LINKS}),
    "tags": _list_of({**TAG, **_TIMES}),
}
READ_ONLY: Final = frozenset((*_TIMES, *_LINKS))


def _body(properties: JsonSchema, required: list[str], read_only: JsonSchema) -> dict[str, Any]:
    # What is read-only passes here, so that it is refused by name (403) rather than as unknown.
    allowed = {**properties, **{name: {} for name in read_only}}
    return {"type": "object", "properties": allowed, "required": required, "additionalProperties": False}


NAMESPACE_BODY: Final = _body(NAMESPACE, ["namespace"], {**_TIMES, **_LINKS})
OBJECT_BODY: Final = _body(OBJECT, ["name"], {**_TIMES, **_LINKS})
PROPERTY_BODY: Final = _body(PROPERTY, ["name", "title", "type"], _TIMES)
TAG_BODY: Final = _body(TAG, ["name"], _TIMES)
TAGS_BODY: Final = _body({"tags": _list_of(TAG, minItems=1)}, ["tags"], _TIMES)
ASSOCIATION_BODY: Final = _body(ASSOCIATION, ["name"], _TIMES)

_REFERRED: Final[tuple[tuple[str, JsonSchema], ...]] = (
    ("positiveInteger", _COUNT),
    ("positiveIntegerDefault0", _COUNT_OR_0),
    ("stringArray", _NAMES),
    ("property", _PROPERTIES),
)
"""The parts that Glance's schemas name."""


def documents() -> dict[str, dict[str, Any]]:
    """The schemas that are shown, by the last part of their path, in Glance's form."""
    wanted = {
        "namespace": _shown("namespace", {**NAMESPACE, **_TIMES, **_LINKS}, ["namespace"]),
        "object": _shown("object", {**OBJECT, **_LINKS, **_TIMES}, ["name"]),
        "property": _shown("property", PROPERTY, ["type", "title", "name"]),
        "resource_type": _shown("resource_type_association", {**ASSOCIATION, **_TIMES}, ["name"]),
        "tag": _shown("tag", {**TAG, **_TIMES}, ["name"]),
    }
    unnamed = {**wanted["property"], "required": ["type", "title"]}
    return {
        **wanted,
        "namespaces": _collection("namespaces", {"type": "array", "items": wanted["namespace"]}),
        "objects": _collection("objects", {"type": "array", "items": wanted["object"]}),
        "properties": _collection("properties", {"type": "object", "additionalProperties": unnamed}),
        "resource_types": _collection(
            "resource_type_associations", {"type": "array", "items": wanted["resource_type"]}
        ),
        "tags": _collection("tags", {"type": "array", "items": wanted["tag"]}),
    }


def _shown(name: str, properties: JsonSchema, required: list[str]) -> dict[str, Any]:
    shown = {"name": name, "properties": _refer(properties), "required": required, "additionalProperties": False}
    if "$ref" not in str(shown):
        return shown
    return {**shown, "definitions": {part: _refer(schema, itself=schema) for part, schema in _REFERRED}}


def _collection(name: str, items: dict[str, Any]) -> dict[str, Any]:
    """References are looked up from the root, so the definitions move there."""
    inner = "items" if "items" in items else "additionalProperties"
    item = {key: value for key, value in items[inner].items() if key != "definitions"}
    definitions = items[inner].get("definitions")
    link = {"type": "string"}
    return {
        "name": name,
        "properties": {name: {**items, inner: item}, "first": link, "next": link, "schema": link},
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
        **({"definitions": definitions} if definitions else {}),
    }


def _refer(value: Any, itself: JsonSchema | None = None) -> Any:
    """The same schema with the named parts, `itself` excepted, replaced by references, and open to members that later
    versions may show: clients check answers by it."""
    for part, schema in _REFERRED:
        if value is schema and value is not itself:
            return {"$ref": f"#/definitions/{part}"}
    if isinstance(value, Mapping):
        return {key: _refer(inner) for key, inner in value.items() if (key, inner) != ("additionalProperties", False)}
    return [_refer(inner) for inner in value] if isinstance(value, list) else value
