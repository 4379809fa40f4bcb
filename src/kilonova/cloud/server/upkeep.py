"""What happens to servers when nobody decides for long: put aside, they are deleted; resized, they are confirmed."""

from __future__ import annotations

from kilonova.cloud.server import migration_store, store
from kilonova.cloud.server.action import ServerActions
from kilonova.cloud.server.service import ServerService
from kilonova.core.context import ALL, Context
from kilonova.core.errors import Conflict, NotFound
from kilonova.core.ids import new_request_id
from kilonova.kit.clock import SECOND
from kilonova.kit.db import Database
from kilonova.kit.log import Logger

log = Logger(__name__)


class Upkeep:
    """Periodic work on servers. Seconds; 0 means that nothing is decided for anybody."""

    def __init__(
        self, db: Database, servers: ServerService, actions: ServerActions, *, reclaim: int = 0, confirm: int = 0
    ) -> None:
        self._db = db
        self._servers = servers
        self._actions = actions
        self._reclaim = reclaim
        self._confirm = confirm

    async def run(self) -> None:
        """Decide what is due."""
        if self._reclaim:
            due = await self._db.read(lambda tx: store.discarded(tx, tx.now - self._reclaim * SECOND))
            for server_id in due:
                await self._try(server_id, "deleted")
        if self._confirm:
            due = await self._db.read(lambda tx: migration_store.undecided(tx, tx.now - self._confirm * SECOND))
            for server_id in due:
                await self._try(server_id, "confirmed")

    async def _try(self, server_id: str, what: str) -> None:
        """Somebody else may just do something else with it: then that is so."""
        context = Context("kilonova", None, frozenset({"admin"}), new_request_id(), is_admin=True)
        try:
            if what == "deleted":
                await self._servers.delete(context, ALL, server_id, force=True)
            else:
                await self._actions.confirm(context, ALL, server_id)
        except (Conflict, NotFound) as failure:
            log.info("a server was left as it is", server=server_id, why=failure.message)
        else:
            log.info("a server waited for long enough", server=server_id, now=what)
