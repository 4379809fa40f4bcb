"""What can be done to a server beside creating, deleting, starting and stopping it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

import msgspec

from kilonova.cloud.host import store as hosts
from kilonova.cloud.placement.demand import takes_something
from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import guest_store, store
from kilonova.cloud.server.command import Act, Commands, insist
from kilonova.cloud.server.demand import HERE, MOVING, charges, growth, shape
from kilonova.cloud.server.model import FlavorCopy, Guest, Server
from kilonova.cloud.server.phase import COPYING, resting
from kilonova.core.context import Context, Scope
from kilonova.core.errors import Conflict, Forbidden, Invalid, NotBuilt
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Lock
from kilonova.kit.ops.start import Operations

Plain = Literal["pause", "unpause", "suspend", "resume"]
Tags = tuple[str, ...]
TAGGED: Final = frozenset({"active", "stopped", "paused", "suspended"})


class Images(Protocol):
    """The part of the image service that a reset needs."""

    def withdraw_unfinished(self, tx: Tx, owner: str, server_id: str) -> None:
        """Forget an owner's images of a server that have no bytes yet, and the cloud's own copies of its disk."""


class Network(Protocol):
    """The part of the network service that a reset needs."""

    def bind(self, tx: Tx, server_id: str, host_id: str | None) -> None:
        """Say on which host a server's ports are; None for nowhere."""


class ServerActions:
    """Commands on servers of a scope; each is one transaction, and an operation does the rest.

    Each raises NotFound, and Conflict when the server is locked or its state does not allow it.
    """

    def __init__(self, db: Database, operations: Operations, images: Images, network: Network) -> None:
        self._db = db
        self._images = images
        self._network = network
        self._operations = operations
        self._commands = Commands(db, operations)

    async def act(self, context: Context, scope: Scope, server_id: str, event: Plain) -> None:
        """Do what needs no further word."""
        await self._commands.act(context, scope, server_id, Act(event))

    async def lock(self, context: Context, scope: Scope, server_id: str, reason: str | None) -> None:
        """Refuse changes by others than administrators until it is unlocked; again changes the reason."""
        by = "admin" if context.is_admin else "owner"

        def work(tx: Tx) -> None:
            server = store.lock(tx, scope, server_id)
            holder = server.locked_by if server.locked_by == "admin" else by
            store.edit(tx, scope, server_id, locked=True, locked_by=holder, locked_reason=reason)

        await self._db.write(work)

    async def unlock(self, context: Context, scope: Scope, server_id: str, *, override: bool) -> None:
        """Allow changes again. Raises Forbidden when an administrator locked it and `override` is not given."""

        def work(tx: Tx) -> None:
            if store.lock(tx, scope, server_id).locked_by == "admin" and not override:
                raise Forbidden("Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override "
                                "to be performed.")  # fmt: skip
            store.edit(tx, scope, server_id, locked=False, locked_by="", locked_reason=None)

        await self._db.write(work)

    async def reset_state(self, scope: Scope, server_id: str, state: Literal["active", "error"]) -> None:
        """Say what a server is, whatever is being done to it: that ends where it stands, and what it held is freed. Its
        guest keeps its power and gets the size that the server has. Raises Conflict for active without a host."""

        def work(tx: Tx) -> None:
            server = store.get(tx, scope, server_id)
            if server.host_id is None and state == "active":
                raise Conflict(f"Instance {server_id} is on no host: unshelve or delete it")
            if server.phase.partition(".")[2] in COPYING:
                self._images.withdraw_unfinished(tx, server.project_id, server_id)
            gone = [HERE + server_id, MOVING + server_id]
            quota.replace(tx, server.project_id, gone, HERE + server_id, charges(server.flavor))
            hosts.release(tx, MOVING + server_id)
            store.move(tx, server, f"set {state}", before=None, **({"fault": None} if state == "active" else {}))
            self._operations.supersede(tx, Lock("server", server_id))
            self._network.bind(tx, server_id, server.host_id)
            for guest in guest_store.of_server(tx, server_id):
                _settle_guest(tx, server, guest)

        await insist(self._db, work, server_id)

    async def rescue(
        self, context: Context, scope: Scope, server_id: str, image: Mapping[str, Any] | None, password: str
    ) -> None:
        """Start a server from `image` (None: the one that it was made from), its own disks beside that."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            return {"admin_password": password}, {"image": dict(image or server.image)}

        await self._commands.act(context, scope, server_id, Act("rescue"), prepare)

    async def unrescue(self, context: Context, scope: Scope, server_id: str) -> None:
        """Start a rescued server from its own disk again."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            found = [g.spec.rescue for g in guest_store.of_server(tx, server.id) if g.spec.rescue]
            return {}, {"image": msgspec.to_builtins(found[0]) if found else server.image}

        await self._commands.act(context, scope, server_id, Act("unrescue"), prepare)

    async def rebuild(
        self,
        context: Context,
        scope: Scope,
        server_id: str,
        values: Mapping[str, Any],
        password: str,
        *,
        preserve_ephemeral: bool = False,
    ) -> Server:
        """Make a server's disk anew. `values` are the columns that it has afterwards (see flow server_rebuild)."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            frame = {"values": dict(values), "preserve_ephemeral": preserve_ephemeral}
            return {"admin_password": password}, {**frame, "stopped": server.phase == "stopped"}

        return await self._commands.act(context, scope, server_id, Act("rebuild"), prepare)

    async def resize(self, context: Context, scope: Scope, server_id: str, flavor: FlavorCopy) -> None:
        """Give a server another flavor, to be confirmed or reverted. Raises Invalid, QuotaExceeded, NotBuilt."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            _refuse_flavor(server.flavor, flavor)
            if more := growth(server.flavor, flavor):
                quota.charge(tx, server.project_id, MOVING + server.id, more)
            mark = f"resize-{server.version}"
            frame = {"flavor": msgspec.to_builtins(flavor), "phase": server.phase, "mark": mark}
            return {}, {**frame, "host": None, "leaves": False}

        await self._commands.act(context, scope, server_id, Act("resize"), prepare)

    async def confirm(self, context: Context, scope: Scope, server_id: str) -> None:
        """Keep a resized server as it is."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            return {}, {"power": server.power, "left": left_host(server)}

        act = Act("confirm", action="confirmResize")
        await self._commands.act(context, scope, server_id, act, prepare)

    async def revert(self, context: Context, scope: Scope, server_id: str) -> None:
        """Make a resized server what it was."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            phase = server.before.phase if server.before else "active"
            return {}, {"phase": phase, "left": left_host(server)}

        act = Act("revert", action="revertResize")
        await self._commands.act(context, scope, server_id, act, prepare)

    async def tag(self, scope: Scope, server_id: str, change: Callable[[Tags], Tags]) -> Server:
        """Replace the tags by what `change` makes of them, each once. Raises Conflict in states that allow none."""

        def work(tx: Tx) -> Server:
            server = store.lock(tx, scope, server_id)
            if resting(server.phase) not in TAGGED:
                raise Conflict(f"Instance {server_id} cannot be tagged while it is {resting(server.phase)}")
            return store.edit(tx, scope, server_id, tags=tuple(dict.fromkeys(change(server.tags))))

        return await self._db.write(work)


