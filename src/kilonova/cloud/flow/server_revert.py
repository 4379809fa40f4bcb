"""Undoing a resize: the server is again what it was, with the disk that it had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import TurnFlow
from kilonova.cloud.host import store as hosts
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server.demand import HERE, MOVING, sizes
from kilonova.cloud.server.model import Guest, Server
from kilonova.kit.db import Tx
from kilonova.kit.ops import Run


class ServerRevert(TurnFlow):
    """Frame: `phase`, the one before the resize."""

    name: ClassVar[str] = "server_revert"
    event: ClassVar[str] = "compute_revert_resize"
    arrival: ClassVar[str] = "run"

    def arrive(self, frame: Mapping[str, Any]) -> str:
        return "run" if frame["phase"] == "active" else "halt"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        if server.before is None:
            return {}
        started = {"power": self.power(frame), "boot_count": guest.spec.boot_count + 1}
        return {**started, **sizes(server.before.flavor), "mark": "", "restore": server.before.mark}

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        if server.before is None:
            return {}
        quota.refund(tx, MOVING + server.id)
        hosts.swap_claims(tx, HERE + server.id, MOVING + server.id)
        hosts.release(tx, MOVING + server.id)
        return {"flavor": server.before.flavor, "before": None}

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        """It stays resized. Where its disk has gone back already, that is the state which is kept now."""
        mark = server.before.mark if server.before else ""
        started = {"power": self.power(frame), "boot_count": guest.spec.boot_count + 1}
        return {**sizes(server.flavor), **started, "mark": mark, "restore": ""}
