"""Stopping a guest's processors where they are; its memory stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.server.model import Guest, Server


class ServerPause(PowerFlow):
    """Frame: nothing."""

    name: ClassVar[str] = "server_pause"
    event: ClassVar[str] = "compute_pause_instance"
    arrival: ClassVar[str] = "hold"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "paused"}
