"""Metadata definitions as the Image API shows them. What nobody said is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kilonova.cloud.metadef.model import Contents, Entry, Namespace, ResourceType
from kilonova.edge.openstack.image.view import moment

ROOT = "/v2/metadefs/namespaces"
_SCHEMAS = "/v2/schemas/metadefs"


def namespace(space: Namespace) -> dict[str, Any]:
    """A namespace without what it holds."""
    said = {"display_name": space.display_name, "description": space.description}
    return {
        "namespace": space.name,
        **{name: value for name, value in said.items() if value is not None},
        "visibility": space.visibility,
        "protected": space.protected,
        "owner": space.owner,
        "created_at": moment(space.created_at),
        "updated_at": moment(space.updated_at),
        "self": f"{ROOT}/{space.name}",
        "schema": f"{_SCHEMAS}/namespace",
    }


def contents(held: Contents, resource_type: str | None = None) -> dict[str, Any]:
    """A namespace with what it holds. For a resource type, names of properties have the prefix that they have there."""
    name, prefix = held.namespace.name, ""
    for one in held.of("association"):
        if one.name == resource_type:
            prefix = one.document.get("prefix", "")
    parts: dict[str, Any] = {
        "resource_type_associations": [association(one) for one in held.of("association")],
        "objects": [metadata_object(name, one, prefix) for one in held.of("object")],
        "properties": {prefix + one.name: dict(one.document) for one in held.of("property")},
        "tags": [{"name": one.name} for one in held.of("tag")],
    }
    return {**namespace(held.namespace), **{part: value for part, value in parts.items() if value}}


def page(spaces: Sequence[Contents], first: str, following: str | None) -> dict[str, Any]:
    """A page of namespaces with the links that clients walk by."""
    document: dict[str, Any] = {"namespaces": [contents(one) for one in spaces], "first": first}
    if following is not None:
        document["next"] = following
    return {**document, "schema": f"{_SCHEMAS}/namespaces"}


def metadata_object(space: str, one: Entry, prefix: str = "") -> dict[str, Any]:
    """An object."""
    properties: Mapping[str, Any] = one.document.get("properties", {})
    return {
        "name": one.name,
        **{key: value for key, value in one.document.items() if key == "description"},
        "required": [prefix + name for name in one.document.get("required", ())],
        "properties": {prefix + name: value for name, value in properties.items()},
        **_times(one),
        "self": f"{ROOT}/{space}/objects/{one.name}",
        "schema": f"{_SCHEMAS}/object",
    }


def metadata_objects(space: str, some: Sequence[Entry]) -> dict[str, Any]:
    """A list of objects. The schema's address has no slash before it, as Glance writes it here."""
    return {"objects": [metadata_object(space, one) for one in some], "schema": "v2/schemas/metadefs/objects"}


def metadata_property(space: str, one: Entry) -> dict[str, Any]:
    """A property."""
    return {"name": one.name, **one.document}


def metadata_properties(space: str, some: Sequence[Entry]) -> dict[str, Any]:
    """Properties by name."""
    return {"properties": {one.name: dict(one.document) for one in some}}


def tag(space: str, one: Entry) -> dict[str, Any]:
    """A tag."""
    return {"name": one.name, **_times(one)}


def tags(space: str, some: Sequence[Entry]) -> dict[str, Any]:
    """A list of tags."""
    return {"tags": [{"name": one.name} for one in some]}


def association(one: Entry | ResourceType) -> dict[str, Any]:
    """An association with a resource type, or the type itself."""
    said = one.document if isinstance(one, Entry) else {}
    return {"name": one.name, **said, **_times(one)}


def _times(one: Entry | ResourceType) -> dict[str, str]:
    return {"created_at": moment(one.created_at), "updated_at": moment(one.updated_at)}
