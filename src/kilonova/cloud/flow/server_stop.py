"""Stopping a server: cleanly, after the time-out by force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.server.model import Guest, Server


class ServerStop(PowerFlow):
    """Frame: nothing."""

    name: ClassVar[str] = "server_stop"
    event: ClassVar[str] = "compute_stop_instance"
    arrival: ClassVar[str] = "halt"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "stopped"}
