"""Bodies generated from a route's own JSON Schema, then damaged: a schema's corners, and what lies beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.just("x" * 300),
    st.just(""), st.just([]), st.just({}), st.just({"a": {"b": [1]}}), st.just("\ud83d\ude00" * 40), st.just("%s'\"--"),
)  # fmt: skip
KNOWN: dict[str, list[Any]] = {}
"""Values for properties whose name says what they refer to; the test puts real ids here."""

NAMES = ["a", "key", "name", "hw:x", "VCPU", "CUSTOM_A", "9a1c0b52-5f59-44a1-9a0b-0c6f6f7d2a10"]
"""Names that a caller may choose where a schema lets him."""


def bodies(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Most of them as the schema wants, others with one part replaced by junk, a few junk altogether."""
    good = values(schema, "")
    damaged = st.tuples(good, st.randoms(use_true_random=False), JUNK).map(_damage)
    return st.one_of(good, good, good, damaged, damaged, JUNK)


def values(schema: Any, name: str) -> st.SearchStrategy[Any]:
    """Values that (mostly) fit a schema."""
    if not isinstance(schema, Mapping):
        return JUNK
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return st.one_of([values({**_rest(schema, choice), **option}, name) for option in schema[choice]])
    if "allOf" in schema:
        merged: dict[str, Any] = _rest(schema, "allOf")
        for part in schema["allOf"]:
            merged.update(part)
        return values(merged, name)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(list(schema["enum"]))
    if name in KNOWN:
        return st.sampled_from(KNOWN[name])
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    return st.one_of([_of_kind(kind, schema, name) for kind in kinds])


def _rest(schema: Mapping[str, Any], without: str) -> dict[str, Any]:
    return {k: v for k, v in schema.items() if k != without}


def _of_kind(kind: str, schema: Mapping[str, Any], name: str) -> st.SearchStrategy[Any]:
    if kind == "object":
        properties = {k: values(v, k) for k, v in schema.get("properties", {}).items()}
        required = set(schema.get("required", ()))
        needed = {k: v for k, v in properties.items() if k in required}
        optional = {k: v for k, v in properties.items() if k not in required}
        return _some(needed, optional, _free(schema), _names(schema))
    if kind == "array":
        items = values(schema.get("items", {}), name)
        return st.lists(items, min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", 2), 2))
    if kind == "integer":
        return st.integers(schema.get("minimum", -2), min(schema.get("maximum", 300), 300))
    if kind == "boolean":
        return st.booleans()
    if kind == "null":
        return st.none()
    if kind == "number":
        return st.floats(0, 10)
    return _text(schema)


def _free(schema: Mapping[str, Any]) -> st.SearchStrategy[Any] | None:
    """Values under names of the caller's choice, where the schema lets him choose."""
    for free in (*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")):
        if isinstance(free, Mapping):
            return values(free, "")
    return None


def _names(schema: Mapping[str, Any]) -> list[str]:
    """Names of the caller's choice that the schema's patterns let pass (all, where none does)."""
    patterns = list(schema.get("patternProperties", ()))
    return [name for name in NAMES if any(re.search(pattern, name) for pattern in patterns)] or NAMES


def _some(
    needed: dict[str, Any], optional: dict[str, Any], free: st.SearchStrategy[Any] | None, names: list[str]
) -> st.SearchStrategy[dict[str, Any]]:
    """All that is needed, and at most three of the rest: with more, one of them is nearly always refused."""
    chosen = st.lists(st.sampled_from(sorted(optional)), max_size=3, unique=True) if optional else st.just([])

    @st.composite
    def one(draw: st.DrawFn) -> dict[str, Any]:
        made = {k: draw(v) for k, v in needed.items()}
        made.update({k: draw(optional[k]) for k in draw(chosen)})
        if free is not None and not made:
            made = draw(st.dictionaries(st.sampled_from(names), free, min_size=1, max_size=2))
        return made

    return one()


def _text(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    low = schema.get("minLength", 0)
    plain = st.text("abc-Z09. ", min_size=low, max_size=max(low, min(schema.get("maxLength", 20), 20)))
    if "pattern" in schema:
        return st.one_of(plain, st.from_regex(schema["pattern"], fullmatch=True).filter(lambda t: len(t) < 300))
    return plain


def _damage(drawn: tuple[Any, Any, Any]) -> Any:
    """A copy with one part, somewhere, replaced."""
    value, chance, junk = drawn
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(sorted(value))
        return {**value, key: _damage((value[key], chance, junk))}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        return [*value[:at], _damage((value[at], chance, junk)), *value[at + 1 :]]
    return junk
