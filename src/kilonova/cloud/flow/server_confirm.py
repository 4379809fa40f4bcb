"""Keeping a server as it was resized or where it was moved; what would have led back goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow import landing
from kilonova.cloud.flow.power import PowerFlow
from kilonova.cloud.host import store as hosts
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import guest_store, migration_store, store
from kilonova.cloud.server.demand import HERE, MOVING, charges
from kilonova.cloud.server.model import Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.context import ALL
from kilonova.core.errors import Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Fail, Next, Run, Step, Wait


class ServerConfirm(PowerFlow):
    """Frame: `power`, whether the server runs; `left`, the host that it left, if it did.

    On one host its old disk's state is forgotten when it is next off. On two, the one that it left clears it; a host
    that is down, or does not answer, keeps nothing from ending.
    """

    name: ClassVar[str] = "server_confirm"
    event: ClassVar[str] = "compute_confirm_resize"
    arrival: ClassVar[str] = "run"

    def __init__(self, db: Database, nodes: Nodes, patience: float = 90.0) -> None:
        super().__init__(db, nodes)
        self._patience = patience
        self.steps = (*self.steps, Step("cleared", self._cleared, event=self.event))

    def arrive(self, frame: Mapping[str, Any]) -> str:
        return "run" if frame["power"] == "running" else "halt"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"mark": "", "power": self.power(frame)}

    async def _tell(self, run: Run) -> Next | Fail:
        if not run.frame["left"]:
            return await super()._tell(run)

        def commit(tx: Tx) -> None:
            if (left := guest_store.get(tx, run.frame["left"], run.subject_id)) is not None:
                guests.change(tx, self._nodes, left, run.request_id, power="absent")
            run.frame["told"] = True

        return Next(commit, to="cleared", wait=guests.subject(run.subject_id))

    async def _cleared(self, run: Run) -> Done | Wait:
        left = await self._db.read(lambda tx: guest_store.get(tx, run.frame["left"], run.subject_id))
        late = run.now - run.operation.step_at > self._patience * 1e6
        if left is not None and not landing.is_gone(left) and left.host_up and not late:
            return guests.wait_on(left)
        return Done(lambda tx: self._clear(tx, run))

    def _clear(self, tx: Tx, run: Run) -> None:
        columns = self.arrived(tx, store.get(tx, ALL, run.subject_id), run)
        server, host_id = store.lock(tx, ALL, run.subject_id), run.frame["left"]
        if landing.is_gone(guest_store.get(tx, host_id, server.id)):
            guest_store.remove(tx, host_id, server.id)
        else:
            landing.leave(tx, self._nodes, server.id, host_id)
        store.move(tx, server, self.arrive(run.frame), fault=None, **columns)

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        gone = [HERE + server.id, MOVING + server.id]
        quota.replace(tx, server.project_id, gone, HERE + server.id, charges(server.flavor))
        hosts.release(tx, MOVING + server.id)
        migration_store.settle(tx, server.id, "confirmed")
        return {"before": None}

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        mark = server.before.mark if server.before else ""
        return {"power": self.power(frame), "mark": mark}

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        if "told" in run.frame:
            # What it left may be cleared already: there is no way back any more.
            self._clear(tx, run)
        else:
            super().failed(tx, run, failure)
