"""Shelving a server: its disk becomes an image, and its host is free of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import msgspec

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow import landing
from kilonova.cloud.flow.power import TurnFlow
from kilonova.cloud.host import store as hosts
from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.demand import HERE
from kilonova.cloud.server.model import Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.context import ALL
from kilonova.core.errors import Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Fail, Next, Run, Step, Wait
from kilonova.wire.guest import ImageRef


class Images(Protocol):
    """The part of the image service that shelving needs."""

    def withdraw(self, tx: Tx, image_id: str) -> None:
        """Forget an image, if it is still there."""

    def ref_of(self, tx: Tx, image_id: str) -> ImageRef:
        """An active image as nodes know it. Raises NotFound, Conflict."""


class ServerShelve(TurnFlow):
    """Frame: `image` (the queued record that takes the disk), `phase` (the server's).

    stop it → its host gives a copy of the disk → the host clears it. From then on there is no way back but unshelving.
    """

    name: ClassVar[str] = "server_shelve"
    event: ClassVar[str] = "compute_shelve_instance"
    arrival: ClassVar[str] = "offload"

    def __init__(
        self, db: Database, network: landing.Network, images: Images, nodes: Nodes, patience: float = 90.0
    ) -> None:
        super().__init__(db, nodes)
        self._network = network
        self._images = images
        self._patience = patience
        self.steps = (
            *self.steps[:2],
            Step("copied", self._copied, event=self.event),
            Step("cleared", self._cleared, event="compute_shelve_offload_instance"),
        )

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"power": "stopped", "deposits": guest.spec.deposits + 1, "deposit_to": frame["image"]}

    def power(self, frame: Mapping[str, Any]) -> str:
        return "stopped"

    async def _copied(self, run: Run) -> Next | Wait | Fail:
        """The image has the disk: from here on that is where the server is."""
        guest = await self._guest(run)
        if (ending := self._judge(guest, run)) is not None:
            return ending
        ref = await self._db.read(lambda tx: self._images.ref_of(tx, run.frame["image"]))

        def commit(tx: Tx) -> None:
            server = store.lock(tx, ALL, run.subject_id)
            store.edit(tx, ALL, server.id, shelved=msgspec.to_builtins(ref))
            if (current := guests.here(tx, server)) is not None:
                guests.change(tx, self._nodes, current, run.request_id, power="absent")

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _cleared(self, run: Run) -> Done | Wait:
        """A host that is down, or does not answer, keeps nothing from ending: its guest becomes its debt."""
        guest = await self._guest(run)
        late = run.now - run.operation.step_at > self._patience * 1e6
        if guest is not None and not landing.is_gone(guest) and guest.host_up and not late:
            return guests.wait_on(guest)

        return Done(lambda tx: self._offload(tx, run))

    def _offload(self, tx: Tx, run: Run) -> None:
        hosts.release(tx, HERE + run.subject_id)
        server = store.lock(tx, ALL, run.subject_id)
        guests.release_offers(tx, server)
        host_id = server.host_id or ""
        if landing.is_gone(guest_store.get(tx, host_id, server.id)):
            guest_store.remove(tx, host_id, server.id)
        else:
            landing.leave(tx, self._nodes, server.id, host_id)
        self._network.bind(tx, server.id, None)
        nowhere = {"host_id": None, "host_name": "", "power": "none", "fence": server.fence + 2}
        store.move(tx, server, self.arrival, fault=None, **nowhere)

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        if store.get(tx, ALL, run.subject_id).shelved is not None:
            # Its host may have cleared the disk already, and the image has it.
            self._offload(tx, run)
            return
        self._images.withdraw(tx, run.frame["image"])
        super().failed(tx, run, failure)
