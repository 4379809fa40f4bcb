"""How each flow is begun, and what must be true when it has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from world import ADMIN, FLAVOR, IMAGE, World, steps_of

from kilonova.cloud.host import store as hosts
from kilonova.cloud.network.model import NicRequest
from kilonova.core.context import ALL
from kilonova.core.errors import Conflict, Failure

Count = Callable[[str, str], None]
LARGER = msgspec.structs.replace(FLAVOR, id="2", name="m1.less", memory_mb=128, root_gb=2)
GONE = "gone"
POWERS = {
    "active": ("running",), "stopped": ("stopped", "crashed"), "paused": ("paused",), "suspended": ("suspended",),
    "rescued": ("running",), "resized": ("running",), "soft_deleted": ("stopped", "crashed"),
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """`prepare` brings a server, or an image, to where the flow starts, `start` starts it; both answer its id.

    `end` and `failed` are the phases after success and after a clean undo; `boots` is how much
    oftener the guest's console tells of a boot.
    `dead_ends` are phases after a failure that cannot be undone. `steps` are those that it takes, if not all.
    `waits`: a host that is down is waited for, since nobody else knows how it stands.
    """

    flow: str
    prepare: Callable[[World], Awaitable[str]]
    start: Callable[[World, str], Awaitable[str]]
    end: str
    failed: str
    boots: int
    dead_ends: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    waits: bool = False

    @property
    def path(self) -> list[str]:
        """The steps in their order."""
        return list(self.steps) or steps_of(self.flow)


async def _nothing(world: World) -> str:
    return ""


async def _create(world: World, _: str) -> str:
    return await world.create()


async def _stopped(world: World) -> str:
    server_id = await _stop(world, await world.boot())
    await world.rest(server_id)
    return server_id


async def _delete(world: World, server_id: str) -> str:
    await world.delete(server_id)
    return server_id


async def _put_aside(world: World, server_id: str) -> str:
    await world.aside.delete(ADMIN, ALL, server_id)
    return server_id


async def _restore(world: World, server_id: str) -> str:
    await world.service.restore(ADMIN, ALL, server_id)
    return server_id


async def _stop(world: World, server_id: str) -> str:
    await world.service.stop(ADMIN, ALL, server_id)
    return server_id


async def _start(world: World, server_id: str) -> str:
    await world.service.start(ADMIN, ALL, server_id)
    return server_id


async def _reboot(world: World, server_id: str) -> str:
    await world.service.reboot(ADMIN, ALL, server_id, "SOFT")
    return server_id


async def _reset(world: World, server_id: str) -> str:
    await world.service.reboot(ADMIN, ALL, server_id, "HARD")
    return server_id


def _act(event: Any) -> Callable[[World, str], Awaitable[str]]:
    async def act(world: World, server_id: str) -> str:
        await world.actions.act(ADMIN, ALL, server_id, event)
        return server_id

    return act


async def _rescue(world: World, server_id: str) -> str:
    await world.actions.rescue(ADMIN, ALL, server_id, None, "secret")
    return server_id


async def _unrescue(world: World, server_id: str) -> str:
    await world.actions.unrescue(ADMIN, ALL, server_id)
    return server_id


async def _rebuild(world: World, server_id: str) -> str:
    values = {"image_id": IMAGE["image_id"], "image": IMAGE, "name": "anew"}
    await world.actions.rebuild(ADMIN, ALL, server_id, values, "secret")
    return server_id


async def _attach(world: World, server_id: str) -> str:
    with suppress(Failure):  # nobody waits for it here
        await world.nics.attach(ADMIN, ALL, server_id, NicRequest())
    return server_id


async def _detach(world: World, server_id: str) -> str:
    *_, last = await world.network.ports(server_id)
    await world.nics.detach(ADMIN, ALL, server_id, last.id)
    return server_id


async def _image(world: World, server_id: str) -> str:
    await world.imaging.create(ADMIN, ALL, server_id, "copy", {})
    return server_id


async def _backup(world: World, server_id: str) -> str:
    await world.imaging.backup(ADMIN, ALL, server_id, "copy", "daily", 1, {})
    return server_id


async def _shelve(world: World, server_id: str) -> str:
    await world.moves.shelve(ADMIN, ALL, server_id)
    return server_id


async def _unshelve(world: World, server_id: str) -> str:
    await world.moves.unshelve(ADMIN, ALL, server_id, None, None)
    return server_id


async def _orphaned(world: World) -> str:
    """A server whose host is down, and is found to be."""
    server_id = await world.boot()
    host_id = await world.host_of(server_id)
    host = next(h for h in world.hosts if h.id == host_id)
    await host.kill()
    await world.db.write(lambda tx: hosts.set_up(tx, host.id, False))
    return server_id


async def _evacuate(world: World, server_id: str) -> str:
    await world.moves.evacuate(ADMIN, ALL, server_id, None, "secret", stopped=False)
    return server_id


async def _resize(world: World, server_id: str) -> str:
    await world.actions.resize(ADMIN, ALL, server_id, LARGER)
    return server_id


async def _migrate(world: World, server_id: str) -> str:
    await world.moves.migrate(ADMIN, ALL, server_id, None)
    return server_id


async def _live_migrate(world: World, server_id: str) -> str:
    await world.moves.live_migrate(ADMIN, ALL, server_id, None)
    return server_id


async def _drain(world: World, server_id: str) -> str:
    with suppress(Conflict):  # its host is down
        await world.drains.start(ADMIN, await world.host_of(server_id) or "")
    return server_id


async def _confirm(world: World, server_id: str) -> str:
    await world.actions.confirm(ADMIN, ALL, server_id)
    return server_id


async def _revert(world: World, server_id: str) -> str:
    await world.actions.revert(ADMIN, ALL, server_id)
    return server_id


def _after(act: Callable[[World, str], Awaitable[str]]) -> Callable[[World], Awaitable[str]]:
    """A server that runs, and has then been done something to."""

    async def prepare(world: World) -> str:
        server_id = await act(world, await world.boot())
        await world.rest(server_id)
        return server_id

    return prepare


async def _staged(world: World) -> str:
    return await world.images.create(staged=True)


async def _queued(world: World) -> str:
    return await world.images.create()


async def _import(world: World, image_id: str) -> str:
    return await world.images.begin(image_id)


STAYS = ("place", "halt", "halted", "seen")
LEFT = ("tell", "cleared")
SCENARIOS = {
    "create": Scenario("server_create", _nothing, _create, "active", "error", 1),
    "delete": Scenario("server_delete", World.boot, _delete, GONE, "error", 0),
    "stop": Scenario("server_stop", World.boot, _stop, "stopped", "active", 0),
    "start": Scenario("server_start", _stopped, _start, "active", "stopped", 1),
    "reboot": Scenario("server_reboot", World.boot, _reboot, "active", "active", 1),
    "reset": Scenario("server_reboot", World.boot, _reset, "active", "active", 1),
    "pause": Scenario("server_pause", World.boot, _act("pause"), "paused", "active", 0),
    "unpause": Scenario("server_unpause", _after(_act("pause")), _act("unpause"), "active", "paused", 0),
    "suspend": Scenario("server_suspend", World.boot, _act("suspend"), "suspended", "active", 0),
    "resume": Scenario("server_resume", _after(_act("suspend")), _act("resume"), "active", "suspended", 0),
    "rescue": Scenario("server_rescue", World.boot, _rescue, "rescued", "active", 1),
    "unrescue": Scenario("server_unrescue", _after(_rescue), _unrescue, "active", "rescued", 1),
    "rebuild": Scenario("server_rebuild", World.boot, _rebuild, "active", "active", 1, ("error",)),
    "attach": Scenario("server_attach_interface", World.boot, _attach, "active", "active", 0),
    "detach": Scenario("server_detach_interface", _after(_attach), _detach, "active", "active", 0),
    "image": Scenario("server_image", World.boot, _image, "active", "active", 0),
    "backup": Scenario("server_backup", _after(_stop), _backup, "stopped", "stopped", 0),
    "soft delete": Scenario("server_soft_delete", World.boot, _put_aside, "soft_deleted", "active", 0),
    "restore": Scenario("server_restore", _after(_put_aside), _restore, "active", "soft_deleted", 1),
    "shelve": Scenario("server_shelve", World.boot, _shelve, "shelved", "active", -1),
    "unshelve": Scenario("server_unshelve", _after(_shelve), _unshelve, "active", "shelved", 1),
    "evacuate": Scenario("server_evacuate", _orphaned, _evacuate, "active", "active", 1, ("error",)),
    "resize": Scenario("server_resize", World.boot, _resize, "resized", "active", 1, steps=STAYS),
    "confirm": Scenario("server_confirm", _after(_resize), _confirm, "active", "resized", 0, steps=("tell", "seen")),
    "revert": Scenario("server_revert", _after(_resize), _revert, "active", "resized", 1),
    "live migrate": Scenario(
        "server_live_migrate", World.boot, _live_migrate, "active", "active", -1, ("error",), waits=True
    ),
    "drain": Scenario("host_drain", World.boot, _drain, "active", "active", -1, ("error",), waits=True),
    "drain cold": Scenario("host_drain", _stopped, _drain, "stopped", "stopped", -1, ("error",), waits=True),
    "migrate": Scenario("server_resize", World.boot, _migrate, "resized", "active", 0),
    "confirm there": Scenario("server_confirm", _after(_migrate), _confirm, "active", "resized", 0, steps=LEFT),
    "revert there": Scenario("server_revert", _after(_migrate), _revert, "active", "resized", 1, ("error",)),
    "import staged": Scenario("image_import", _staged, _import, "image active", "image queued", 0),
    "import from the web": Scenario("image_import", _queued, _import, "image active", "image queued", 0),
}


BETWEEN_HOSTS = ("migrate", "live migrate", "confirm there", "revert there", "unshelve")
"""Those that have to do with two hosts."""


async def check(world: World, server_id: str, allowed: tuple[str, ...]) -> str:
    """The server comes to rest in one of these phases, with a reason if that is `error`; its guest agrees; the audit
    finds nothing. Answers the phase."""
    at = ""
    await world.revive()

    async def agrees() -> bool:
        nonlocal at
        server = await world.rest(server_id)
        at = server.phase if server else GONE
        assert at != "error" or (server and server.fault and server.fault["message"])
        if at not in allowed or (at in POWERS and await world.power(server_id) not in POWERS[at]):
            return False
        return at != "active" or await world.wired(server_id)

    await world.until(agrees, f"one of {allowed}", server_id)
    await world.clean()
    return at


async def finish(world: World, server_id: str) -> None:
    """Whatever became of it, it can be deleted, and nothing is left: no row, no claim, no charge, no guest, no disk."""
    world.calm()
    await world.delete(server_id)
    assert await world.rest(server_id) is None
    await world.clean()
    await world.empty()
