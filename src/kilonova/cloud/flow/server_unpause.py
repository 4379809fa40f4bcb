"""Letting a paused guest go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.server.model import Guest, Server


class ServerUnpause(PowerFlow):
    """Frame: nothing."""

    name: ClassVar[str] = "server_unpause"
    event: ClassVar[str] = "compute_unpause_instance"
    arrival: ClassVar[str] = "run"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "running"}
