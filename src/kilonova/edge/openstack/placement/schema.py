"""What bodies and queries of the Placement API look like, by version (Placement API reference)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.placement.model import MAX_INT
from kilonova.kit.http import VersionedSchemas, multi, query, single
from kilonova.kit.http.schema import JsonSchema

UUID: Final[JsonSchema] = {"type": "string", "format": "uuid"}
_UUID_KEY: Final = "^[0-9a-fA-F-]{36}$"
_NAME: Final = "^[A-Z0-9_]{1,255}$"
_CUSTOM: Final = "^CUSTOM_[A-Z0-9_]+$"
CUSTOM_NAME: Final[JsonSchema] = {"type": "string", "pattern": _CUSTOM, "maxLength": 255}
_OWNER: Final[JsonSchema] = {"type": "string", "minLength": 1, "maxLength": 255}
_PARENT: Final[JsonSchema] = {"anyOf": [UUID, {"type": "null"}]}
_TEXT: Final = multi({"type": "string"})
LARGEST_RATIO: Final = 3.40282e38


def record(properties: Mapping[str, JsonSchema], *required: str, **more: Any) -> JsonSchema:
    """An object with these members and no others."""
    shape = {"type": "object", "properties": dict(properties), "required": list(required)}
    return {**shape, "additionalProperties": False, **more}


def mapping(key: str, value: JsonSchema, **more: Any) -> JsonSchema:
    """An object whose members have names of this pattern."""
    return {"type": "object", "patternProperties": {key: value}, "additionalProperties": False, **more}


def versions(by_minor: Mapping[int, JsonSchema]) -> VersionedSchemas:
    """Schemas by the minor version from which each holds."""
    return VersionedSchemas({(1, minor): schema for minor, schema in by_minor.items()})


_PROVIDER_NAME: Final[JsonSchema] = {"type": "string", "maxLength": 200}
CREATE_PROVIDER: Final = versions(
    {
        0: record({"name": _PROVIDER_NAME, "uuid": UUID}, "name"),
        14: record({"name": _PROVIDER_NAME, "uuid": UUID, "parent_provider_uuid": _PARENT}, "name"),
    }
)
UPDATE_PROVIDER: Final = versions(
    {
        0: record({"name": _PROVIDER_NAME}, "name"),
        14: record({"name": _PROVIDER_NAME, "parent_provider_uuid": _PARENT}, "name"),
    }
)
_LIST_PROVIDERS: Final[list[tuple[int, dict[str, JsonSchema]]]] = [
    (0, {"name": _TEXT, "uuid": multi(UUID)}),
    (3, {"member_of": _TEXT}),
    (4, {"resources": _TEXT}),
    (14, {"in_tree": multi(UUID)}),
    (18, {"required": _TEXT}),
]


def _growing(steps: list[tuple[int, dict[str, JsonSchema]]]) -> VersionedSchemas:
    known: dict[str, JsonSchema] = {}
    by_minor: dict[int, JsonSchema] = {}
    for minor, more in steps:
        known = {**known, **more}
        by_minor[minor] = query(known, additional=False)
    return versions(by_minor)


LIST_PROVIDERS: Final = _growing(_LIST_PROVIDERS)

GENERATION: Final[JsonSchema] = {"type": "integer"}
_COUNT: Final[JsonSchema] = {"type": "integer", "minimum": 1, "maximum": MAX_INT}
_INVENTORY: Final[dict[str, JsonSchema]] = {
    "resource_provider_generation": GENERATION,
    "total": _COUNT,
    "reserved": {"type": "integer", "minimum": 0, "maximum": MAX_INT},
    "min_unit": _COUNT,
    "max_unit": _COUNT,
    "step_size": _COUNT,
    "allocation_ratio": {"type": "number", "maximum": LARGEST_RATIO},
}
_CLASS: Final[JsonSchema] = {"type": "string", "pattern": _NAME}
CREATE_INVENTORY: Final = record({**_INVENTORY, "resource_class": _CLASS}, "total", "resource_class")
UPDATE_INVENTORY: Final = record(_INVENTORY, "total", "resource_provider_generation")
PUT_INVENTORIES: Final = record(
    {"resource_provider_generation": GENERATION, "inventories": mapping(_NAME, record(_INVENTORY, "total"))},
    "resource_provider_generation",
    "inventories",
)

_AGGREGATES: Final[JsonSchema] = {"type": "array", "items": UUID, "uniqueItems": True}
PUT_AGGREGATES: Final = versions(
    {
        1: _AGGREGATES,
        19: record(
            {"aggregates": _AGGREGATES, "resource_provider_generation": GENERATION},
            "aggregates",
            "resource_provider_generation",
        ),
    }
)

_TRAIT: Final[JsonSchema] = {"type": "string", "minLength": 1, "maxLength": 255}
PUT_TRAITS: Final = record(
    {"traits": {"type": "array", "items": _TRAIT}, "resource_provider_generation": GENERATION},
    "traits",
    "resource_provider_generation",
)
LIST_TRAITS: Final = query({"name": _TEXT, "associated": _TEXT}, additional=False)

RESOURCE_CLASS: Final = record({"name": CUSTOM_NAME}, "name")

_USAGES: Final[dict[str, JsonSchema]] = {"project_id": single(_OWNER), "user_id": single(_OWNER)}
_TYPE_ASKED: Final[JsonSchema] = {"type": "string", "pattern": "^[A-Z0-9_]+$|^all$|^unknown$", "maxLength": 255}
USAGES: Final = versions(
    {
        9: {**query(_USAGES, additional=False), "required": ["project_id"]},
        38: {
            **query({**_USAGES, "consumer_type": single(_TYPE_ASKED)}, additional=False),
            "required": ["project_id"],
        },
    }
)

_AMOUNTS: Final = mapping(_NAME, {"type": "integer", "minimum": 1}, minProperties=1)
_LISTED: Final[JsonSchema] = {
    "type": "array",
    "minItems": 1,
    "items": record(
        {"resource_provider": record({"uuid": UUID}, "uuid"), "resources": _AMOUNTS},
        "resource_provider",
        "resources",
    ),
}
_KEYED: Final = mapping(_UUID_KEY, record({"generation": GENERATION, "resources": _AMOUNTS}, "resources"))
_WHO: Final[dict[str, JsonSchema]] = {"project_id": _OWNER, "user_id": _OWNER}
_BY_12: Final[dict[str, JsonSchema]] = {"allocations": _KEYED, **_WHO}
_BY_28: Final[dict[str, JsonSchema]] = {**_BY_12, "consumer_generation": {"type": ["integer", "null"]}}
_BY_34: Final[dict[str, JsonSchema]] = {
    **_BY_28,
    "mappings": {
        "type": "object",
        "minProperties": 1,
        "patternProperties": {"[a-zA-Z0-9_-]{1,64}": {"type": "array", "minItems": 1, "items": UUID}},
    },
}
_TYPE: Final[JsonSchema] = {"type": "string", "pattern": "^[A-Z0-9_]+$", "minLength": 1, "maxLength": 255}
_BY_38: Final[dict[str, JsonSchema]] = {**_BY_34, "consumer_type": _TYPE}
_NEEDS: Final = ("allocations", "project_id", "user_id")
_SHARES: Final[dict[int, JsonSchema]] = {
    28: record(_BY_28, *_NEEDS, "consumer_generation"),
    34: record(_BY_34, *_NEEDS, "consumer_generation"),
    38: record(_BY_38, *_NEEDS, "consumer_generation", "consumer_type"),
}
PUT_ALLOCATIONS: Final = versions(
    {
        0: record({"allocations": _LISTED}, "allocations"),
        8: record({"allocations": _LISTED, **_WHO}, *_NEEDS),
        12: record({**_BY_12, "allocations": {**_KEYED, "minProperties": 1}}, *_NEEDS),
        **_SHARES,
    }
)
POST_ALLOCATIONS: Final = versions(
    {
        minor: mapping(_UUID_KEY, share, minProperties=1)
        for minor, share in {13: record(_BY_12, *_NEEDS), **_SHARES}.items()
    }
)
RESHAPE: Final = versions(
    {
        max(minor, 30): record(
            {
                "inventories": mapping(_UUID_KEY, PUT_INVENTORIES, minProperties=1),
                "allocations": mapping(_UUID_KEY, share),
            },
            "inventories",
            "allocations",
        )
        for minor, share in _SHARES.items()
    }
)


def _candidates() -> VersionedSchemas:
    plain: dict[str, JsonSchema] = {"resources": _TEXT}
    by_minor: dict[int, JsonSchema] = {}
    limit = multi({"type": "string", "pattern": "^[1-9][0-9]{0,17}$"})
    for minor, name, kind in ((10, "", _TEXT), (16, "limit", limit), (17, "required", _TEXT), (21, "member_of", _TEXT)):
        plain = {**plain, **({name: kind} if name else {})}
        by_minor[minor] = {**query(plain, additional=False), "required": ["resources"]}
    wide: dict[str, JsonSchema] = {"limit": limit, "group_policy": multi({"enum": ["none", "isolate"]})}
    kinds, numbered, named = ("resources", "required", "member_of"), "([1-9][0-9]*)?", "([a-zA-Z0-9_-]{1,64})?"
    steps: tuple[tuple[int, dict[str, JsonSchema], tuple[str, ...], str], ...] = (
        (25, {}, kinds, numbered),
        (31, {}, (*kinds, "in_tree"), numbered),
        (33, {}, (*kinds, "in_tree"), named),
        (35, {"root_required": _TEXT}, (*kinds, "in_tree"), named),
        (36, {"same_subtree": _TEXT}, (*kinds, "in_tree"), named),
    )
    for minor, more, some, suffix in steps:
        wide = {**wide, **more}
        by_minor[minor] = {
            **query(wide, additional=False),
            "patternProperties": {f"^{kind}{suffix}$": _TEXT for kind in some},
        }
    return versions(by_minor)


CANDIDATES: Final = _candidates()
