"""Making a server anew elsewhere, from its image, because its host is gone; its addresses and identity stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow import landing
from kilonova.cloud.flow.power import judge
from kilonova.cloud.host import store as hosts
from kilonova.cloud.server import store
from kilonova.cloud.server.demand import HERE
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.placement import Placement
from kilonova.core.context import ALL
from kilonova.core.errors import Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Fail, Next, Run, Step, Wait
from kilonova.wire.guest import ImageRef


class ServerEvacuate:
    """Frame: `host` (asked for, or None), `stopped` (it was, and will be), `from` (the host that is gone).

    The old host owes its guest from the moment in which another one is told: it clears it before it takes new work.
    A failure after that leaves the server in error where it was to be; it can be evacuated or rebuilt again.
    """

    name: ClassVar[str] = "server_evacuate"
    deadline: ClassVar[float] = 600.0

    def __init__(self, db: Database, placement: Placement, network: landing.Network, nodes: Nodes) -> None:
        self._db = db
        self._placement = placement
        self._network = network
        self._nodes = nodes
        self.steps = (Step("place", self._place), Step("seen", self._seen, event="compute_rebuild_instance"))

    async def _place(self, run: Run) -> Next | Fail:
        server = await self._db.read(lambda tx: store.get(tx, ALL, run.subject_id))
        away, host = run.frame["from"], run.frame["host"]
        spot = await landing.choose(self._placement, server, server.flavor, run, host=host, leaves=True)

        def commit(tx: Tx) -> None:
            hosts.release(tx, HERE + server.id)
            guests.release_offers(tx, server)
            found = landing.claim(tx, spot, server, HERE + server.id)
            current = store.lock(tx, ALL, server.id)
            landing.leave(tx, self._nodes, server.id, away)
            at = {"host_id": found.id, "host_name": found.name, "zone": found.zone, "fence": current.fence + 2}
            placed = store.edit(tx, ALL, server.id, **at)
            image = msgspec.convert(placed.image, ImageRef) if placed.image else None
            power = _power(run.frame)
            landing.land(tx, self._network, self._nodes, placed, found.id, run, image, power=power)
            tx.after_commit(lambda: self._placement.taken(found.id, server.flavor))
            run.host = found.name

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _seen(self, run: Run) -> Done | Wait | Fail:
        guest = await guests.look(self._db, run)
        power = _power(run.frame)
        ending = judge(guest, run, power)
        if ending is not None or guest is None:
            return ending or Fail(Failure("The guest's record is gone"))

        def commit(tx: Tx) -> None:
            server = store.lock(tx, ALL, run.subject_id)
            guests.confirm(tx, guest)
            arrival = "halt" if run.frame["stopped"] else "run"
            store.move(tx, server, arrival, power=power, launched_at=tx.now, fault=None)

        return Done(commit)

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        server = store.lock(tx, ALL, run.subject_id)
        left = server.host_id != run.frame["from"]
        store.move(tx, server, "fail" if left else "return", fault=guests.fault(failure, tx.now))


def _power(frame: Mapping[str, Any]) -> str:
    return "stopped" if frame["stopped"] else "running"
