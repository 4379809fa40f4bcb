"""What identity's requests look like (Identity API v3). Unknown members of domains, projects, users and roles are kept,
as Keystone keeps them."""

from __future__ import annotations

from typing import Any, Final

from kilonova.kit.http import query, single

_ID: Final = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"}
_NULL_ID: Final = {**_ID, "type": ["string", "null"]}
_TEXT: Final = {"type": ["string", "null"], "maxLength": 65535}
_BOOLEAN: Final = {"type": "boolean"}
_FLAG: Final = {"type": ["boolean", "null"]}
_OPTIONS: Final = {"type": "object", "properties": {"immutable": _FLAG}, "additionalProperties": False}
_RULES: Final = {
    "type": ["array", "null"],
    "items": {
        "type": "array",
        "items": {"type": "string", "maxLength": 64},
        "minItems": 1,
        "maxItems": 20,
        "uniqueItems": True,
    },
    "maxItems": 20,
    "uniqueItems": True,
}
_USER_OPTIONS: Final = {
    "type": "object",
    "properties": {
        "ignore_change_password_upon_first_use": _FLAG,
        "ignore_password_expiry": _FLAG,
        "ignore_lockout_failure_attempts": _FLAG,
        "ignore_user_inactivity": _FLAG,
        "lock_password": _FLAG,
        "multi_factor_auth_enabled": _FLAG,
        "multi_factor_auth_rules": _RULES,
    },
    "additionalProperties": False,
}
TAG_LENGTH: Final = 255
_TAGS: Final = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": TAG_LENGTH, "pattern": r"^[^,/]*[^,/\s][^,/]*$"},
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
        "options": _USER_OPTIONS,
    },
    "group": {"name": _name(64), "domain_id": _ID, "description": _TEXT},
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


TAGS: Final = _wrap("tags", _TAGS)
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

_STRING: Final = single({"type": "string", "maxLength": 255})
_FILTERS: Final = ("name", "domain_id", "parent_id", "enabled", "is_domain", "password_expires_at", "limit", "marker")
LIST: Final = query(dict.fromkeys(_FILTERS, _STRING))
