"""What requests about logins, credentials, the catalog and limits look like (Identity API v3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final


def wrap(name: str, inner: Mapping[str, Any]) -> dict[str, Any]:
    """A body whose one member is `name`."""
    return {"type": "object", "properties": {name: inner}, "required": [name], "additionalProperties": False}


def _object(properties: Mapping[str, Any], required: Sequence[str] = (), *, more: bool = False) -> dict[str, Any]:
    found = {"type": "object", "properties": dict(properties), "required": list(required), "maxProperties": 50}
    return found if more else {**found, "additionalProperties": False}


def _several(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    return wrap(name, {"type": "array", "items": item, "minItems": 1, "maxItems": 1000})


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
        "OS-TRUST:trust": {
            "type": "object",
            "properties": {"id": {"type": "string", "maxLength": 64}},
            "required": ["id"],
        },
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
_BY_PASSCODE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "user": {
            "type": "object",
            "properties": {**_PLACED["properties"], "passcode": {"type": "string", "maxLength": 64}},
            "required": ["passcode"],
        }
    },
    "required": ["user"],
}
_BY_APPLICATION: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {**_REFERENCE["properties"], "secret": {"type": "string"}, "user": _PLACED},
    "required": ["secret"],
}
LOGIN: Final = wrap(
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
                    "totp": _BY_PASSCODE,
                    "application_credential": _BY_APPLICATION,
                },
                "required": ["methods"],
            },
            "scope": _SCOPE,
        },
        "required": ["identity"],
    },
)

_ID: Final = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"}
_NULL_ID: Final = {**_ID, "type": ["string", "null"]}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"}
_TEXT: Final = {"type": ["string", "null"], "maxLength": 65535}
_BOOLEAN: Final = {"type": "boolean"}
_TIME: Final = {"type": ["string", "null"], "maxLength": 64}
_ROLES: Final = {"type": "array", "items": _REFERENCE, "maxItems": 100}
_RULE: Final = {
    "type": "object",
    "properties": {
        "id": _ID,
        "service": {"type": "string", "minLength": 1, "maxLength": 64},
        "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]},
        "path": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^\/.*"},
    },
    "anyOf": [{"required": ["id"]}, {"required": ["service", "method", "path"]}],
    "additionalProperties": False,
}
APPLICATION_CREDENTIAL: Final = wrap(
    "application_credential",
    _object(
        {
            "name": _NAME,
            "description": _TEXT,
            "secret": {"type": ["string", "null"], "minLength": 1, "maxLength": 4096},
            "expires_at": _TIME,
            "roles": _ROLES,
            "unrestricted": {"type": ["boolean", "null"]},
            "access_rules": {"type": ["array", "null"], "items": _RULE, "maxItems": 100},
        },
        ["name"],
        more=True,
    ),
)

_CREDENTIAL: Final = {
    "user_id": _ID,
    "project_id": _NULL_ID,
    "type": {"type": "string", "minLength": 1, "maxLength": 255},
    "blob": {"type": "string", "maxLength": 65535},
}
CREDENTIAL: Final = wrap("credential", _object(_CREDENTIAL, ["user_id", "type", "blob"], more=True))
CREDENTIAL_CHANGE: Final = wrap("credential", _object({"id": _ID, **_CREDENTIAL}, more=True))
EC2_CREDENTIAL: Final = _object({"tenant_id": _ID}, ["tenant_id"], more=True)
_SIGNED: Final = {
    "type": "object",
    "properties": {
        "access": {"type": "string", "maxLength": 255},
        "signature": {"type": ["string", "null"], "maxLength": 1024},
        "token": {"type": "string"},
        "host": {"type": "string", "maxLength": 1024},
        "verb": {"type": "string", "maxLength": 16},
        "path": {"type": "string"},
        "params": {"type": "object", "maxProperties": 1000},
        "headers": {"type": "object", "maxProperties": 1000},
        "body_hash": {"type": ["string", "null"], "maxLength": 255},
    },
}
SIGNED: Final = {
    "type": "object",
    "properties": dict.fromkeys(("credentials", "credential", "ec2Credentials"), _SIGNED),
    "minProperties": 1,
}

TRUST: Final = wrap(
    "trust",
    _object(
        {
            "trustor_user_id": _ID,
            "trustee_user_id": _ID,
            "impersonation": _BOOLEAN,
            "project_id": _NULL_ID,
            "remaining_uses": {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31 - 1},
            "expires_at": _TIME,
            "allow_redelegation": {"type": ["boolean", "null"]},
            "redelegation_count": {"type": ["integer", "null"], "minimum": 0},
            "roles": _ROLES,
        },
        ["trustee_user_id", "trustor_user_id", "impersonation"],
        more=True,
    ),
)

REGION_ID: Final = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^/\x00-\x1f]*\S[^/\x00-\x1f]*$"}
_NULL_REGION: Final = {**REGION_ID, "type": ["string", "null"]}
_REGION: Final = {"description": _TEXT, "parent_region_id": _NULL_REGION}
REGION: Final = wrap("region", _object({**_REGION, "id": {"type": ["string", "null"], "maxLength": 255}}, more=True))
REGION_CHANGE: Final = wrap("region", {**_object({**_REGION, "id": REGION_ID}, more=True), "minProperties": 1})
_SERVICE: Final = {
    "type": {"type": "string", "minLength": 1, "maxLength": 255},
    "name": {"type": ["string", "null"], "maxLength": 255},
    "description": _TEXT,
    "enabled": _BOOLEAN,
}
SERVICE: Final = wrap("service", _object(_SERVICE, ["type"], more=True))
SERVICE_CHANGE: Final = wrap("service", {**_object(_SERVICE, more=True), "minProperties": 1})
_ENDPOINT: Final = {
    "interface": {"enum": ["public", "internal", "admin"]},
    "service_id": _ID,
    "region_id": _NULL_REGION,
    "region": _NULL_REGION,
    "url": {"type": "string", "minLength": 1, "maxLength": 2048, "pattern": "^[a-zA-Z0-9+.-]+:.+"},
    "enabled": _BOOLEAN,
    "name": {"type": ["string", "null"], "maxLength": 255},
    "description": _TEXT,
}
ENDPOINT: Final = wrap("endpoint", _object(_ENDPOINT, ["interface", "service_id", "url"], more=True))
ENDPOINT_CHANGE: Final = wrap("endpoint", {**_object(_ENDPOINT, more=True), "minProperties": 1})

_AMOUNT: Final = {"type": "integer", "minimum": -1, "maximum": 2**31 - 1}
_RESOURCE: Final = {"service_id": _ID, "region_id": _NULL_REGION, "resource_name": _NAME, "description": _TEXT}
_REGISTERED: Final = {**_RESOURCE, "default_limit": _AMOUNT}
REGISTERED_LIMITS: Final = _several(
    "registered_limits", _object(_REGISTERED, ["service_id", "resource_name", "default_limit"])
)
REGISTERED_LIMIT_CHANGE: Final = wrap("registered_limit", _object(_REGISTERED))
LIMITS: Final = _several(
    "limits",
    _object(
        {**_RESOURCE, "resource_limit": _AMOUNT, "project_id": _NULL_ID, "domain_id": _NULL_ID},
        ["service_id", "resource_name", "resource_limit"],
    ),
)
LIMIT_CHANGE: Final = wrap("limit", _object({"resource_limit": _AMOUNT, "description": _TEXT}))
