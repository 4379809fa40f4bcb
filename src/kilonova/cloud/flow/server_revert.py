"""Undoing a resize or a move: the server is again what it was, where it was, with the disk that it had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow import landing
from kilonova.cloud.flow.power import TurnFlow, judge, missing
from kilonova.cloud.host import store as hosts
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import guest_store, migration_store, store
from kilonova.cloud.server.demand import HERE, MOVING, shape
from kilonova.cloud.server.model import Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.context import ALL
from kilonova.core.errors import Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Fail, Next, Run, Wait


class ServerRevert(TurnFlow):
    """Frame: `phase`, the one before the resize; `left`, the host that it left, if it did.

    On two hosts: the guest is off on the one before it is started on the other, and from that moment on the server is
    there, whatever comes.
    """

    name: ClassVar[str] = "server_revert"
    event: ClassVar[str] = "compute_revert_resize"
    arrival: ClassVar[str] = "run"

    def __init__(self, db: Database, network: landing.Network, nodes: Nodes) -> None:
        super().__init__(db, nodes)
        self._network = network

    def arrive(self, frame: Mapping[str, Any]) -> str:
        return "run" if frame["phase"] == "active" else "halt"

    async def _halt(self, run: Run) -> Next | Fail:
        if run.frame["left"] and (gone := missing(await self._left(run))) is not None:
            return gone
        return await super()._halt(run)

    async def _halted(self, run: Run) -> Next | Wait | Fail:
        if not run.frame["left"]:
            return await super()._halted(run)
        left = await self._left(run)
        ending = missing(left) or judge(await self._guest(run), run, "stopped")
        if ending is not None:
            return ending
        return Next(lambda tx: self._go_back(tx, run), wait=guests.subject(run.subject_id))

    async def _left(self, run: Run) -> Guest | None:
        return await self._db.read(lambda tx: guest_store.get(tx, run.frame["left"], run.subject_id))

    def _go_back(self, tx: Tx, run: Run) -> None:
        """The host that it goes from clears its guest when it can: nothing of that will ever be started again."""
        self._return_claims(tx, run.subject_id)
        server = store.lock(tx, ALL, run.subject_id)
        left = guest_store.get(tx, run.frame["left"], server.id)
        if server.before is None or left is None:
            return
        landing.leave(tx, self._nodes, server.id, server.host_id or "")
        before = server.before
        at = {"host_id": before.host_id, "host_name": before.host_name, "zone": before.zone}
        back = store.edit(tx, ALL, server.id, **at, flavor=before.flavor, before=None, fence=server.fence + 2)
        self._network.bind(tx, server.id, before.host_id)
        ports = self._network.port_docs(tx, server.id, before.host_id)
        started = {"power": self.power(run.frame), "boot_count": left.spec.boot_count + 1}
        guests.change(tx, self._nodes, left, run.request_id, **started, fence=back.fence, ports=ports)
        migration_store.settle(tx, server.id, "reverted")
        run.host = before.host_name

    def _return_claims(self, tx: Tx, server_id: str) -> None:
        quota.refund(tx, MOVING + server_id)
        hosts.swap_claims(tx, HERE + server_id, MOVING + server_id)
        hosts.release(tx, MOVING + server_id)

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        if server.before is None:
            return {}
        started = {"power": self.power(frame), "boot_count": guest.spec.boot_count + 1}
        return {**started, **shape(server.before.flavor, server.image), "mark": "", "restore": server.before.mark}

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        if server.before is None:
            return {}
        self._return_claims(tx, server.id)
        migration_store.settle(tx, server.id, "reverted")
        return {"flavor": server.before.flavor, "before": None}

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        """It stays resized. Where its disk has gone back already, that is the state which is kept now."""
        mark = server.before.mark if server.before else ""
        started = {"power": self.power(frame), "boot_count": guest.spec.boot_count + 1}
        return {**shape(server.flavor, server.image), **started, "mark": mark, "restore": ""}

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        server = store.get(tx, ALL, run.subject_id)
        if run.frame["left"] and server.before is None:
            # It has gone back, and does not run there as it should.
            store.move(tx, store.lock(tx, ALL, server.id), "fail", fault=guests.fault(failure, tx.now))
        else:
            super().failed(tx, run, failure)
