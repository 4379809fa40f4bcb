"""Starting a stopped server on the host that has its disks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.server.model import Guest, Server


class ServerStart(PowerFlow):
    """Frame: nothing."""

    name: ClassVar[str] = "server_start"
    event: ClassVar[str] = "compute_start_instance"
    arrival: ClassVar[str] = "run"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "running", "boot_count": guest.spec.boot_count + 1}
