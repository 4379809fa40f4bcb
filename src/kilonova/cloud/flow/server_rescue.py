"""Starting a server from another image, with its own disks beside that, to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from kilonova.cloud.flow.guest import document
from kilonova.cloud.flow.power import TurnFlow
from kilonova.cloud.server.model import Guest, Server
from kilonova.wire.guest import ImageRef


class ServerRescue(TurnFlow):
    """Frame: `image`, the ImageRef to start from."""

    name: ClassVar[str] = "server_rescue"
    event: ClassVar[str] = "compute_rescue_instance"
    arrival: ClassVar[str] = "mend"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        rescue = msgspec.convert(frame["image"], ImageRef)
        started = {"power": "running", "boot_count": guest.spec.boot_count + 1}
        return {**started, "rescue": rescue, "document": document(server)}

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().restore(guest, server, frame), "rescue": None}
