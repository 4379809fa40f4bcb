"""Starting a rescued server from its own disk again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from kilonova.cloud.flow.power import TurnFlow
from kilonova.cloud.server.model import Guest, Server
from kilonova.wire.guest import ImageRef


class ServerUnrescue(TurnFlow):
    """Frame: `image`, the ImageRef that it was rescued with."""

    name: ClassVar[str] = "server_unrescue"
    event: ClassVar[str] = "compute_unrescue_instance"
    arrival: ClassVar[str] = "run"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "running", "boot_count": guest.spec.boot_count + 1, "rescue": None}

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        rescue = msgspec.convert(frame["image"], ImageRef)
        return {**super().restore(guest, server, frame), "rescue": rescue}
