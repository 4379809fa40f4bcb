"""Pieces of JSON Schema that many resources share (Compute API reference; microversion history for what changed)."""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final

from kilonova.edge.openstack.auth import FORMATS as OPENSTACK_FORMATS
from kilonova.edge.openstack.compute.link import parse_moment
from kilonova.kit.http import VersionedSchemas, multi, query, single
from kilonova.kit.http.schema import JsonSchema

MAX_INTEGER: Final = 2**31 - 1
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_TRUE: Final = frozenset({"true", "1", "on", "yes", "t", "y"})
_FALSE: Final = frozenset({"false", "0", "off", "no", "f", "n"})
_WORDS: Final = tuple(word for w in ("true", "on", "yes", "false", "off", "no") for word in (w, w.title(), w.upper()))


def is_printable(text: str) -> bool:
    """Whether there are no control or unassigned characters."""
    return (text.isascii() and text.isprintable()) or not any(unicodedata.category(c) in _UNPRINTABLE for c in text)


def is_name(text: str) -> bool:
    """Printable, and no white space at either end."""
    return bool(text) and text == text.strip() and is_printable(text)


def is_base64(text: str) -> bool:
    """Base64, also in several lines (RFC 2045 §6.8)."""
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {
    **OPENSTACK_FORMATS,
    "name": is_name,
    "printable": is_printable,
    "base64": is_base64,
    "date-time": lambda text: parse_moment(text) is not None,
}

BOOLEAN: Final[JsonSchema] = {"enum": [True, False, "1", "0", *_WORDS]}
NAME: Final[JsonSchema] = {"type": "string", "minLength": 1, "maxLength": 255, "format": "name"}
DESCRIPTION: Final[JsonSchema] = {"type": ["string", "null"], "maxLength": 255, "format": "printable"}
UUID: Final[JsonSchema] = {"type": "string", "format": "uuid"}
HOST: Final[JsonSchema] = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"}
ADDRESS: Final[JsonSchema] = {"type": "string", "oneOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
METADATA: Final[JsonSchema] = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9_:. -]{1,255}$": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}
TEXT: Final[JsonSchema] = {"type": "string"}
MOMENT: Final[JsonSchema] = {"type": "string", "format": "date-time"}


def count(minimum: int, maximum: int = MAX_INTEGER) -> JsonSchema:
    """A number, or the same as a string."""
    return {
        "type": ["integer", "string"],
        "pattern": "^[0-9]+$" if minimum >= 0 else "^-?[0-9]+$",
        "minimum": minimum,
        "maximum": maximum,
        "minLength": 1,
        "maxLength": 10,
    }


def boxed(name: str, inner: JsonSchema, **more: JsonSchema) -> JsonSchema:
    """A body of one member (and optional others)."""
    return {
        "type": "object",
        "properties": {name: inner, **more},
        "required": [name],
        "additionalProperties": False,
    }


def record(properties: Mapping[str, JsonSchema], *required: str) -> JsonSchema:
    """An object without other members."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def strict_from(minor: int, steps: Mapping[int, Mapping[str, JsonSchema]]) -> VersionedSchemas:
    """A query schema that gains parameters at the minor versions of `steps`, and refuses unknown ones from `minor`."""
    found: dict[tuple[int, int], JsonSchema] = {}
    known: dict[str, JsonSchema] = {}
    for at in sorted({1, minor, *steps}):
        known = {**known, **steps.get(at, {})}
        found[(2, at)] = query(known, additional=at < minor)
    return VersionedSchemas(found)


PAGE: Final[Mapping[str, JsonSchema]] = {
    "limit": multi({"type": "string", "pattern": "^[0-9]+$", "maxLength": 18}),
    "marker": multi(TEXT),
}
PAGE_ONCE: Final[Mapping[str, JsonSchema]] = {
    "limit": single({"type": "string", "pattern": "^[0-9]+$", "maxLength": 18}),
    "marker": single(TEXT),
}


def is_true(value: Any) -> bool:
    """The meaning of a BOOLEAN."""
    return value is True or str(value).lower() in _TRUE


def read_boolean(text: str) -> bool | None:
    """A boolean in a query string; None when it is none."""
    word = text.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None
