"""Writing a guest's memory to its host's disk and stopping it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.server.model import Guest, Server


class ServerSuspend(PowerFlow):
    """Frame: nothing."""

    name: ClassVar[str] = "server_suspend"
    event: ClassVar[str] = "compute_suspend_instance"
    arrival: ClassVar[str] = "sleep"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "suspended"}
