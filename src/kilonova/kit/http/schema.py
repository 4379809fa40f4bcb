"""JSON Schema (2020-12) checks by jsonschema-rs, compiled once at first use, told in the words that clients know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import jsonschema_rs

from kilonova.kit.http.error import Misfit
from kilonova.kit.http.version import Version

JsonSchema = Mapping[str, Any]
Formats = Mapping[str, Callable[[str], bool]]
_SHOWN: Final = 256
_HIDDEN: Final = "***"
SECRETS: Final = frozenset(
    {"password", "original_password", "adminPass", "admin_password", "secret", "blob", "passcode", "token"}
)
"""Fields of which nothing is told in answers, nor of what is in them."""


class VersionedSchemas:
    """Schemas by the API version from which each holds: `VersionedSchemas({(2, 1): …, (2, 19): …})`."""

    __slots__ = ("_newest_first",)

    def __init__(self, by_version: Mapping[Version, JsonSchema]) -> None:
        self._newest_first = sorted(by_version.items(), reverse=True)

    def at(self, version: Version) -> JsonSchema | None:
        """The schema in force at `version`; None before the first."""
        return next((schema for since, schema in self._newest_first if since <= version), None)


Schema = JsonSchema | VersionedSchemas | None


def single(schema: JsonSchema) -> JsonSchema:
    """A query parameter that may be given once."""
    return {"type": "array", "items": schema, "maxItems": 1}


def multi(schema: JsonSchema) -> JsonSchema:
    """A query parameter that may be given several times."""
    return {"type": "array", "items": schema, "maxItems": 1000}


def query(parameters: Mapping[str, JsonSchema], *, additional: bool = True) -> JsonSchema:
    """A query-string schema; values are strings. `additional`: whether unknown parameters pass."""
    return {"type": "object", "properties": dict(parameters), "additionalProperties": additional}


class Checker:
    """Checks documents against schemas; owns the compiled validators (by identity of the schema)."""

    def __init__(self, formats: Formats) -> None:
        self._formats = dict(formats)
        self._compiled: dict[int, tuple[JsonSchema, jsonschema_rs.Draft202012Validator]] = {}

    def check(self, schema: Schema, value: Any, version: Version, part: Literal["body", "query"] = "body") -> None:
        """Raises Misfit for the first thing wrong in `value`."""
        if isinstance(schema, VersionedSchemas):
            schema = schema.at(version)
        if schema is None:
            return
        validator = self._validator(schema)
        if validator.is_valid(value):
            return
        errors = sorted(validator.iter_errors(value), key=lambda e: len(e.instance_path))
        first = errors[0]
        reason = _unmatched(first, schema) or _reason(first, _told(first))
        raise Misfit(tell(first), part, reason, first.schema_path, first.instance_path)

    def _validator(self, schema: JsonSchema) -> jsonschema_rs.Draft202012Validator:
        found = self._compiled.get(id(schema))
        if found is None:
            validator = jsonschema_rs.Draft202012Validator(
                dict(schema), formats=self._formats, validate_formats=True, ignore_unknown_formats=False
            )
            # The schema is kept beside its validator, so that its id stays its own.
            found = self._compiled[id(schema)] = (schema, validator)
        return found[1]


def tell(error: jsonschema_rs.ValidationError) -> str:
    """`Invalid input for field/attribute X. Value: Y. Z is not of type 'integer'`, as OpenStack's services write it."""
    path, value = error.instance_path, _told(error)
    reason = _reason(error, value)
    if not path:
        return reason
    named = ".".join(str(step) for step in path[-1:])
    return f"Invalid input for field/attribute {named}. Value: {_show(value)}. {reason}"


def _unmatched(error: jsonschema_rs.ValidationError, schema: JsonSchema) -> str:
    """What is said of a member whose name no pattern allows; empty for all else that can be wrong."""
    if not isinstance(error.kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        return ""
    near: Any = schema
    for step in list(error.schema_path)[:-1]:
        near = near[step]
    patterns = sorted(near.get("patternProperties", ()))
    unexpected = error.kind.unexpected[0][:_SHOWN]
    return f"{unexpected!r} does not match any of the regexes: {', '.join(map(repr, patterns))}" if patterns else ""


def _told(error: jsonschema_rs.ValidationError) -> Any:
    """What may be shown of the value that is wrong."""
    return _HIDDEN if SECRETS.intersection(error.instance_path) else _without_secrets(error.instance)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _HIDDEN if key in SECRETS else _without_secrets(one) for key, one in value.items()}
    return [_without_secrets(one) for one in value] if isinstance(value, list) else value


def _reason(error: jsonschema_rs.ValidationError, value: Any) -> str:
    kind = error.kind.as_dict()
    name, shown = type(error.kind).__name__, _show(value, quoted=True)
    match name:
        case "Type":
            return f"{shown} is not of type {', '.join(repr(t) for t in kind['types'])}"
        case "Required":
            return f"{kind['property']!r} is a required property"
        case "MinLength" | "MinItems":
            return f"{shown} is too short"
        case "MaxLength" | "MaxItems":
            return f"{shown} is too long"
        case "MinProperties":
            return f"{shown} does not have enough properties"
        case "MaxProperties":
            return f"{shown} has too many properties"
        case "Pattern":
            return f"{shown} does not match {kind['pattern']!r}"
        case "Enum":
            return f"{shown} is not one of {kind['options']!r}"
        case "Format":
            return f"{shown} is not a {kind['format']!r}"
        case "AnyOf" | "OneOfNotValid" | "OneOfMultipleValid":
            return f"{shown} is not valid under any of the given schemas"
        case _ if name != "AdditionalProperties" and value != error.instance:
            return f"{shown} is not valid"
        case _:
            return error.message[:1024]


def _show(value: Any, *, quoted: bool = False) -> str:
    shown = repr(value) if quoted or not isinstance(value, str) else value
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
