"""The `query` hint: a condition on hosts as JSON, `["and", [">=", "$free_ram_mb", 1024], …]` (Nova's JsonFilter)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from kilonova.cloud.scheduler.snapshot import Mask, Snapshot
from kilonova.core.errors import Invalid

DEEPEST: Final = 8
MOST: Final = 64
LONGEST: Final = 2048
LARGEST: Final = 2**53
_VARIABLES: Final[Mapping[str, Callable[[Snapshot], Any]]] = {
    "$free_ram_mb": lambda s: s.column("memory_free"),
    "$free_disk_mb": lambda s: s.column("disk_free") * 1024,
    "$total_usable_ram_mb": lambda s: s.column("memory_capacity"),
    "$vcpus_free": lambda s: s.column("vcpus_free"),
    "$hypervisor_hostname": lambda s: np.array(s.names, dtype=object),
    "$host": lambda s: np.array(s.names, dtype=object),
}
_NAMES: Final = frozenset({"$hypervisor_hostname", "$host"})
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def check(text: str) -> None:
    """Raises Invalid for what is no condition."""
    _evaluate(_parse(text), Snapshot(), 0)


def evaluate(text: str, snapshot: Snapshot) -> Mask:
    """Which hosts meet it."""
    return _evaluate(_parse(text), snapshot, 0)


def _parse(text: str) -> Any:
    if len(text) > LONGEST:
        raise Invalid(f"The scheduler hint 'query' is longer than {LONGEST} characters")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise Invalid("The scheduler hint 'query' is no JSON") from None


def _evaluate(term: Any, snapshot: Snapshot, depth: int) -> Mask:
    if not isinstance(term, list) or not 1 < len(term) <= MOST or depth > DEEPEST:
        raise Invalid("The scheduler hint 'query' is no list of an operator and its arguments")
    operator, *arguments = term
    if not isinstance(operator, str):
        raise Invalid("The scheduler hint 'query' has an operator that is no text")
    if operator in ("and", "or", "not"):
        parts = [_evaluate(part, snapshot, depth + 1) for part in arguments]
        if operator == "not":
            if len(parts) > 1:
                raise Invalid("The scheduler hint 'query' denies one condition with each 'not'")
            return np.asarray(~parts[0], dtype=np.bool_)
        return np.asarray(np.logical_and.reduce(parts) if operator == "and" else np.logical_or.reduce(parts))
    if operator == "in" or operator in _COMPARE:
        return _compare(operator, arguments, snapshot)
    raise Invalid(f"The scheduler hint 'query' has no operator {operator[:32]}")


def _compare(operator: str, arguments: list[Any], snapshot: Snapshot) -> Mask:
    """The first argument with each other one; `in`: it is one of them."""
    first, *others = [_value(argument, snapshot) for argument in arguments]
    if not others:
        raise Invalid("The scheduler hint 'query' compares nothing")
    if len({_is_text(argument) for argument in arguments}) > 1:
        raise Invalid("The scheduler hint 'query' compares text with a number")
    compare = _COMPARE["=" if operator == "in" else operator]
    found = [np.broadcast_to(np.asarray(compare(first, other), dtype=np.bool_), len(snapshot)) for other in others]
    return np.asarray(np.logical_or.reduce(found) if operator == "in" else np.logical_and.reduce(found))


def _is_text(argument: Any) -> bool:
    return isinstance(argument, str) and (argument in _NAMES or not argument.startswith("$"))


def _value(argument: Any, snapshot: Snapshot) -> Any:
    if isinstance(argument, str) and argument.startswith("$"):
        if argument not in _VARIABLES:
            raise Invalid(f"The scheduler hint 'query' knows no {argument[:64]}; it knows {', '.join(_VARIABLES)}")
        return _VARIABLES[argument](snapshot)
    if isinstance(argument, str):
        return argument
    if isinstance(argument, int | float) and not isinstance(argument, bool) and abs(argument) <= LARGEST:
        return argument
    raise Invalid("The scheduler hint 'query' compares something that is neither text nor a number up to 2^53")
