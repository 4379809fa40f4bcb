"""What a server takes: of its project's quota, and of its host beside what it runs on."""

from __future__ import annotations

from typing import Any, Final

from kilonova.cloud.server.model import FlavorCopy

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


def sizes(flavor: FlavorCopy) -> dict[str, Any]:
    """What of a flavor shapes a guest, as fields of its spec."""
    return {
        "vcpus": flavor.vcpus,
        "memory_mb": flavor.memory_mb,
        "root_gb": flavor.root_gb,
        "ephemeral_gb": flavor.ephemeral_gb,
        "swap_mb": flavor.swap_mb,
    }
