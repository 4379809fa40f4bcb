"""What Nova has and kilonova does not (yet): 501 at the microversions where Nova has it, 404 at the others."""

from __future__ import annotations

from typing import Final

from kilonova.kit.http import AUTHENTICATED, Route
from kilonova.kit.http.route import refuse_unbuilt

_S: Final = "/servers/{server_id}"

_PATHS: Final[dict[tuple[int, int | None], tuple[str, ...]]] = {
    (1, None): (
        f"{_S}/os-volume_attachments", f"{_S}/os-volume_attachments/{{volume_id}}",
        "/os-assisted-volume-snapshots", "/os-assisted-volume-snapshots/{snapshot_id}",
    ),
    (97, None): (f"{_S}/shares", f"{_S}/shares/{{share_id}}"),
    (81, None): ("/os-aggregates/{aggregate_id}/images",),
    (1, 35): (
        "/images", "/images/detail", "/images/{image_id}", "/os-baremetal-nodes", "/os-baremetal-nodes/{node_id}",
        "/os-baremetal-nodes/{node_id}/action", "/os-networks", "/os-networks/{network_id}",
        "/os-snapshots", "/os-snapshots/detail", "/os-snapshots/{snapshot_id}", "/os-tenant-networks",
        "/os-tenant-networks/{network_id}", "/os-volumes", "/os-volumes/detail", "/os-volumes/{volume_id}",
    ),
    (1, 38): ("/images/{image_id}/metadata", "/images/{image_id}/metadata/{key}"),
    (1, 42): ("/os-hosts/{host}/reboot", "/os-hosts/{host}/shutdown", "/os-hosts/{host}/startup"),
    (1, 102): (
        "/os-volumes_boot", "/os-volumes_boot/detail", "/os-volumes_boot/{server_id}",
        "/os-volumes_boot/{server_id}/action",
    ),
    (1, 3): (
        "/os-agents", "/os-agents/{agent_id}", "/os-cells", "/os-cells/{rest:path}", "/os-certificates",
        "/os-certificates/{rest:path}", "/os-cloudpipe", "/os-cloudpipe/{rest:path}", "/os-fixed-ips/{rest:path}",
        "/os-floating-ip-dns", "/os-floating-ip-dns/{rest:path}", "/os-floating-ips-bulk",
        "/os-floating-ips-bulk/{rest:path}", "/os-fping", "/os-fping/{rest:path}", "/os-networks/add",
        "/os-networks/{network_id}/action", "/os-security-group-default-rules",
        "/os-security-group-default-rules/{rest:path}", f"{_S}/consoles", f"{_S}/consoles/{{console_id}}",
        f"{_S}/os-virtual-interfaces",
    ),
}  # fmt: skip
"""Paths by the first and last minor version at which Nova has them. What only Nova of 2015 had ends with 2.3."""


def unbuilt_routes() -> list[Route]:
    """A refusal of every method for each path."""
    return [
        Route(
            "*", path, refuse_unbuilt, AUTHENTICATED, body="none",
            min_version=(2, first), max_version=None if last is None else (2, last),
        )
        for (first, last), paths in _PATHS.items()
        for path in paths
    ]  # fmt: skip
