"""Images as the Image API shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kilonova.cloud.image.account import BYTES, COUNT, FILLING, STAGED
from kilonova.cloud.image.model import HASH, Image
from kilonova.cloud.quota.model import Use

_MINOR = (17, 15, 9, 7, 6, 5, 4, 3, 2, 1, 0)
"""Those missing mean several stores (2.8, 2.10 to 2.13) or an image cache (2.14, 2.16), as with Glance."""
_USAGE = {
    "image_size_total": (BYTES, 1 << 20),
    "image_stage_total": (STAGED, 1 << 20),
    "image_count_total": (COUNT, 1),
    "image_count_uploading": (FILLING, 1),
}


def show(image: Image) -> dict[str, Any]:
    """One image: its properties beside its attributes, never instead of them."""
    return {
        **image.properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "owner": image.owner,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "protected": image.protected,
        "os_hidden": image.hidden,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "checksum": image.md5,
        "os_hash_algo": HASH if image.sha512 else None,
        "os_hash_value": image.sha512,
        "tags": list(image.tags),
        "created_at": moment(image.created_at),
        "updated_at": moment(image.updated_at),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }


def page(images: Sequence[Mapping[str, Any]], first: str, following: str | None) -> dict[str, Any]:
    """A page of images with the links that clients walk by."""
    document: dict[str, Any] = {"images": images, "first": first}
    if following is not None:
        document["next"] = following
    return {**document, "schema": "/v2/schemas/images"}


def usage(uses: Mapping[str, Use]) -> dict[str, Any]:
    """What a project uses, and may use (-1: without limit)."""
    return {
        "usage": {
            name: {"usage": uses[resource].used // unit, "limit": max(-1, uses[resource].limit // unit)}
            for name, (resource, unit) in _USAGE.items()
        }
    }


def versions(root: str) -> dict[str, Any]:
    """The versions that are served; all of them are at `/v2`."""
    links = [{"rel": "self", "href": f"{root}/v2/"}]
    return {
        "versions": [
            {"id": f"v2.{minor}", "status": "CURRENT" if minor == _MINOR[0] else "SUPPORTED", "links": links}
            for minor in _MINOR
        ]
    }


def moment(at: int) -> str:
    """µs since the epoch as `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
