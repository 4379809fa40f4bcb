"""Restarting a server: softly by asking the guest (the host falls back to force), or hard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.server.model import Guest, Server


class ServerReboot(PowerFlow):
    """Frame: `kind`, SOFT or HARD."""

    name: ClassVar[str] = "server_reboot"
    event: ClassVar[str] = "compute_reboot_instance"
    arrival: ClassVar[str] = "run"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        if frame["kind"] == "SOFT":
            return {"power": "running", "soft_reboots": guest.spec.soft_reboots + 1}
        return {"power": "running", "hard_reboots": guest.spec.hard_reboots + 1}
