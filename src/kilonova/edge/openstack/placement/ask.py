"""Reading queries: resources, traits, aggregates, and the groups of a request for allocation candidates."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from kilonova.cloud.placement.candidate import Group, Wish
from kilonova.core.errors import Invalid
from kilonova.core.ids import is_uuid
from kilonova.kit.http import Request

MAX_GROUPS: Final = 100
MAX_AMOUNT: Final = 2**63 - 1
_GROUP: Final = re.compile(r"^(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{1,64})?$")
_BAD: Final = "Invalid query string parameters: "

Sets = tuple[tuple[frozenset[str], ...], frozenset[str]]
"""One of each set; none of these."""


def canonical(text: str) -> str:
    """A UUID as it is stored: lower case, dashed. Raises Invalid when it is none."""
    if not is_uuid(text):
        raise Invalid(f"Expected a uuid. Got: {text[:64]}")
    return str(uuid.UUID(text))


def path_id(request: Request, name: str) -> str:
    """The id that a path names, as it is stored; what is no UUID stays, and names nothing."""
    given = request.params.get(name, "")
    return canonical(given) if is_uuid(given) else given


def by_id(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a body says of each id, by the id as it is stored. Raises Invalid when one is no UUID, or comes twice."""
    found = {canonical(key): value for key, value in given.items()}
    if len(found) < len(given):
        raise Invalid("The same uuid is given more than once, written in different ways.")
    return found


def resources(value: str) -> dict[str, int]:
    """`VCPU:2,MEMORY_MB:1024`. Raises Invalid."""
    form = "Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024."
    if not value.strip():
        raise Invalid(f"Badly formed resources parameter. {form} Got: empty string.")
    found: dict[str, int] = {}
    for part in value.split(","):
        name, colon, amount = part.partition(":")
        if not colon or ":" in amount:
            raise Invalid(f"Badly formed resources parameter. {form} Got: {part[:255]}.")
        digits = amount.strip().removeprefix("-")
        if not digits.isascii() or not digits.isdecimal():
            raise Invalid(f"Requested resource {name[:255]} expected positive integer amount. Got: {amount[:64]}.")
        if amount.strip() != digits or not digits.strip("0"):
            raise Invalid(f"Requested resource {name[:255]} requires amount >= 1. Got: {amount[:64]}.")
        found[name] = min(int(digits), MAX_AMOUNT) if len(digits) <= 19 else MAX_AMOUNT
    return found


def traits(request: Request, key: str = "required") -> Sets:
    """Required and forbidden (1.22) traits of a parameter, which may be repeated and hold `in:` since 1.39."""
    values = request.query.get(key, [])
    needed: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values if request.version >= (1, 39) else values[-1:]:
        some, not_these = _traits(value, request, any_of=request.version >= (1, 39))
        needed += some
        forbidden |= not_these
    return tuple(needed), frozenset(forbidden)


def _traits(value: str, request: Request, *, any_of: bool) -> Sets:
    words = [word.strip() for word in value.removeprefix("in:").split(",")]
    if value.startswith("in:"):
        form = "the format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC'"
        if not any_of:
            raise Invalid(f"{_BAD}The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported since microversion 1.39.")
        if not all(words):
            raise Invalid(
                f"{_BAD}Expected 'required' parameter value of the form: in:HW_CPU_X86_VMX,CUSTOM_MAGIC. "
                f"Got an empty trait in: {value[:255]}"
            )
        if any(word.startswith("!") for word in words):
            raise Invalid(f"{_BAD}{form.capitalize()} does not support forbidden traits. Got: {value[:255]}")
        return (frozenset(words),), frozenset()
    may_forbid = request.version >= (1, 22)
    form = "HW_CPU_X86_VMX,!CUSTOM_MAGIC" if may_forbid else "HW_CPU_X86_VMX,CUSTOM_MAGIC"
    forbidden = frozenset(word.lstrip("!") for word in words if word.startswith("!"))
    said = f"{_BAD}Expected 'required' parameter value of the form: {form}. "
    if not all((*words, *forbidden)):
        raise Invalid(f"{said}Got an empty trait in: {value[:255]}")
    if forbidden and not may_forbid:
        raise Invalid(f"{said}Got: {value[:255]}")
    return tuple(frozenset((word,)) for word in words if not word.startswith("!")), forbidden


def aggregates(request: Request, suffix: str = "") -> Sets:
    """`member_of`, repeated since 1.24, forbidding since 1.32. Raises Invalid."""
    values = request.query.get(f"member_of{suffix}", [])
    if len(values) > 1 and request.version < (1, 24):
        raise Invalid(f"Multiple member_of{suffix} parameters are not supported")
    needed: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        denied, plain = value.startswith("!"), value.removeprefix("!")
        if "," in plain and not plain.startswith("in:"):
            raise Invalid(
                "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid "
                f"microversion. Got: {value[:255]}"
            )
        words = plain.removeprefix("in:").split(",")
        for one in words:
            if not is_uuid(one):
                raise Invalid(f"{_BAD}Expected 'member_of' parameter to contain valid UUID(s). Got: {one[:64]}")
        some = frozenset(map(canonical, words))
        if denied and request.version < (1, 32):
            raise Invalid(f"Forbidden member_of{suffix} parameters are not supported in the specified microversion")
        if denied:
            forbidden |= some
        else:
            needed.append(some)
    return tuple(needed), frozenset(forbidden)


