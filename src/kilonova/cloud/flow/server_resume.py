"""Letting a suspended guest go on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.server.model import Guest, Server


class ServerResume(PowerFlow):
    """Frame: nothing."""

    name: ClassVar[str] = "server_resume"
    event: ClassVar[str] = "compute_resume_instance"
    arrival: ClassVar[str] = "run"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "running"}
