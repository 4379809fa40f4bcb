"""Updates of an image's record, as a pure function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Final

from kilonova.cloud.image.model import FIELDS, MAX_PROPERTIES, MAX_PROPERTY_BYTES, MAX_TAGS, QUEUED, Change, Deed, Image
from kilonova.core.errors import Conflict, Forbidden, NotFound, TooLarge

_FORMATS: Final = frozenset({"disk_format", "container_format"})


def apply(image: Image, changes: Iterable[Change], *, is_admin: bool, denied: Set[Deed] = frozenset()) -> Image:
    """The image after all `changes`, in order. Values are as a schema has checked them. `denied`: what no step may do;
    whether one creates or updates a property depends on the steps before it.

    Raises Conflict (a property to replace or remove is absent), NotFound (so is a tag), Forbidden (what may not be
    changed, or not now), TooLarge (see `check_bounds`).
    """
    held = _weight(image.properties)
    for change in changes:
        image = _apply_property(image, change, denied) if change.is_property else _apply_field(image, change, is_admin)
    check_bounds(image.properties, image.tags, held)
    return image


def check_bounds(properties: Mapping[str, str], tags: Sequence[str], held: int = 0) -> None:
    """Raises TooLarge for more than 128 properties or tags, and for more than 64 KiB of properties, unless they were
    `held` already."""
    if len(properties) > MAX_PROPERTIES:
        raise TooLarge(f"An image may have {MAX_PROPERTIES} properties", limit=MAX_PROPERTIES)
    if len(tags) > MAX_TAGS:
        raise TooLarge(f"An image may have {MAX_TAGS} tags", limit=MAX_TAGS)
    if _weight(properties) > max(MAX_PROPERTY_BYTES, held):
        raise TooLarge(f"An image may have {MAX_PROPERTY_BYTES} bytes of properties", limit=MAX_PROPERTY_BYTES)


def _weight(properties: Mapping[str, str]) -> int:
    return sum(len(text.encode()) for pair in properties.items() for text in pair)


def _apply_property(image: Image, change: Change, denied: Set[Deed]) -> Image:
    made = "update" if change.name in image.properties else "create"
    if ("delete" if change.act == "remove" else made, change.name) in denied:
        raise Forbidden(f"Property '{change.name}' is protected")
    if change.act != "add" and change.name not in image.properties:
        raise Conflict(f"Property {change.name} does not exist.")
    properties = {name: value for name, value in image.properties.items() if name != change.name}
    if change.act != "remove":
        properties[change.name] = str(change.value)
    return replace(image, properties=properties)


def _apply_field(image: Image, change: Change, is_admin: bool) -> Image:
    name, value = change.name, change.value
    if name == "tag":
        return _apply_tag(image, change.act, str(value))
    if change.act == "remove":
        raise Forbidden(f"Property {name} may not be removed.")
    if name == "tags":
        tags: Any = value
        return replace(image, tags=tuple(sorted(set(tags))))
    if name not in FIELDS:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in _FORMATS and image.status != QUEUED:
        raise Forbidden(f"Attribute '{name}' may not be changed once the image has data.")
    if name == "owner" and value != image.owner and not is_admin:
        raise Forbidden("You are not permitted to change the owner of this image.")
    fields: dict[str, Any] = {name: value}
    return replace(image, **fields)


def _apply_tag(image: Image, act: str, tag: str) -> Image:
    if act == "remove" and tag not in image.tags:
        raise NotFound(f"Image {image.id} has no tag {tag}")
    others = {other for other in image.tags if other != tag}
    return replace(image, tags=tuple(sorted(others if act == "remove" else {*others, tag})))
