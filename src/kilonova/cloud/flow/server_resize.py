"""Giving a server another flavor: claim what it takes → stop it → start it so → offer the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from kilonova.cloud.flow import landing
from kilonova.cloud.flow.power import TurnFlow
from kilonova.cloud.host import store as hosts
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import store
from kilonova.cloud.server.demand import HERE, MOVING, sizes
from kilonova.cloud.server.model import Before, FlavorCopy, Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.placement import Placement
from kilonova.core.context import ALL
from kilonova.core.errors import Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Commit, Next, Run, Step


class ServerResize(TurnFlow):
    """Frame: `flavor` (the new one), `phase` (the state it was in), `mark` (under which its disk is kept).

    Until it is confirmed or reverted, both sizes are claimed.
    """

    name: ClassVar[str] = "server_resize"
    event: ClassVar[str] = "compute_finish_resize"
    arrival: ClassVar[str] = "offer"

    def __init__(self, db: Database, placement: Placement, nodes: Nodes) -> None:
        super().__init__(db, nodes)
        self._placement = placement
        self.steps = (Step("place", self._place, self._unplace, event="compute_prep_resize"), *self.steps)

    def power(self, frame: Mapping[str, Any]) -> str:
        return "running" if frame["phase"] == "active" else "stopped"

    async def _place(self, run: Run) -> Next:
        server = await self._db.read(lambda tx: store.get(tx, ALL, run.subject_id))
        flavor = msgspec.convert(run.frame["flavor"], FlavorCopy)
        spot = await landing.choose(self._placement, flavor, run, host=server.host_id)

        def commit(tx: Tx) -> None:
            run.host = landing.claim(tx, spot, server, MOVING + server.id).name

        return Next(commit)

    async def _unplace(self, run: Run) -> Commit:
        return lambda tx: hosts.release(tx, MOVING + run.subject_id)

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        flavor = msgspec.convert(frame["flavor"], FlavorCopy)
        started = {"power": self.power(frame), "boot_count": guest.spec.boot_count + 1}
        return {**started, **sizes(flavor), "mark": frame["mark"]}

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        hosts.swap_claims(tx, HERE + server.id, MOVING + server.id)
        before = Before(
            flavor=server.flavor, phase=run.frame["phase"], host_id=server.host_id or "", host_name=server.host_name,
            mark=run.frame["mark"],
        )  # fmt: skip
        return {"flavor": msgspec.convert(run.frame["flavor"], FlavorCopy), "before": before}

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        back = {**sizes(server.flavor), "mark": "", "restore": frame["mark"]}
        return {**super().restore(guest, server, frame), **back}

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        quota.refund(tx, MOVING + run.subject_id)
        super().failed(tx, run, failure)
