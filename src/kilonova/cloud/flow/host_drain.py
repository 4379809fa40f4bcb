"""Moving every server from a host: live where it can be, else cold and confirmed; a few at a time, until none is left
or each that is left has its reason."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping
from copy import deepcopy
from typing import Any, ClassVar, Final

from kilonova.cloud.server import store
from kilonova.cloud.server.action import ServerActions
from kilonova.cloud.server.model import Server
from kilonova.cloud.server.move import ServerMoves
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, Failure, NotFound
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Done, Fail, Next, Run, Sleep, Step

AT_ONCE: Final = 4
TRIES: Final = 3
LIVE: Final = frozenset({"active", "paused"})
COLD: Final = frozenset({"active", "stopped"})


class HostDrain:
    """Frame: `total`; `tries` (how often a server was moved), `cold` (servers to be moved cold and confirmed where they
    have gone: whether that has begun), `failed` (why a server stays). Each move is an operation of its own, as if an
    administrator had asked for it: after a crash what is under way is seen by the servers' phases. A cold one is
    written down before it begins, so that it is known as one to confirm."""

    name: ClassVar[str] = "host_drain"
    deadline: ClassVar[float] = 4 * 3600.0

    def __init__(self, db: Database, moves: ServerMoves, actions: ServerActions, pause: float = 0.5) -> None:
        self._db = db
        self._moves = moves
        self._actions = actions
        self._pause = pause
        self.steps = (Step("leave", self._leave),)

    async def _leave(self, run: Run) -> Next | Sleep | Done | Fail:
        before = deepcopy(run.frame)
        here = await self._db.read(lambda tx: store.on_host(tx, run.subject_id))
        waiting = await self._carry_on(run, {one.id for one in here})
        busy = [one for one in here if "." in one.phase]
        taken = run.frame["failed"].keys() | run.frame["cold"].keys()
        free = [one for one in here if "." not in one.phase and one.id not in taken]
        for one in free[: max(0, AT_ONCE - len(busy) - waiting)]:
            await self._move(run, one)
        if run.frame != before:
            return Next(lambda tx: None, to="leave")
        if busy or free or waiting:
            run.touch()
            return Sleep(self._pause)
        if failed := run.frame["failed"]:
            return Fail(Failure(f"{len(failed)} servers stay: {next(iter(failed.values()))}"))
        return Done()

    async def _carry_on(self, run: Run, here: Collection[str]) -> int:
        """Begin the cold moves that were planned, keep the servers that have arrived; how many are not that far."""
        cold: dict[str, bool] = run.frame["cold"]
        for server_id, begun in list(cold.items()):
            phase = await self._phase(server_id)
            if phase == "resized":
                await self._try(run, server_id, self._actions.confirm(_caller(run), ALL, server_id))
            elif phase == "resized.confirming" or phase.endswith(".resizing"):
                continue
            elif begun or server_id not in here:
                del cold[server_id]
            elif await self._try(run, server_id, self._moves.migrate(_caller(run), ALL, server_id, None)):
                cold[server_id] = True
            else:
                del cold[server_id]
        return len(cold)

    async def _phase(self, server_id: str) -> str:
        try:
            return (await self._db.read(lambda tx: store.get(tx, ALL, server_id))).phase
        except NotFound:
            return ""

    async def _move(self, run: Run, server: Server) -> None:
        tries: dict[str, int] = run.frame["tries"]
        done = tries.get(server.id, 0)
        if server.phase not in LIVE | COLD:
            run.frame["failed"][server.id] = f"{server.name} is {server.phase}: it cannot be moved so"
            return
        if done == TRIES:
            fault: Mapping[str, Any] = server.fault or {}
            run.frame["failed"][server.id] = f"{server.name}: {fault.get('message', 'it came back')}"
            return
        tries[server.id] = done + 1
        live = server.phase in LIVE and not (done == TRIES - 1 and server.phase in COLD)
        if live:
            await self._try(run, server.id, self._moves.live_migrate(_caller(run), ALL, server.id, None))
        else:
            run.frame["cold"][server.id] = False

    async def _try(self, run: Run, server_id: str, work: Awaitable[object]) -> bool:
        """Somebody may be quicker: that is seen at the next look. What can never be is the server's reason to stay."""
        try:
            await work
        except (Conflict, NotFound):
            return False
        except Failure as failure:
            run.frame["failed"][server_id] = failure.message
            return False
        return True

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        """The host stays disabled, and what is left is where it was."""


def _caller(run: Run) -> Context:
    roles = frozenset({"admin"})
    return Context(run.operation.user_id, None, roles, run.request_id, is_admin=True)
