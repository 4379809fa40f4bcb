"""Taking a server back that had been put aside: it is started again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server.demand import HERE
from kilonova.cloud.server.model import Guest, Server
from kilonova.core.errors import Failure
from kilonova.kit.db import Tx
from kilonova.kit.ops import Run


class ServerRestore(PowerFlow):
    """Its quota is charged when it is asked for."""

    name: ClassVar[str] = "server_restore"
    event: ClassVar[str] = "compute_restore_instance"
    arrival: ClassVar[str] = "run"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "running", "boot_count": guest.spec.boot_count + 1}

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        quota.refund(tx, HERE + run.subject_id)
        super().failed(tx, run, failure)
