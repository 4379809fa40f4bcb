"""Creating a server: choose and claim a host → ports → tell the node → seen running."""

from __future__ import annotations

from typing import ClassVar, Final, Protocol

import msgspec

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow import landing
from kilonova.cloud.host import store as hosts
from kilonova.cloud.network.model import CheckedNics, Nic
from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.demand import HERE
from kilonova.cloud.server.model import Guest, Server
from kilonova.cloud.server.nic import view_of
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.placement import Placement
from kilonova.core.context import ALL
from kilonova.core.errors import Conflict, Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Commit, Done, Fail, Next, Run, Step, Wait
from kilonova.wire.network import PortDoc

HOSTS_TRIED: Final = 3


class Network(Protocol):
    """The part of the network service that a boot needs."""

    async def allocate(
        self, guard: Commit, *, project_id: str, server_id: str, host_id: str, hostname: str, nics: CheckedNics
    ) -> tuple[Nic, ...]:
        """Make or bind the ports; again gives the same ones. Raises NoCapacity when no address is left."""

    def release(self, tx: Tx, server_id: str) -> None:
        """Delete the ports made for a server, unbind those a user brought; again does nothing."""

    def port_docs(self, tx: Tx, server_id: str, host_id: str) -> tuple[PortDoc, ...]:
        """The ports as the node needs them."""


class ServerCreate:
    """Frame: `nics` (checked requests), `host` (a forced one), `exclude` (hosts that failed), `errors` (why)."""

    name: ClassVar[str] = "server_create"
    deadline: ClassVar[float] = 600.0

    def __init__(self, db: Database, placement: Placement, network: Network, nodes: Nodes) -> None:
        self._db = db
        self._placement = placement
        self._network = network
        self._nodes = nodes
        self.steps = (
            Step("place", self._place, self._unplace),
            Step("network", self._attach, self._detach),
            Step("spawn", self._seen_running, self._abandon, event="compute__do_build_and_run_instance"),
        )

    async def _place(self, run: Run) -> Next:
        """Choose among all hosts, then claim the first of the best that still has room."""
        server = await self._db.read(lambda tx: store.get(tx, ALL, run.subject_id))
        spot = await landing.choose(
            self._placement,
            server,
            server.flavor,
            run,
            zone=server.requested_zone,
            host=run.frame.get("host"),
            exclude=run.frame["exclude"],
        )

        def commit(tx: Tx) -> None:
            host = landing.claim(tx, spot, server, HERE + server.id)
            current = store.lock(tx, ALL, server.id)
            store.move(tx, current, "place", host_id=host.id, host_name=host.name, zone=host.zone)
            tx.after_commit(lambda: self._placement.taken(host.id, server.flavor))
            run.host = host.name

        return Next(commit)

    async def _unplace(self, run: Run) -> Commit:
        def commit(tx: Tx) -> None:
            hosts.release(tx, f"server:{run.subject_id}")
            server = store.edit(tx, ALL, run.subject_id, host_id=None, host_name="", zone="")
            guests.release_offers(tx, server)

        return commit

    async def _attach(self, run: Run) -> Next:
        """Ports first, so that the guest finds its network in force; then the host is told, in one transaction."""
        server = await self._db.read(lambda tx: store.get(tx, ALL, run.subject_id))
        host_id = server.host_id or ""
        nics = await self._network.allocate(
            run.guard,
            project_id=server.project_id,
            server_id=server.id,
            host_id=host_id,
            hostname=server.hostname,
            nics=msgspec.convert(run.frame["nics"], CheckedNics),
        )

        def commit(tx: Tx) -> None:
            current = store.lock(tx, ALL, server.id)
            store.move(tx, current, "spawn", nics=tuple(view_of(n) for n in nics))
            ports = self._network.port_docs(tx, server.id, host_id)
            guests.tell(tx, self._nodes, host_id, guests.first_spec(current, ports, run.request_id))

        run.host = server.host_name
        return Next(commit, wait=guests.subject(server.id))

    async def _detach(self, run: Run) -> Commit:
        def commit(tx: Tx) -> None:
            for guest in guest_store.of_server(tx, run.subject_id):
                guests.abandon(tx, self._nodes, guest)
            self._network.release(tx, run.subject_id)
            store.edit(tx, ALL, run.subject_id, nics=())

        return commit

    async def _seen_running(self, run: Run) -> Next | Wait | Done | Fail:
        server, found = await self._db.read(
            lambda tx: (store.get(tx, ALL, run.subject_id), guest_store.of_server(tx, run.subject_id))
        )
        if not found:
            return Fail(Conflict("The guest's record is gone"))
        guest = found[0]
        run.host = server.host_name
        if not guest.host_up:
            return self._elsewhere(run, server, guest, "The host went down")
        if not guest.reached():
            return guests.wait_for(server.id, guest.seen)
        if guest.error is not None:
            if guest.error.retryable:
                return self._elsewhere(run, server, guest, guest.error.message)
            return Fail(Failure(guest.error.message, detail=guest.error.detail))
        power = guest.observed.power if guest.observed else "unknown"
        if power != "running":
            return Fail(Failure(f"The guest did not stay up: it is {power}"))

        def commit(tx: Tx) -> None:
            current = store.lock(tx, ALL, server.id)
            guests.confirm(tx, guest)
            store.move(tx, current, "run", power="running", launched_at=tx.now, fault=None)

        return Done(commit)

    async def _abandon(self, run: Run) -> Commit:
        def commit(tx: Tx) -> None:
            for guest in guest_store.of_server(tx, run.subject_id):
                guests.abandon(tx, self._nodes, guest)

        return commit

    def _elsewhere(self, run: Run, server: Server, guest: Guest, why: str) -> Next | Fail:
        """Give this host up and choose another one, a few times."""
        tried = [*run.frame["exclude"], guest.host_id]
        run.frame["exclude"] = tried
        run.frame["errors"] = [*run.frame.get("errors", []), f"{server.host_name}: {why}"]
        if len(tried) >= HOSTS_TRIED or run.frame.get("host"):
            return Fail(Failure(f"The server could not be started: {why}", detail="; ".join(run.frame["errors"])))

        def commit(tx: Tx) -> None:
            hosts.release(tx, f"server:{server.id}")
            guests.release_offers(tx, server)
            current = store.lock(tx, ALL, server.id)
            moved = store.move(tx, current, "replace", host_id=None, host_name="", fence=current.fence + 2, nics=())
            guests.abandon(tx, self._nodes, guest)
            self._network.release(tx, moved.id)

        run.details = f"gave {server.host_name} up: {why}"
        return Next(commit, to="place")

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        current = store.lock(tx, ALL, run.subject_id)
        store.move(tx, current, "fail", fault=guests.fault(failure, tx.now), power="none")
