"""What a resource's members are called in the API and in the domain, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kilonova.core.errors import Invalid
from kilonova.kit.http.schema import JsonSchema

MAX_INTEGER: Final = 2**31 - 1
MAX_BULK: Final = 100

STRING: Final = {"type": "string", "maxLength": 255}
BOOLEAN: Final = {"type": "boolean"}
PROJECT: Final = {"type": "string", "minLength": 1, "maxLength": 64}
UUID: Final = {"type": "string", "format": "uuid"}
NULL_UUID: Final = {"type": ["string", "null"], "format": "uuid"}


@dataclass(frozen=True, slots=True)
class Attribute:
    """`name` in the API, `field` in the domain. `writable`: "c" at create, "u" at update, or both.

    `query`: how a filter's text becomes a value, None for what cannot be filtered by; `sortable`: whether also sorted.
    `convert`: the API's value → the domain's.
    """

    name: str
    field: str
    schema: JsonSchema | None = None
    writable: Literal["", "c", "u", "cu"] = ""
    query: Literal["text", "flag", "number"] | None = "text"
    sortable: bool = True
    convert: Callable[[Any], Any] | None = None


def whole(low: int, high: int, *, nullable: bool = False) -> JsonSchema:
    """The schema of a whole number; like Neutron's, it takes digits in quotes too, which its own client sends."""
    kinds = ["integer", "string", *(["null"] if nullable else [])]
    return {"type": kinds, "minimum": low, "maximum": high, "pattern": "^-?[0-9]{1,9}$"}


def read_whole(low: int, high: int) -> Callable[[Any], int | None]:
    """What `whole` let pass, as a number. Raises Invalid beyond the bounds."""

    def read(given: Any) -> int | None:
        number = None if given is None else int(given)
        if number is not None and not low <= number <= high:
            raise Invalid(f"'{number}' is not from {low} to {high}.", why="http_bad_request")
        return number

    return read


ID: Final = Attribute("id", "id")
NAME: Final = Attribute("name", "name", STRING, "cu")
DESCRIPTION: Final = Attribute("description", "description", STRING, "cu")
ADMIN_UP: Final = Attribute("admin_state_up", "admin_up", BOOLEAN, "cu", "flag")
OWNER: Final = (
    Attribute("project_id", "project_id", PROJECT, "c"),
    Attribute("tenant_id", "project_id", PROJECT, "c"),
)
REVISION: Final = Attribute("revision_number", "revision", query="number")


def body_schema(member: str, attributes: Sequence[Attribute], act: Literal["c", "u"], required: Sequence[str]) -> Any:
    """The schema of `{member: {…}}` at create or update."""
    properties = {a.name: a.schema for a in attributes if act in a.writable and a.schema is not None}
    inner = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return {"type": "object", "properties": {member: inner}, "required": [member], "additionalProperties": False}


def bulk_schema(one: Any, member: str, collection: str) -> Any:
    """The schema of `{member: {…}}` or `{collection: [{…}, …]}`."""
    many = {"type": "array", "items": one["properties"][member], "minItems": 1, "maxItems": MAX_BULK}
    properties = {**one["properties"], collection: many}
    only = {"minProperties": 1, "maxProperties": 1, "additionalProperties": False}
    return {"type": "object", "properties": properties, **only}


def read_values(given: Mapping[str, Any], attributes: Sequence[Attribute]) -> dict[str, Any]:
    """A checked body in the domain's words. Raises Invalid when two names for one thing differ."""
    values: dict[str, Any] = {}
    for one in attributes:
        if one.name in given:
            value = given[one.name] if one.convert is None else one.convert(given[one.name])
            if values.setdefault(one.field, value) != value:
                raise Invalid(f"'project_id' and 'tenant_id' do not match ({one.name})", why="invalid_input")
    return values


def read_filter(attribute: Attribute, texts: Sequence[str]) -> tuple[Any, ...]:
    """The values that a filter asks for. Raises Invalid."""
    if attribute.query == "flag":
        return tuple(_flag(attribute.name, text) for text in texts)
    if attribute.query == "number":
        return tuple(_number(attribute.name, text) for text in texts)
    return tuple(texts)


def _flag(name: str, text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise Invalid(f"Invalid input for {name}. Reason: '{text[:32]}' cannot be converted to boolean.")


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > MAX_INTEGER:
        raise Invalid(f"Invalid input for {name}. Reason: '{text[:32]}' is not an integer.")
    return int(text)
