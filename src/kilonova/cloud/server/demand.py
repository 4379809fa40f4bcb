"""What a server takes: of its project's quota, and of its host beside what it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.cloud.server.model import FlavorCopy
from kilonova.wire.hardware import tolerate

HERE: Final = "server:"
"""The consumer of what a server has, followed by its id."""
MOVING: Final = "move:"
"""The consumer of what it has beside that while it is resized or moved: a claim elsewhere, quota that it grows by."""


def charges(flavor: FlavorCopy) -> dict[str, int]:
    """What one server of a flavor takes of the quota; memory in MiB."""
    return {"instances": 1, "cores": flavor.vcpus, "ram": flavor.memory_mb}


def growth(old: FlavorCopy, new: FlavorCopy) -> dict[str, int]:
    """What a server takes more of the quota with a new flavor beside the old one."""
    before, after = charges(old), charges(new)
    return {name: after[name] - before[name] for name in after if after[name] > before[name]}


def shape(flavor: FlavorCopy, image: Mapping[str, Any]) -> dict[str, Any]:
    """What of a flavor and an image (as a server keeps it) shapes a guest, as fields of its spec."""
    hardware = tolerate(flavor.extra_specs, image.get("properties") or {}, flavor.vcpus)
    return {
        "hardware": hardware,
        "stop_timeout": hardware.stop_timeout,
        "vcpus": flavor.vcpus,
        "memory_mb": flavor.memory_mb,
        "root_gb": flavor.root_gb,
        "ephemeral_gb": flavor.ephemeral_gb,
        "swap_mb": flavor.swap_mb,
    }
