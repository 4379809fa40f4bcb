"""What identity's requests look like (Identity API v3). Unknown members of domains, projects, users and roles are kept,
as Keystone keeps them."""

from __future__ import annotations

from typing import Any, Final

from kilonova.kit.http import query, single

_ID: Final = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"}
_NULL_ID: Final = {**_ID, "type": ["string", "null"]}
_TEXT: Final = {"type": ["string", "null"], "maxLength": 65535}
_BOOLEAN: Final = {"type": "boolean"}
_OPTIONS: Final = {"type": "object", "maxProperties": 20}
_TAGS: Final = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/]*$"},
    "maxItems": 80,
    "uniqueItems": True,
}
_PASSWORD: Final = {"type": ["string", "null"], "minLength": 1, "maxLength": 4096}


def _name(longest: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": r"\S"}


FIELDS: Final[dict[str, dict[str, Any]]] = {
    "domain": {"name": _name(64), "description": _TEXT, "enabled": _BOOLEAN, "options": _OPTIONS, "tags": _TAGS},
    "project": {
        "name": _name(64),
        "domain_id": _NULL_ID,
        "parent_id": _NULL_ID,
        "description": _TEXT,
        "enabled": _BOOLEAN,
        "is_domain": _BOOLEAN,
        "options": _OPTIONS,
        "tags": _TAGS,
    },
    "user": {
        "name": _name(255),
        "domain_id": _ID,
        "default_project_id": _NULL_ID,
        "enabled": _BOOLEAN,
        "password": _PASSWORD,
        "description": _TEXT,
        "options": _OPTIONS,
    },
    "role": {"name": _name(255), "domain_id": _NULL_ID, "description": _TEXT, "options": _OPTIONS},
}
_EXTRA: Final = 50


def _wrap(kind: str, inner: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {kind: inner}, "required": [kind], "additionalProperties": False}


def create(kind: str) -> dict[str, Any]:
    """The body that makes one."""
    inner = {"type": "object", "properties": FIELDS[kind], "required": ["name"], "maxProperties": _EXTRA}
    return _wrap(kind, inner)


def change(kind: str) -> dict[str, Any]:
    """The body that changes one."""
    return _wrap(kind, {"type": "object", "properties": FIELDS[kind], "minProperties": 1, "maxProperties": _EXTRA})


CHANGE_PASSWORD: Final = _wrap(
    "user",
    {
        "type": "object",
        "properties": {
            "original_password": {"type": "string", "minLength": 1, "maxLength": 4096},
            "password": {"type": "string", "minLength": 1, "maxLength": 4096},
        },
        "required": ["original_password", "password"],
        "additionalProperties": False,
    },
)

_REFERENCE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"id": {"type": "string", "maxLength": 255}, "name": {"type": "string", "maxLength": 255}},
}
_PLACED: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {**_REFERENCE["properties"], "domain": _REFERENCE},
}
_SCOPE: Final[dict[str, Any]] = {
    "type": ["object", "string"],
    "properties": {
        "project": _PLACED,
        "domain": _REFERENCE,
        "system": {"type": "object", "properties": {"all": {"const": True}}, "required": ["all"]},
        "unscoped": {"type": "object"},
    },
}
_METHODS: Final[dict[str, Any]] = {
    "type": "array",
    "items": {"type": "string", "maxLength": 64},
    "minItems": 1,
    "maxItems": 8,
}
_BY_PASSWORD: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "user": {
            "type": "object",
            "properties": {**_PLACED["properties"], "password": {"type": "string"}},
            "required": ["password"],
        }
    },
    "required": ["user"],
}
LOGIN: Final = _wrap(
    "auth",
    {
        "type": "object",
        "properties": {
            "identity": {
                "type": "object",
                "properties": {
                    "methods": _METHODS,
                    "password": _BY_PASSWORD,
                    "token": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
                },
                "required": ["methods"],
            },
            "scope": _SCOPE,
        },
        "required": ["identity"],
    },
)

_STRING: Final = single({"type": "string", "maxLength": 255})
_FILTERS: Final = ("name", "domain_id", "parent_id", "enabled", "is_domain", "name__contains", "name__startswith")
LIST: Final = query(dict.fromkeys(_FILTERS, _STRING))
