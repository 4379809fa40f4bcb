"""The shape that changes on one host share: tell the host → see that it is so; else return to what was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from kilonova.cloud.flow import guest as guests
from kilonova.cloud.server import store
from kilonova.cloud.server.model import Guest, Server
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.phase import resting
from kilonova.core.context import ALL
from kilonova.core.errors import Conflict, Failure
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Fail, Next, Run, Step, Wait

EXPECTED: Final[Mapping[str, str]] = {
    "run": "running",
    "mend": "running",
    "halt": "stopped",
    "hold": "paused",
    "sleep": "suspended",
}
"""The power that each arrival means."""
POWERS: Final[Mapping[str, str]] = {
    "active": "running",
    "rescued": "running",
    "paused": "paused",
    "suspended": "suspended",
}
"""The power of a server at rest; all others are stopped."""


class PowerFlow:
    """A change on the host where the server is. Subclasses say what to change and where that leads."""

    name: ClassVar[str]
    event: ClassVar[str]
    arrival: ClassVar[str]
    deadline: ClassVar[float] = 240.0

    def __init__(self, db: Database, nodes: Nodes) -> None:
        self._db = db
        self._nodes = nodes
        self.steps: tuple[Step, ...] = (Step("tell", self._tell), Step("seen", self._seen, event=self.event))

    def change(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the spec that change, with their new values."""
        raise LookupError

    def arrive(self, frame: Mapping[str, Any]) -> str:
        """The move of the server when the host has done it."""
        return self.arrival

    def power(self, frame: Mapping[str, Any]) -> str:
        """The power that the guest is to have then."""
        return EXPECTED[self.arrive(frame)]

    async def _tell(self, run: Run) -> Next | Fail:
        guest = await self._guest(run)
        if (gone := missing(guest)) is not None:
            return gone

        def commit(tx: Tx) -> None:
            server = store.lock(tx, ALL, run.subject_id)
            if (current := guests.here(tx, server)) is not None:
                values = self.change(current, server, run.frame)
                guests.change(tx, self._nodes, current, run.request_id, **values)

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _seen(self, run: Run) -> Done | Wait | Fail:
        guest = await self._guest(run)
        ending = judge(guest, run, self.power(run.frame))
        if ending is not None or guest is None:
            return ending or Fail(Conflict("The server has no guest on any host"))
        power = guest.observed.power if guest.observed else "unknown"

        def commit(tx: Tx) -> None:
            # Quota and claims are locked before servers; what this reads of the server is its operation's to change.
            columns = self.arrived(tx, store.get(tx, ALL, run.subject_id), run)
            server = store.lock(tx, ALL, run.subject_id)
            guests.confirm(tx, guest)
            store.move(tx, server, self.arrive(run.frame), power=power, fault=None, **columns)

        return Done(commit)

    def arrived(self, tx: Tx, server: Server, run: Run) -> dict[str, Any]:
        """What else changes in the server's row, and in the same transaction, when it has arrived."""
        return {}

    async def _guest(self, run: Run) -> Guest | None:
        return await guests.look(self._db, run)

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        """Back to the resting state, with the desired power that belongs to it, so that nothing happens later."""
        server = store.lock(tx, ALL, run.subject_id)
        moved = store.move(tx, server, "return", fault=guests.fault(failure, tx.now))
        wanted = POWERS.get(resting(moved.phase), "stopped")
        if (guest := guests.here(tx, moved)) is not None:
            restored = self.restore(guest, moved, run.frame)
            guests.change(tx, self._nodes, guest, run.request_id, **{"power": wanted, **restored})

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        """What a failed change takes back beside the power."""
        return {}


class TurnFlow(PowerFlow):
    """A change that a guest must be off for: stop it cleanly → see it off, tell the change → see that it is so."""

    deadline: ClassVar[float] = 600.0

    def __init__(self, db: Database, nodes: Nodes) -> None:
        super().__init__(db, nodes)
        self.steps = (Step("halt", self._halt), Step("halted", self._halted), *self.steps[1:])

    async def _halt(self, run: Run) -> Next | Fail:
        if (gone := missing(await self._guest(run))) is not None:
            return gone

        def commit(tx: Tx) -> None:
            if (current := guests.here(tx, store.get(tx, ALL, run.subject_id))) is not None:
                guests.change(tx, self._nodes, current, run.request_id, power="stopped")

        return Next(commit, wait=guests.subject(run.subject_id))

    async def _halted(self, run: Run) -> Next | Wait | Fail:
        ending = judge(await self._guest(run), run, "stopped")
        return await self._tell(run) if ending is None else ending

    def _judge(self, guest: Guest | None, run: Run) -> Wait | Fail | None:
        return judge(guest, run, self.power(run.frame))

    def restore(self, guest: Guest, server: Server, frame: Mapping[str, Any]) -> dict[str, Any]:
        return started_again(guest, server)


def started_again(guest: Guest, server: Server) -> dict[str, Any]:
    """What takes the stop of a guest back, if it is one that was to run."""
    if POWERS.get(resting(server.phase)) != "running":
        return {}
    return {"boot_count": guest.spec.boot_count + 1}


def missing(guest: Guest | None) -> Fail | None:
    """Why a host cannot be told now."""
    if guest is None:
        return Fail(Conflict("The server has no guest on any host"))
    return None if guest.host_up else Fail(Conflict("The server's host is down"))


def judge(guest: Guest | None, run: Run, expected: str) -> Wait | Fail | None:
    """What keeps a guest from having arrived: nothing, time, or a failure."""
    if guest is None:
        return Fail(Conflict("The server has no guest on any host"))
    if not guest.host_up:
        return Fail(Conflict("The server's host went down"))
    if not guest.reached():
        return guests.wait_on(guest)
    if guest.error is not None:
        return Fail(Failure(guest.error.message, detail=guest.error.detail))
    power = guest.observed.power if guest.observed else "unknown"
    if power != expected and (expected != "stopped" or power == "running"):
        return Fail(Failure(f"The guest did not stay {'up' if expected == 'running' else expected}: it is {power}"))
    return None
