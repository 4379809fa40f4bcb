"""Giving a server another flavor, another host, or both: claim what it takes → stop it → start it so → offer the way
back. Where it leaves its host, a copy of its disk goes before it, and what it leaves stays there, stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import msgspec

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.flow import landing
from kilonova.cloud.flow.power import TurnFlow, judge
from kilonova.cloud.host import store as hosts
from kilonova.cloud.image.account import CLOUD
from kilonova.cloud.image.model import Image, NewImage
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import guest_store, migration_store, store
from kilonova.cloud.server.demand import HERE, MOVING, shape
from kilonova.cloud.server.imaging import describe
from kilonova.cloud.server.model import Before, FlavorCopy, Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.placement import Placement
from kilonova.core.context import ALL
from kilonova.core.errors import Failure, NoCapacity
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Fail, Next, Run, Step, Wait
from kilonova.wire.guest import ImageRef


class Images(Protocol):
    """The part of the image service that a move between hosts needs."""

    def draft(self, tx: Tx, owner: str, wanted: NewImage) -> Image:
        """A new record, queued for its bytes."""

    def ref_of(self, tx: Tx, image_id: str) -> ImageRef:
        """An active image as nodes know it. Raises NotFound, Conflict."""

    def withdraw(self, tx: Tx, image_id: str) -> None:
        """Forget an image, if it is still there."""


class ServerResize(TurnFlow):
    """Frame: `flavor` (the one it shall have), `phase` (the state it was in), `mark` (under which its disk is kept),
    `host` (asked for, or None), `leaves` (it may not stay where it is). Later also `from`, `to`, `image`, and
    `told` (the new host has heard of it).

    Nothing runs on the new host before its disk is there and the old one is off, and the server is where the new guest
    is from the moment in which that may start. Until it is confirmed or reverted, both are claimed.
    """

    name: ClassVar[str] = "server_resize"
    event: ClassVar[str] = "compute_finish_resize"
    arrival: ClassVar[str] = "offer"

    def __init__(
        self, db: Database, placement: Placement, network: landing.Network, images: Images, nodes: Nodes
    ) -> None:
        super().__init__(db, nodes)
        self._placement = placement
        self._network = network
        self._images = images
        halt, halted, seen = self.steps
        self.steps = (
            Step("place", self._place, event="compute_prep_resize"),
            halt,
            halted,
            Step("copied", self._copied, event="compute_resize_instance"),
            Step("landed", self._landed),
            seen,
        )

    def power(self, frame: Mapping[str, Any]) -> str:
        return "running" if frame["phase"] == "active" else "stopped"

    async def _place(self, run: Run) -> Next:
        server = await self._db.read(lambda tx: store.get(tx, ALL, run.subject_id))
        flavor = msgspec.convert(run.frame["flavor"], FlavorCopy)
        spot = await self._spot(run, server, flavor)

        def commit(tx: Tx) -> None:
            host = landing.claim(tx, spot, server, MOVING + server.id)
            run.host = host.name
            run.frame |= {"from": server.host_id, "to": host.id}
            self._note(tx, run, server, "pre-migrating", host.name)
            tx.after_commit(lambda: self._placement.taken(host.id, flavor))

        return Next(commit)

    async def _spot(self, run: Run, server: Server, flavor: FlavorCopy) -> landing.Spot:
        """On its own host where that may be and is possible: then no disk has to be copied."""
        if not run.frame["leaves"]:
            try:
                return await landing.choose(self._placement, server, flavor, run, host=server.host_id)
            except NoCapacity:
                if not server.flavor.is_portable:
                    raise
        zone, host, leaves = server.requested_zone, run.frame["host"], run.frame["leaves"]
        return await landing.choose(self._placement, server, flavor, run, host=host, zone=zone, leaves=leaves)

    async def _halted(self, run: Run) -> Next | Wait | Fail:
        """Off: it is changed where it is, or its host gives a copy of its disk."""
        if not _moves(run.frame):
            told = await super()._halted(run)
            return replace(told, to="seen") if isinstance(told, Next) else told
        ending = judge(await self._guest(run), run, "stopped")
        if ending is not None:
            return ending

        def commit(tx: Tx) -> None:
            server = store.get(tx, ALL, run.subject_id)
            image = self._images.draft(tx, CLOUD, describe(server, f"{server.name}-moving"[:255], {}))
            run.frame["image"] = image.id
            migration_store.advance(tx, run.id, "migrating")
            if (current := guests.here(tx, server)) is not None:
                given = {"deposits": current.spec.deposits + 1, "deposit_to": image.id}
                guests.change(tx, self._nodes, current, run.request_id, **given)

        return Next(commit, to="copied", wait=guests.subject(run.subject_id))

    async def _copied(self, run: Run) -> Next | Wait | Fail:
        """The new host makes a guest of the copy, and does not start it yet."""
        ending = judge(await self._guest(run), run, "stopped")
        if ending is not None:
            return ending
        ref = await self._db.read(lambda tx: self._images.ref_of(tx, run.frame["image"]))
        flavor = msgspec.convert(run.frame["flavor"], FlavorCopy)

        def commit(tx: Tx) -> None:
            server = store.lock(tx, ALL, run.subject_id)
            host = hosts.get(tx, run.frame["to"])
            placed = store.edit(tx, ALL, server.id, fence=server.fence + 2)
            there = replace(placed, flavor=flavor, zone=host.zone)
            landing.land(tx, self._network, self._nodes, there, host.id, run, ref, power="stopped")
            run.frame["told"] = True
            run.host = host.name

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _landed(self, run: Run) -> Next | Wait | Fail:
        """From here on the server is there, and what it left is the way back."""
        guest = await self._db.read(lambda tx: guest_store.get(tx, run.frame["to"], run.subject_id))
        ending = judge(guest, run, "stopped")
        if ending is not None or guest is None:
            return ending or Fail(Failure("The guest's record is gone"))

        def commit(tx: Tx) -> None:
            changed = self._exchange(tx, store.get(tx, ALL, run.subject_id), run)
            server = store.lock(tx, ALL, run.subject_id)
            host = hosts.get(tx, guest.host_id)
            guests.confirm(tx, guest)
            store.edit(tx, ALL, server.id, host_id=host.id, host_name=host.name, zone=host.zone, **changed)
            migration_store.advance(tx, run.id, "post-migrating")
            started = {"power": self.power(run.frame), "boot_count": guest.spec.boot_count + 1}
            guests.change(tx, self._nodes, guest, run.request_id, **started)
            run.host = host.name

        return Next(commit, wait=guests.subject(run.subject_id))

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        flavor = msgspec.convert(frame["flavor"], FlavorCopy)
        started = {"power": self.power(frame), "boot_count": guest.spec.boot_count + 1}
        return {**started, **shape(flavor, server.image), "mark": frame["mark"]}

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        migration_store.advance(tx, run.id, migration_store.FINISHED)
        if not _moves(run.frame):
            return self._exchange(tx, server, run)
        self._images.withdraw(tx, run.frame["image"])
        return {}

    def _exchange(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        """What is claimed for the new one is the server's, and the old one's its way back."""
        hosts.swap_claims(tx, HERE + server.id, MOVING + server.id)
        before = Before(
            flavor=server.flavor, phase=run.frame["phase"], host_id=server.host_id or "", host_name=server.host_name,
            mark="" if _moves(run.frame) else run.frame["mark"], zone=server.zone,
        )  # fmt: skip
        return {"flavor": msgspec.convert(run.frame["flavor"], FlavorCopy), "before": before}

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        back = {**shape(server.flavor, server.image), "mark": "", "restore": frame["mark"]}
        return {**super().restore(guest, server, frame), **({} if _moves(frame) else back)}

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        server = store.get(tx, ALL, run.subject_id)
        if "to" not in run.frame:
            self._note(tx, run, server, "error")
        migration_store.advance(tx, run.id, "error")
        if "image" in run.frame:
            self._images.withdraw(tx, run.frame["image"])
        if server.before is not None and not self._is_off(tx, server):
            # It may run on the new host: the way back is kept for whoever decides.
            server = store.lock(tx, ALL, server.id)
            migration_store.advance(tx, run.id, migration_store.FINISHED)
            store.move(tx, server, "offer", fault=guests.fault(failure, tx.now))
            return
        quota.refund(tx, MOVING + server.id)
        if server.before is not None:
            hosts.swap_claims(tx, HERE + server.id, MOVING + server.id)
        hosts.release(tx, MOVING + server.id)
        if "told" in run.frame:
            self._stay(tx, run)
        super().failed(tx, run, failure)

    def _note(self, tx: Tx, run: Run, server: Server, status: str, dest: str = "") -> None:
        kind = "migration" if run.frame["leaves"] else "resize"
        landing.note(tx, run, server, kind, status, dest, run.frame["flavor"]["id"])

    def _is_off(self, tx: Tx, server: Server) -> bool:
        """Whether the guest certainly does not run where the server is."""
        guest = guests.here(tx, server)
        if guest is None:
            return True
        seen = guest.observed
        return guest.reached() and seen is not None and seen.power in ("stopped", "crashed", "absent")

    def _stay(self, tx: Tx, run: Run) -> None:
        """The server is where it was; what the new host may have becomes its debt."""
        server = store.lock(tx, ALL, run.subject_id)
        landing.leave(tx, self._nodes, server.id, run.frame["to"])
        self._network.bind(tx, server.id, run.frame["from"])
        if server.before is not None:
            at = {"host_id": server.before.host_id, "host_name": server.before.host_name, "zone": server.before.zone}
            store.edit(tx, ALL, server.id, **at, flavor=server.before.flavor, before=None)


def _moves(frame: Mapping[str, Any]) -> bool:
    return bool(frame.get("to", "") and frame["to"] != frame["from"])
