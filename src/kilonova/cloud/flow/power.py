"""The shape that start, stop and reboot share: tell the host → see that it is so; else return to what was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.model import Guest, resting
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.context import ALL
from kilonova.core.errors import Conflict, Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Fail, Next, Run, Step, Wait


class PowerFlow:
    """A change of power on the host where the server is. Subclasses say what to change and where that leads."""

    name: ClassVar[str]
    event: ClassVar[str]
    arrival: ClassVar[str]
    deadline: ClassVar[float] = 240.0

    def __init__(self, db: Database, nodes: Nodes) -> None:
        self._db = db
        self._nodes = nodes
        self.steps = (Step("tell", self._tell), Step("seen", self._seen, event=self.event))

    def change(self, guest: Guest, frame: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the spec that change, with their new values."""
        raise LookupError

    async def _tell(self, run: Run) -> Next | Fail:
        guest = await self._guest(run)
        if guest is None:
            return Fail(Conflict("The server has no guest on any host"))
        if not guest.host_up:
            return Fail(Conflict("The server's host is down"))

        def commit(tx: Tx) -> None:
            current = guest_store.get(tx, guest.host_id, guest.server_id, lock=True)
            if current is not None:
                guests.change(tx, self._nodes, current, run.request_id, **self.change(current, run.frame))

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _seen(self, run: Run) -> Done | Wait | Fail:
        guest = await self._guest(run)
        if guest is None:
            return Fail(Conflict("The server has no guest on any host"))
        if not guest.host_up:
            return Fail(Conflict("The server's host went down"))
        if not guest.reached():
            return guests.wait_for(run.subject_id, guest.seen)
        if guest.error is not None:
            return Fail(Failure(guest.error.message, detail=guest.error.detail))
        power = guest.observed.power if guest.observed else "unknown"
        if self.arrival == "run" and power != "running":
            return Fail(Failure(f"The guest did not stay up: it is {power}"))

        def commit(tx: Tx) -> None:
            server = store.lock(tx, ALL, run.subject_id)
            guests.confirm(tx, guest)
            store.move(tx, server, self.arrival, power=power, fault=None)

        return Done(commit)

    async def _guest(self, run: Run) -> Guest | None:
        def work(tx: Tx) -> tuple[str, list[Guest]]:
            return store.get(tx, ALL, run.subject_id).host_name, guest_store.of_server(tx, run.subject_id)

        run.host, found = await self._db.read(work)
        return found[0] if found else None

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        """Back to the resting state, with the desired power that belongs to it, so that nothing happens later."""
        server = store.lock(tx, ALL, run.subject_id)
        moved = store.move(tx, server, "return", fault=guests.fault(failure, tx.now))
        wanted = "running" if resting(moved.phase) == "active" else "stopped"
        for guest in guest_store.of_server(tx, run.subject_id):
            guests.change(tx, self._nodes, guest, run.request_id, power=wanted)
