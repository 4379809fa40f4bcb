"""Bringing a shelved server to a host again: choose and claim one → ports and guest from its image → seen running."""

from __future__ import annotations

from typing import ClassVar, Protocol

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
from kilonova.kit.ops import Commit, Done, Fail, Next, Run, Step, Wait
from kilonova.wire.guest import ImageRef


class Images(Protocol):
    """The part of the image service that unshelving needs."""

    def withdraw(self, tx: Tx, image_id: str) -> None:
        """Forget an image, if it is still there."""


class ServerUnshelve:
    """Frame: `host` and `zone` (asked for, or None)."""

    name: ClassVar[str] = "server_unshelve"
    deadline: ClassVar[float] = 600.0

    def __init__(
        self, db: Database, placement: Placement, network: landing.Network, images: Images, nodes: Nodes
    ) -> None:
        self._db = db
        self._placement = placement
        self._network = network
        self._images = images
        self._nodes = nodes
        self.steps = (
            Step("place", self._place, self._unplace),
            Step("seen", self._seen, event="compute_unshelve_instance"),
        )

    async def _place(self, run: Run) -> Next:
        server = await self._db.read(lambda tx: store.get(tx, ALL, run.subject_id))
        zone = run.frame["zone"] or server.requested_zone
        spot = await landing.choose(self._placement, server, server.flavor, run, host=run.frame["host"], zone=zone)

        def commit(tx: Tx) -> None:
            host = landing.claim(tx, spot, server, HERE + server.id)
            at = {"host_id": host.id, "host_name": host.name, "zone": host.zone}
            placed = store.edit(tx, ALL, server.id, **at)
            image = msgspec.convert(placed.shelved, ImageRef | None)
            landing.land(tx, self._network, self._nodes, placed, host.id, run, image)
            tx.after_commit(lambda: self._placement.taken(host.id, server.flavor))
            run.host = host.name

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _seen(self, run: Run) -> Done | Wait | Fail:
        guest = await guests.look(self._db, run)
        ending = judge(guest, run, "running")
        if ending is not None or guest is None:
            return ending or Fail(Failure("The guest's record is gone"))

        def commit(tx: Tx) -> None:
            server = store.lock(tx, ALL, run.subject_id)
            guests.confirm(tx, guest)
            if server.shelved is not None:
                self._images.withdraw(tx, server.shelved["image_id"])
            store.move(tx, server, "run", power="running", launched_at=tx.now, fault=None, shelved=None)

        return Done(commit)

    async def _unplace(self, run: Run) -> Commit:
        """Where it was, nowhere; what a host may have begun becomes its debt."""

        def commit(tx: Tx) -> None:
            hosts.release(tx, HERE + run.subject_id)
            server = store.lock(tx, ALL, run.subject_id)
            guests.release_offers(tx, server)
            if server.host_id is not None:
                landing.leave(tx, self._nodes, server.id, server.host_id)
            self._network.bind(tx, server.id, None)
            store.edit(tx, ALL, server.id, host_id=None, host_name="", fence=server.fence + 2)

        return commit

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        server = store.lock(tx, ALL, run.subject_id)
        store.move(tx, server, "return", fault=guests.fault(failure, tx.now), power="none")