def wish(request: Request) -> Wish:
    """What a request for allocation candidates asks. Raises Invalid."""
    groups = _groups(request)
    policy, limit = request.query_one("group_policy"), request.query_one("limit")
    subtrees = _subtrees(request)
    if request.version >= (1, 36):
        _check_resourceless(groups, subtrees)
    else:
        _check_orphans(groups)
    if request.version >= (1, 22):
        _check_conflicts(groups)
    if not policy and len([suffix for suffix in groups if suffix]) > 1:
        raise Invalid(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.'
        )
    required, forbidden = _root_traits(request)
    return Wish(
        tuple(groups.values()),
        isolate=policy == "isolate",
        root_required=required,
        root_forbidden=forbidden,
        same_subtree=subtrees,
        limit=int(limit) if limit else None,
        nested=request.version >= (1, 29),
    )


def _groups(request: Request) -> dict[str, Group]:
    found: dict[str, dict[str, Any]] = {}
    for key, values in request.query.items():
        form = _GROUP.match(key)
        if form is None or key in ("same_subtree", "root_required"):
            continue
        kind, suffix = form[1], form[2] or ""
        group = found.setdefault(suffix, {})
        if kind == "resources":
            group["resources"] = resources(values[-1])
        elif kind == "required":
            group["required"], group["forbidden"] = traits(request, key)
        elif kind == "member_of":
            group["member_of"], group["not_member_of"] = aggregates(request, suffix)
        elif not is_uuid(values[-1].strip()):
            raise Invalid(f"{_BAD}Expected 'in_tree' parameter to be a format of uuid. Got: {values[-1][:64]}")
        else:
            group["in_tree"] = canonical(values[-1].strip())
    if len(found) > MAX_GROUPS:
        raise Invalid(f"More than {MAX_GROUPS} request groups are not taken.")
    return {suffix: Group(suffix, **parts) for suffix, parts in found.items()}


def _subtrees(request: Request) -> tuple[frozenset[str], ...]:
    found = []
    for value in request.query.get("same_subtree", []):
        suffixes = frozenset(word.strip() for word in value.split(","))
        if "" in suffixes:
            raise Invalid(
                "Empty string (unsuffixed group) can not be specified in `same_subtree` ", why="query.bad_value"
            )
        found.append(suffixes)
    return tuple(found)


def _check_resourceless(groups: Mapping[str, Group], subtrees: Iterable[frozenset[str]]) -> None:
    """Groups without resources are for `same_subtree` (1.36)."""
    named: frozenset[str] = frozenset().union(*subtrees)
    if all(not group.resources for group in groups.values()):
        raise Invalid("There must be at least one resources or resources[$S] parameter.", why="query.missing_value")
    if bad := [suffix for suffix, group in groups.items() if not group.resources and suffix not in named]:
        raise Invalid(
            "Resourceless suffixed group request should be specified in `same_subtree` query param: "
            f"bad group(s) - {bad}.",
            why="query.bad_value",
        )
    if unknown := sorted(named - set(groups)):
        raise Invalid(
            f"Real suffixes should be specified in `same_subtree`: {unknown} not found in {list(groups)}.",
            why="query.bad_value",
        )


def _check_orphans(groups: Mapping[str, Group]) -> None:
    """Every group has resources (before 1.36)."""
    bare = {suffix: group for suffix, group in groups.items() if not group.resources}
    for kind, noun, orphans in (
        ("traits", "traits", [f"required{s}" for s, g in bare.items() if g.required]),
        ("member_of", "member_of", [f"member_of{s}" for s, g in bare.items() if g.member_of or g.not_member_of]),
    ):
        if orphans:
            raise Invalid(
                f"All {kind} parameters must be associated with resources. "
                f"Found the following orphaned {noun} keys: {', '.join(orphans)}"
            )
    if bare:
        raise Invalid("All request groups must specify resources.")
    if not groups:
        raise Invalid("At least one request group (`resources` or `resources{$S}`) is required.")


def _check_conflicts(groups: Mapping[str, Group]) -> None:
    bad = [
        f"required{suffix}: ({', '.join(sorted(some))})"
        for suffix, group in groups.items()
        for some in group.required
        if some <= group.forbidden
    ]
    if bad:
        raise Invalid(
            f"Conflicting required and forbidden traits found in the following traits keys: {', '.join(sorted(bad))}"
        )


def _root_traits(request: Request) -> tuple[frozenset[str], frozenset[str]]:
    values = request.query.get("root_required", [])
    if len(values) > 1:
        raise Invalid("Query parameter 'root_required' may be specified only once.", why="query.duplicate_key")
    if not values:
        return frozenset(), frozenset()
    needed, forbidden = _traits(values[0], request, any_of=False)
    required = frozenset(name for some in needed for name in some)
    if both := sorted(required & forbidden):
        raise Invalid(
            f"Conflicting required and forbidden traits found in root_required: {', '.join(both)}",
            why="query.bad_value",
        )
    return required, forbidden