def _settle_guest(tx: Tx, server: Server, guest: Guest) -> None:
    """A guest where the server is gets its size; one elsewhere was on its way, or left behind, and becomes a debt."""
    if guest.host_id != server.host_id:
        hosts.add_debt(tx, guest.host_id, server.id, guest.spec.fence + 1)
        guest_store.remove(tx, guest.host_id, server.id)
        return
    kept = {**shape(server.flavor, server.image), "version": guest.spec.version + 1, "mark": "", "restore": ""}
    guest_store.desire(tx, guest.host_id, msgspec.structs.replace(guest.spec, **kept, rescue=None, deposit_to=""))


def left_host(server: Server) -> str:
    """The host that a resized server has left, and that keeps what leads back; empty when it did not leave one."""
    before = server.before
    return before.host_id if before is not None and before.host_id != server.host_id else ""


def _refuse_flavor(old: FlavorCopy, new: FlavorCopy) -> None:
    if old.id == new.id:
        raise Invalid("When resizing, instances must change flavor!")
    if new.root_gb < old.root_gb and old.root_gb:
        raise Invalid("Resize to a flavor with a smaller disk is not allowed.")
    if (old.ephemeral_gb, old.swap_mb) != (new.ephemeral_gb, new.swap_mb):
        raise NotBuilt("Resizing ephemeral and swap disks is not implemented")
    if takes_something(old.extra_specs) or takes_something(new.extra_specs):
        raise NotBuilt("Resizing to or from a flavor that asks for resources beside its shape is not implemented")
