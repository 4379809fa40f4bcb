"""What is limited, and by how much unless a project's own limit says otherwise (-1: no limit)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

UNLIMITED: Final = -1

DEFAULTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "instances": 10,
        "cores": 20,
        "ram": 50 * 1024,
        "metadata_items": 128,
        "key_pairs": 100,
        "server_groups": 10,
        "server_group_members": 10,
        "injected_files": 5,
        "injected_file_content_bytes": 10 * 1024,
        "injected_file_path_bytes": 255,
        "network": 100,
        "subnet": 100,
        "port": 500,
        "router": 10,
        "floatingip": 50,
        "security_group": 10,
        "security_group_rule": 100,
        "subnetpool": UNLIMITED,
        "rbac_policy": 10,
        "image_bytes": 1024**4,
        "image_stage_bytes": 1024**4,
        "image_count": 1000,
        "image_uploads": 100,
    }
)
"""Nova's, Neutron's and Glance's own defaults where they have one."""


@dataclass(frozen=True, slots=True)
class Use:
    """One resource of one project (or, for key_pairs, of one user)."""

    resource: str
    limit: int
    used: int

    @property
    def room(self) -> int | None:
        """How much more fits; None when there is no limit."""
        return None if self.limit < 0 else max(0, self.limit - self.used)
