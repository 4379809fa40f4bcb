"""Putting a server aside: it is stopped and costs no quota, and can be restored until it is deleted for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow.power import PowerFlow, started_again
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import store
from kilonova.cloud.server.demand import HERE
from kilonova.cloud.server.model import Guest, Server
from kilonova.core.context import ALL
from kilonova.kit.db import Tx
from kilonova.kit.ops import Done, Fail, Next, Run, Wait


class ServerSoftDelete(PowerFlow):
    """A host that is down keeps nothing from ending: its guest is not started when it is back."""

    name: ClassVar[str] = "server_soft_delete"
    event: ClassVar[str] = "compute_soft_delete_instance"
    arrival: ClassVar[str] = "discard"

    def power(self, frame: Mapping[str, Any]) -> str:
        return "stopped"

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "stopped"}

    async def _tell(self, run: Run) -> Next | Fail:
        def commit(tx: Tx) -> None:
            server = store.lock(tx, ALL, run.subject_id)
            if (guest := guests.here(tx, server)) is not None:
                guests.change(tx, self._nodes, guest, run.request_id, power="stopped")

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _seen(self, run: Run) -> Done | Wait | Fail:
        guest = await self._guest(run)
        if guest is not None and guest.host_up:
            return await super()._seen(run)
        return Done(lambda tx: self._discard(tx, run))

    def _discard(self, tx: Tx, run: Run) -> None:
        columns = self.arrived(tx, store.get(tx, ALL, run.subject_id), run)
        store.move(tx, store.lock(tx, ALL, run.subject_id), self.arrival, fault=None, **columns)

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        quota.refund(tx, HERE + server.id)
        return {}

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return started_again(guest, server)
