"""Options of users, projects, domains and roles (Identity API v3, "User options", "Resource options")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kilonova.core.errors import Forbidden

IMMUTABLE: Final = "immutable"


def merge(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options after a change: null takes one away."""
    return {key: value for key, value in {**before, **given}.items() if value is not None}


def check_change(kind: str, before: Any, given: Mapping[str, Any]) -> None:
    """Raises Forbidden when `before` is immutable, unless all that is changed is to make it mutable."""
    if not getattr(before, "options", {}).get(IMMUTABLE):
        return
    if set(given) == {"options"} and given["options"] == {IMMUTABLE: False}:
        return
    raise Forbidden(f"The {kind} {before.id} is immutable. Set its option immutable to false before anything else.")


def check_delete(kind: str, before: Any) -> None:
    """Raises Forbidden when `before` is immutable."""
    if getattr(before, "options", {}).get(IMMUTABLE):
        raise Forbidden(f"The {kind} {before.id} is immutable. Set its option immutable to false before deleting it.")


def suffices(options: Mapping[str, Any], methods: Iterable[str]) -> bool:
    """Whether a user with these options may log in by these methods together: with multi-factor authentication on, all
    those of one of the rules."""
    rules = options.get("multi_factor_auth_rules")
    if not options.get("multi_factor_auth_enabled") or not rules:
        return True
    used = set(methods)
    return any(used.issuperset(rule) for rule in rules)
