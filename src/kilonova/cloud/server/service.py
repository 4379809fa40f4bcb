"""Commands on servers: each checks the state, moves the row and writes the operation in one transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from kilonova.cloud.quota import store as quota
from kilonova.cloud.server import group_store, guest_store, store
from kilonova.cloud.server.command import Act, Commands, refuse_locked
from kilonova.cloud.server.demand import HERE, charges
from kilonova.cloud.server.model import FlavorCopy, NewServer, RebootKind, Repeat, Server
from kilonova.cloud.server.phase import COPYING, MACHINE
from kilonova.cloud.server.placement import Placement, request_for
from kilonova.core.context import Context, Scope
from kilonova.core.decision import Decision
from kilonova.core.errors import NotFound
from kilonova.core.ids import ec2_id
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import Lock
from kilonova.kit.ops.start import Operations
from kilonova.kit.ops.story import Tale, tales

RESOURCES: Final = ("instances", "cores", "ram")


class ServerService:
    """Servers of a scope: the caller's project, or all for those whom the edge let act on any."""

    def __init__(
        self,
        db: Database,
        operations: Operations,
        placement: Placement,
        new_id: Callable[[], str],
        *,
        soft_delete: bool = False,
    ) -> None:
        self._soft_delete = soft_delete
        self._db = db
        self._operations = operations
        self._placement = placement
        self._new_id = new_id
        self._commands = Commands(db, operations)

    async def recall(self, context: Context, repeat: Repeat) -> list[Server] | None:
        """What this very request made before, None when it is new. Raises Conflict when the key was another's."""
        return await self._db.read(lambda tx: _recall(tx, context, repeat))

    async def create(self, context: Context, new: NewServer, repeat: Repeat | None = None) -> list[Server]:
        """Accept `min_count` to `max_count` servers, as many as the quota allows: one transaction, N operations.

        With a key that was used before for the same request, answers what that one made. Raises QuotaExceeded when
        fewer than `min_count` fit, Conflict when the key belongs to a different request.
        """

        def work(tx: Tx) -> list[Server]:
            project = context.project_id or ""
            if repeat is not None and (before := _recall(tx, context, repeat)) is not None:
                return before
            count = self._affordable(tx, context, new)
            made = self._drafts(tx, context, new, count)
            if repeat is not None:
                store.remember(tx, project, repeat.key, repeat.fingerprint, [s.id for s in made])
            _join(tx, context, new, count)
            quota.charge_each(tx, project, [f"server:{s.id}" for s in made], charges(new.flavor))
            store.add_all(tx, made)
            for server in made:
                self._commands.start(tx, context, server, Act("create", frame=_create_frame(new)))
            return made

        return await self._db.write(work)

    async def delete(self, context: Context, scope: Scope, server_id: str, *, force: bool = False) -> None:
        """Take charge of a server, whatever is being done to it, and have it torn down; once is enough. Where servers
        are put aside first, one at rest is, unless by `force`."""

        def work(tx: Tx) -> None:
            server = store.lock(tx, scope, server_id)
            refuse_locked(context, server)
            if server.phase.endswith(".deleting"):
                return
            if self._soft_delete and not force and self._put_aside(tx, context, server):
                return
            self._operations.supersede(tx, Lock("server", server_id))
            moved = store.move(tx, server, "delete", fence=server.fence + 1)
            copying = server.phase.partition(".")[2] in COPYING
            self._commands.start(tx, context, moved, Act("delete"), {"copying": copying})

        await self._db.write(work)

    def _put_aside(self, tx: Tx, context: Context, server: Server) -> bool:
        """Whether a server is put aside, or has been, instead of being torn down."""
        if server.phase.startswith("soft_deleted") or server.phase.endswith(".soft_deleting"):
            return True
        if server.host_id is None or server.phase not in MACHINE.sources("soft_delete"):
            return False
        self._commands.start(tx, context, store.move(tx, server, "soft_delete"), Act("soft_delete", action="delete"))
        return True

    async def restore(self, context: Context, scope: Scope, server_id: str) -> None:
        """Take a server back that was put aside. Raises Conflict in other states, QuotaExceeded."""

        def prepare(tx: Tx, server: Server) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            quota.charge(tx, server.project_id, HERE + server.id, charges(server.flavor))
            return {}, {}

        await self._commands.act(context, scope, server_id, Act("restore"), prepare)

    async def stop(self, context: Context, scope: Scope, server_id: str) -> None:
        """Shut a server down cleanly, by force after its time-out. Raises Conflict unless it is active or in error."""
        await self._commands.act(context, scope, server_id, Act("stop"))

    async def start(self, context: Context, scope: Scope, server_id: str) -> None:
        """Start a stopped server. Raises Conflict in other states."""
        await self._commands.act(context, scope, server_id, Act("start"))

    async def reboot(self, context: Context, scope: Scope, server_id: str, kind: RebootKind) -> None:
        """Restart: SOFT asks the guest (an active one), HARD pulls the plug (also of a stopped or failed one)."""
        act = Act("reboot" if kind == "SOFT" else "reset", action="reboot", frame={"kind": kind})
        await self._commands.act(context, scope, server_id, act)

    async def rename(self, context: Context, scope: Scope, server_id: str, **values: Any) -> Server:
        """Change name, description, hostname, what a zone pins it to or the addresses that it is told by. `disk_config`
        (AUTO, MANUAL): whether its file system shall grow with its disk, for whoever looks at it."""

        def work(tx: Tx) -> Server:
            changes = dict(values)
            if wanted := changes.pop("disk_config", None):
                image = store.lock(tx, scope, server_id).image
                properties = {**(image.get("properties") or {}), "auto_disk_config": str(wanted == "AUTO").lower()}
                changes["image"] = {**image, "properties": properties}
            return store.edit(tx, scope, server_id, **changes)

        return await self._db.write(work)

    async def change_metadata(
        self, context: Context, scope: Scope, server_id: str, change: Callable[[Mapping[str, str]], Mapping[str, str]]
    ) -> Server:
        """Replace the metadata by what `change` makes of it. Raises QuotaExceeded when it becomes too many items."""

        def work(tx: Tx) -> Server:
            server = store.lock(tx, scope, server_id)
            refuse_locked(context, server)
            items = dict(change(server.metadata))
            limit = quota.uses(tx, server.project_id, ["metadata_items"])["metadata_items"]
            if 0 <= limit.limit < len(items):
                raise quota.exceeded([limit], {"metadata_items": len(items)})
            return store.edit(tx, scope, server_id, metadata=items)

        return await self._db.write(work)

    async def get(self, scope: Scope, server_id: str, *, deleted: bool = False) -> Server:
        """One server, or with `deleted` also one that is gone. Raises NotFound."""
        find = _find if deleted else store.get
        return await self._db.read(lambda tx: find(tx, scope, server_id))

    async def known(self, server_ids: Sequence[str]) -> dict[str, Server]:
        """Servers of all projects by id, living and gone."""
        return await self._db.read(lambda tx: store.known(tx, server_ids))

    async def page(
        self,
        scope: Scope,
        filters: Mapping[str, Any],
        sort: Sequence[tuple[str, bool]] = (("created_at", True),),
        marker: str | None = None,
        limit: int = 1000,
    ) -> list[Server]:
        """One page of live servers (see store.page). Raises NotFound for an unknown marker."""
        return await self._db.read(lambda tx: store.page(tx, scope, filters, sort=sort, marker=marker, limit=limit))

    async def page_deleted(self, scope: Scope, marker: str | None, limit: int, since: int = 0) -> list[Server]:
        """One page of deleted servers, newest first."""
        return await self._db.read(lambda tx: store.page_gone(tx, scope, marker=marker, limit=limit, since=since))

    async def used(self, scope: Scope, start: int, end: int, marker: str | None, limit: int) -> list[Server]:
        """Servers, living and gone, that were there between two moments (µs), by id. Raises NotFound for an unknown
        marker."""
        return await self._db.read(lambda tx: store.used(tx, scope, start, end, marker=marker, limit=limit))

    async def story(self, scope: Scope, server_id: str, request_id: str | None = None) -> list[Tale]:
        """Every operation on a server, living or deleted, newest first. Raises NotFound."""

        def work(tx: Tx) -> list[Tale]:
            _find(tx, scope, server_id)
            return tales(tx, "server", server_id, request_id=request_id)

        return await self._db.read(work)

    async def explain(self, flavor: FlavorCopy, zone: str | None, host: str | None, project_id: str) -> Decision:
        """Where a project's server of this flavor would go now, and why not elsewhere; nothing is claimed."""
        offered = await self._placement.offers(flavor)
        request = request_for(flavor, zone=zone, host=host, exclude=frozenset(), offered=offered)
        request = replace(request, project_id=project_id, specs=flavor.extra_specs)
        return await self._placement.choose(request, fresh=True)

    async def host_of(self, scope: Scope, server_id: str) -> str | None:
        """The host that has the server's guest, None while it has none. Raises NotFound."""

        def work(tx: Tx) -> str | None:
            server = store.get(tx, scope, server_id)
            on = [guest.host_id for guest in guest_store.of_server(tx, server.id)]
            return server.host_id if server.host_id in on else next(iter(on), None)

        return await self._db.read(work)

    def _affordable(self, tx: Tx, context: Context, new: NewServer) -> int:
        """How many of the wanted servers the quota allows; raises QuotaExceeded below the minimum."""
        each = charges(new.flavor)
        uses = quota.uses(tx, context.project_id or "", RESOURCES)
        rooms = {r: u.room for r, u in uses.items()}
        count = new.max_count
        for resource, room in rooms.items():
            if room is not None and each[resource] > 0:
                count = min(count, room // each[resource])
        if count < new.min_count:
            short = [u for r, u in uses.items() if (room := u.room) is not None and room < each[r] * new.min_count]
            raise quota.exceeded(short, {r: n * new.min_count for r, n in each.items()})
        return count

    def _drafts(self, tx: Tx, context: Context, new: NewServer, count: int) -> list[Server]:
        reservation = "r-" + self._new_id().replace("-", "")[:8]
        many = new.max_count > 1
        return [
            self._draft(tx, context, new, f"{new.name}-{i + 1}" if many else new.name, reservation, i)
            for i in range(count)
        ]

    def _draft(self, tx: Tx, context: Context, new: NewServer, name: str, reservation: str, index: int) -> Server:
        identifier = self._new_id()
        while store.ec2_taken(tx, ec2_id("i", identifier)):
            identifier = self._new_id()
        hostname = new.hostname or hostname_of(name) or f"server-{identifier}"
        return Server(
            id=identifier, ec2_id=ec2_id("i", identifier), project_id=context.project_id or "",
            user_id=context.user_id, name=name, description=new.description, hostname=hostname,
            phase="building.scheduling", fence=1, version=1, host_id=None, host_name="", zone="",
            requested_zone=new.zone, flavor=new.flavor, image_id=new.image_id, image=new.image, key=new.key,
            user_data=new.user_data, config_drive=new.config_drive, metadata=dict(new.metadata), nics=(),
            security_groups=new.security_groups, admin_password=new.admin_password, reservation_id=reservation,
            launch_index=index, power="none", fault=None, locked=False, created_at=tx.now, updated_at=tx.now,
            launched_at=0, terminated_at=0, access_ip4=new.access_ip4, access_ip6=new.access_ip6, tags=new.tags,
            group_id=new.group_id, hints=dict(new.hints), files=new.files,
        )  # fmt: skip


def hostname_of(name: str) -> str:
    """A host name from a display name: lower case letters, digits and hyphens, at most 63 (RFC 1123), maybe empty."""
    plain = re.sub(r"[ _.]", "-", name)
    plain = re.sub(r"[^a-z0-9-]", "", plain.lower())
    return re.sub(r"-+", "-", plain)[:63].strip("-")


def _create_frame(new: NewServer) -> dict[str, Any]:
    return {"nics": new.nics, "host": new.host, "exclude": []}


def _join(tx: Tx, context: Context, new: NewServer, count: int) -> None:
    """Raises QuotaExceeded when a group gets too large."""
    if new.group_id is None:
        return
    size = group_store.get(tx, context.scope, new.group_id, lock=True).size + count
    limit = quota.uses(tx, context.project_id or "", ["server_group_members"])["server_group_members"]
    if 0 <= limit.limit < size:
        raise quota.exceeded([limit], {"server_group_members": size})


def _recall(tx: Tx, context: Context, repeat: Repeat) -> list[Server] | None:
    ids = store.recall(tx, context.project_id or "", repeat.key, repeat.fingerprint)
    return None if ids is None else [_find(tx, context.scope, i) for i in ids]


def _find(tx: Tx, scope: Scope, server_id: str) -> Server:
    try:
        return store.get(tx, scope, server_id)
    except NotFound:
        return store.get_gone(tx, scope, server_id)
