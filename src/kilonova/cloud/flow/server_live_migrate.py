"""Taking a server to another host while it runs: claim there → the host makes ready → it is sent → it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol

import msgspec

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow import landing
from kilonova.cloud.flow.power import POWERS, PowerFlow, judge
from kilonova.cloud.host import store as hosts
from kilonova.cloud.server import guest_store, migration_store, store
from kilonova.cloud.server.demand import HERE, MOVING
from kilonova.cloud.server.model import Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.placement import Placement
from kilonova.core.context import ALL
from kilonova.core.errors import Conflict, Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Fail, Next, Run, Step, Wait

KIND: Final = "live-migration"
CANCELLED = Conflict("The live migration was cancelled")


class Network(landing.Network, Protocol):
    """The part of the network service that a live migration needs."""

    def expect(self, tx: Tx, server_id: str, host_id: str) -> None:
        """Let another host have a server's ports too, until the server is bound again."""


class ServerLiveMigrate(PowerFlow):
    """Frame: `phase` (the server's, which stays), `host` (asked for, or None); later `from`, `to`, and `sent`.

    From the moment in which its host is told to send it, only what the hosts report decides where the guest is. A host
    that is silent is waited for: it may have sent it, or still run it.
    """

    name: ClassVar[str] = "server_live_migrate"
    event: ClassVar[str] = "compute_live_migration"
    arrival: ClassVar[str] = "return"
    deadline: ClassVar[float] = 3600.0

    def __init__(
        self, db: Database, placement: Placement, network: Network, nodes: Nodes, patience: float = 90.0
    ) -> None:
        super().__init__(db, nodes)
        self._placement = placement
        self._network = network
        self._patience = patience
        self.steps = (
            Step("place", self._place, event="conductor_live_migrate_instance"),
            Step("ready", self._ready, event="compute_pre_live_migration"),
            Step("sent", self._sent, event=self.event),
            Step("cleared", self._cleared, event="compute_post_live_migration_at_destination"),
        )

    def power(self, frame: Mapping[str, Any]) -> str:
        return POWERS[frame["phase"]]

    async def _place(self, run: Run) -> Next:
        server = await self._db.read(lambda tx: store.get(tx, ALL, run.subject_id))
        host, away = run.frame["host"], server.host_id or ""
        zone = server.requested_zone
        spot = await landing.choose(self._placement, server, server.flavor, run, host=host, zone=zone, leaves=True)

        def commit(tx: Tx) -> None:
            found = landing.claim(tx, spot, server, MOVING + server.id)
            current = store.lock(tx, ALL, server.id)
            guest = guests.here(tx, current)
            if guest is None:
                raise Conflict("The server has no guest on any host")
            fence = store.edit(tx, ALL, server.id, fence=current.fence + 2).fence
            self._network.expect(tx, server.id, found.id)
            ports = self._network.port_docs(tx, server.id, found.id)
            coming = {"fence": fence, "version": 1, "power": "incoming", "ports": ports, "request_id": run.request_id}
            guests.tell(tx, self._nodes, found.id, msgspec.structs.replace(guest.spec, **coming))
            run.frame |= {"from": away, "to": found.id}
            run.host = found.name
            landing.note(tx, run, server, KIND, "preparing", found.name)
            tx.after_commit(lambda: self._placement.taken(found.id, server.flavor))

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _ready(self, run: Run) -> Next | Wait | Fail:
        there = await self._at(run, "to")
        ending = judge(there, run, "absent")
        if ending is not None or there is None or there.observed is None:
            return ending or Fail(Failure("The guest's record is gone"))
        if await self._is_cancelled(run):
            return Fail(CANCELLED)
        reception = there.observed.reception

        def commit(tx: Tx) -> None:
            if (here := guest_store.get(tx, run.frame["from"], run.subject_id)) is not None:
                guests.change(tx, self._nodes, here, run.request_id, send_to=reception)
            migration_store.advance(tx, run.id, "running")
            run.frame["sent"] = True

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _sent(self, run: Run) -> Next | Wait | Fail:
        here, there = await self._at(run, "from"), await self._at(run, "to")
        if here is None or there is None:
            return Fail(Failure("The guest's record is gone"))
        seen = sum(guest.seen for guest in (here, there))
        if _runs(there) or (_is_gone(here) and not there.host_up):
            return Next(lambda tx: self._switch(tx, run), wait=guests.subject(run.subject_id))
        if not here.host_up or not here.reached():
            return guests.wait_for(run.subject_id, seen)
        if here.error is not None:
            return Fail(CANCELLED if here.error.code == "cancelled" else Failure(here.error.message))
        return guests.wait_for(run.subject_id, seen)

    def _switch(self, tx: Tx, run: Run) -> None:
        """The server is where its guest has come; what its old host may still have of it is to go."""
        hosts.swap_claims(tx, HERE + run.subject_id, MOVING + run.subject_id)
        server = store.lock(tx, ALL, run.subject_id)
        host = hosts.get(tx, run.frame["to"])
        store.edit(tx, ALL, server.id, host_id=host.id, host_name=host.name, zone=host.zone)
        self._network.bind(tx, server.id, host.id)
        here, there = (guest_store.get(tx, run.frame[end], server.id) for end in ("from", "to"))
        if there is not None:
            guests.change(tx, self._nodes, there, run.request_id, power=self.power(run.frame))
        if here is not None:
            guests.change(tx, self._nodes, here, run.request_id, power="absent", send_to="", abort=False)
        migration_store.advance(tx, run.id, "post-migrating")
        run.frame["switched"] = True
        run.host = host.name

    async def _cleared(self, run: Run) -> Done | Wait:
        left = await self._at(run, "from")
        late = run.now - run.operation.step_at > self._patience * 1e6
        if left is not None and not landing.is_gone(left) and left.host_up and not late:
            return guests.wait_on(left)
        return Done(lambda tx: self._end(tx, run))

    def _end(self, tx: Tx, run: Run) -> None:
        hosts.release(tx, MOVING + run.subject_id)
        server, left = store.lock(tx, ALL, run.subject_id), run.frame["from"]
        if landing.is_gone(guest_store.get(tx, left, server.id)):
            guest_store.remove(tx, left, server.id)
        else:
            landing.leave(tx, self._nodes, server.id, left)
        migration_store.advance(tx, run.id, "completed")
        store.move(tx, server, self.arrival, fault=None)

    async def _at(self, run: Run, end: str) -> Guest | None:
        return await self._db.read(lambda tx: guest_store.get(tx, run.frame[end], run.subject_id))

    async def _is_cancelled(self, run: Run) -> bool:
        return await self._db.read(lambda tx: migration_store.status_of(tx, run.id)) == "cancelling"

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return {"send_to": "", "hurry": False, "abort": False}

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        """Where it was told to go, the guest stays only if its host says so; else nobody knows, and both keep it."""
        if "switched" in run.frame:
            self._end(tx, run)
            return
        if "to" not in run.frame:
            landing.note(tx, run, store.get(tx, ALL, run.subject_id), KIND, "error")
        migration_store.advance(tx, run.id, "cancelled" if failure.message == CANCELLED.message else "error")
        hosts.release(tx, MOVING + run.subject_id)
        if "sent" in run.frame and not _stays(guest_store.get(tx, run.frame["from"], run.subject_id)):
            server = store.lock(tx, ALL, run.subject_id)
            store.move(tx, server, "fail", fault=guests.fault(failure, tx.now))
            return
        if "to" in run.frame:
            server = store.lock(tx, ALL, run.subject_id)
            landing.leave(tx, self._nodes, server.id, run.frame["to"])
            self._network.bind(tx, server.id, run.frame["from"])
        super().failed(tx, run, failure)


def _runs(guest: Guest) -> bool:
    seen = guest.observed
    return seen is not None and seen.fence == guest.spec.fence and seen.power in ("running", "paused")


def _is_gone(guest: Guest) -> bool:
    return guest.reached() and guest.observed is not None and guest.observed.power == "absent"


def _stays(guest: Guest | None) -> bool:
    """Whether its host has given up sending a guest, and has it."""
    if guest is None or guest.error is None or not guest.reached() or guest.observed is None:
        return False
    return guest.observed.power not in ("absent", "unknown")
