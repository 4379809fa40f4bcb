"""Deleting a server: tear down whatever might exist, then forget it. A host that is down blocks nothing."""

from __future__ import annotations

from typing import ClassVar, Protocol

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.host import store as hosts
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.demand import HERE, MOVING
from kilonova.cloud.server.model import Guest
from kilonova.cloud.server.nodes import Nodes
from kilonova.core.context import ALL
from kilonova.core.errors import Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Next, Run, Step, Wait


class Network(Protocol):
    """The part of the network service that a deletion needs."""

    def release(self, tx: Tx, server_id: str) -> None:
        """Delete the ports made for a server, unbind those a user brought; again does nothing."""


class Images(Protocol):
    """The part of the image service that a deletion needs."""

    def withdraw_unfinished(self, tx: Tx, owner: str, server_id: str) -> None:
        """Forget an owner's images of a server that have no bytes yet."""

    def withdraw(self, tx: Tx, image_id: str) -> None:
        """Forget an image, if it is still there."""


class ServerDelete:
    """Frame: `copying`, whether an image waits for the server's disk. Whatever was under way has been superseded, and
    the server's fence raised."""

    name: ClassVar[str] = "server_delete"
    deadline: ClassVar[float] = 3600.0

    def __init__(self, db: Database, network: Network, images: Images, nodes: Nodes, patience: float = 90.0) -> None:
        self._db = db
        self._images = images
        self._network = network
        self._nodes = nodes
        self._patience = patience
        self.steps = (
            Step("tear_down", self._tear_down),
            Step("seen_absent", self._seen_absent, event="compute_terminate_instance"),
            Step("forget", self._forget),
        )

    async def _tear_down(self, run: Run) -> Next:
        """Tell every host that has a guest of the server that it shall be gone."""

        def commit(tx: Tx) -> None:
            if run.frame.get("copying"):
                self._images.withdraw_unfinished(tx, run.operation.project_id, run.subject_id)
            fence = store.lock(tx, ALL, run.subject_id).fence
            for guest in guest_store.of_server(tx, run.subject_id):
                if guest.spec.power != "absent" or guest.spec.fence < fence:
                    guests.change(tx, self._nodes, guest, run.request_id, power="absent", fence=fence)

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _seen_absent(self, run: Run) -> Next | Wait:
        """Wait for the hosts, but only for those that live, and not for ever: the rest becomes their debt."""
        found = await self._db.read(lambda tx: guest_store.of_server(tx, run.subject_id))
        late = run.now - run.operation.step_at > self._patience * 1e6
        waiting = [g for g in found if not _is_absent(g) and g.host_up and not late]
        if waiting:
            return guests.wait_for(run.subject_id, sum(g.seen for g in found), poll=5.0)

        def commit(tx: Tx) -> None:
            for guest in guest_store.of_server(tx, run.subject_id):
                if _is_absent(guest):
                    guest_store.remove(tx, guest.host_id, guest.server_id)
                else:
                    guests.abandon(tx, self._nodes, guest)
                    run.details = "a host that does not answer will clear its guest when it is back"

        return Next(commit)

    async def _forget(self, run: Run) -> Done:
        """Claims, quota, addresses and the row itself, in one transaction."""

        def commit(tx: Tx) -> None:
            for kind in (HERE, MOVING):
                quota.refund(tx, kind + run.subject_id)
                hosts.release(tx, kind + run.subject_id)
            server = store.lock(tx, ALL, run.subject_id)
            guests.release_offers(tx, server)
            self._network.release(tx, server.id)
            if server.shelved is not None:
                self._images.withdraw(tx, server.shelved["image_id"])
            store.bury(tx, server)

        return Done(commit)

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        current = store.lock(tx, ALL, run.subject_id)
        store.move(tx, current, "fail", fault=guests.fault(failure, tx.now))


def _is_absent(guest: Guest) -> bool:
    seen = guest.observed
    return seen is not None and seen.power == "absent" and seen.fence >= guest.spec.fence
