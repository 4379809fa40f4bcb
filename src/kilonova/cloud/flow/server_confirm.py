"""Keeping a server as it was resized; what would have led back goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.host import store as hosts
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server.demand import HERE, MOVING, charges
from kilonova.cloud.server.model import Guest, Server
from kilonova.kit.db import Tx
from kilonova.kit.ops import Run


class ServerConfirm(PowerFlow):
    """Frame: `power`, whether the server runs. Its old disk's state is forgotten when it is next off."""

    name: ClassVar[str] = "server_confirm"
    event: ClassVar[str] = "compute_confirm_resize"
    arrival: ClassVar[str] = "run"

    def arrive(self, frame: Mapping[str, Any]) -> str:
        return "run" if frame["power"] == "running" else "halt"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"mark": "", "power": self.power(frame)}

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        gone = [HERE + server.id, MOVING + server.id]
        quota.replace(tx, server.project_id, gone, HERE + server.id, charges(server.flavor))
        hosts.release(tx, MOVING + server.id)
        return {"before": None}

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        mark = server.before.mark if server.before else ""
        return {"power": self.power(frame), "mark": mark}
