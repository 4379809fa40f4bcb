"""The only place that names concrete classes: from settings to a running cloud."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kilonova.cloud.image.model import NewImage
from kilonova.cloud.image.register import ImageRegister
from kilonova.compose.control import Control
from kilonova.compose.edge import build_app
from kilonova.compose.node import build_agents, check
from kilonova.core.context import Context
from kilonova.core.errors import Unavailable
from kilonova.edge.openstack.keystone import keystone_address
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import metadata, open_database
from kilonova.kit.db.migrate import migrate
from kilonova.kit.http.server import Server
from kilonova.kit.log import Logger
from kilonova.kit.periodic import Periodic
from kilonova.node.agent import Agent
from kilonova.node.driver.failure import DriverError
from kilonova.settings import Settings
from kilonova.state import SignIn, StateDir

log = Logger(__name__)
MIGRATIONS: Final = Path(__file__).parent.parent / "migrations"
GUEST: Final = "kilonova-guest"
HOSTS_SECONDS: Final = 30.0
Tell = Callable[..., None]


class Cloud:
    """A whole cloud in one process."""

    def __init__(self, control: Control, server: Server, tell: Tell) -> None:
        self.control = control
        self._server = server
        self._tell = tell
        self._agents: list[Agent] = []
        self._serving: asyncio.Task[None] | None = None
        self._periodic = Periodic(control.clock)

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self._server.host}]" if ":" in self._server.host else self._server.host
        return self.control.settings.public_url or f"http://{host}:{self._server.port}"

    async def start(self) -> None:
        """From the listener outwards: first it answers, then it works, then it has hosts and the first image."""
        control = self.control
        admin = await control.found()
        self._write_credentials()
        await control.blobs.start()
        await control.feed.start()
        self._serving = asyncio.create_task(self._server.serve(), name="http")
        await self._server.ready.wait()
        await control.link.start()
        await control.herald.start()
        await control.address_book.start()
        await control.notifications.start()
        await control.engine.start()
        for sweep in control.sweeps():
            self._periodic.add(*sweep)
        self._periodic.start()
        image = await self._guest_image()
        await self._start_agents()
        await self._register(admin, image)
        await self._hosts_heard()
        control.complete = True

    async def stop(self) -> None:
        """Take no more requests, hand back what is in hand, let guests be."""
        self._server.stop()
        await self.control.feed.stop()
        if self._serving is not None:
            await self._serving
        await self._periodic.stop()
        await self.control.notifications.stop()
        await self.control.engine.stop()
        await asyncio.gather(*(agent.stop() for agent in self._agents))
        await self.control.herald.stop()
        await self.control.address_book.stop()
        await self.control.link.stop()
        await self.control.bus.close()
        await self.control.uploads.close()
        await self.control.blobs.close()
        await self.control.keypairs.close()
        self.control.passwords.close()
        if self.control.keystone is not None:
            await self.control.keystone.close()
        await self.control.db.close()

    def _write_credentials(self) -> None:
        settings = self.control.settings
        if settings.identity_mode == "own":
            self.control.state.write_credentials(self.url, settings.region)
            return
        names = (
            settings.keystone_user,
            settings.keystone_password,
            settings.keystone_project,
            settings.keystone_domain,
        )
        self.control.state.write_foreign(self.url, SignIn(keystone_address(settings.keystone_url), *names))

    async def _start_agents(self) -> None:
        control = self.control
        agents = await build_agents(
            control.settings, control.state, control.cloud_id, control.bus, control.clock, self._tell
        )
        for agent in agents:
            try:
                await agent.start()
            except DriverError as error:
                raise Unavailable(error.message, detail=error.detail) from error
            self._agents.append(agent)

    async def _hosts_heard(self) -> None:
        """A cloud is ready when its own hosts are: the first server must not find none. `/ready` tells of a host that
        is still away after that."""
        try:
            async with asyncio.timeout(HOSTS_SECONDS):
                for agent in self._agents:
                    await agent.until_heard()
        except TimeoutError:
            self._tell("step", "Some hosts have not answered yet")

    async def _guest_image(self) -> Path:
        """The file of the first image: the one given, the one built before, else a new one (a few bytes on `fake`)."""
        settings = self.control.settings
        if settings.guest_image:
            return Path(settings.guest_image)
        folder = self.control.state.root / "guest"
        folder.mkdir(exist_ok=True)
        if settings.driver == "fake":
            file = folder / "placeholder.raw"
            await asyncio.to_thread(file.write_bytes, b"kilonova placeholder\n")
            return file
        file = folder / f"{GUEST}.qcow2"
        if not file.exists():
            from kilonova.guestimage.build import build as build_image
            from kilonova.guestimage.program import GuestImageError

            self._tell("step", "Building the guest image")
            try:
                await asyncio.to_thread(
                    build_image, file, folder, lambda text, part: self._tell("progress", text, part)
                )
            except GuestImageError as error:
                raise Unavailable(f"The guest image could not be built: {error}") from error
        return file

    async def _register(self, admin: Context, file: Path) -> None:
        disk_format = "qcow2" if file.suffix == ".qcow2" else "raw"
        new = NewImage(name=GUEST, visibility="public", disk_format=disk_format, container_format="bare")
        register = ImageRegister(self.control.images, self.control.uploads)
        _, fresh = await register.register(admin, new, file)
        if fresh:
            self._tell("step", f"Registered the image {GUEST}")


async def build(settings: Settings, state: StateDir, tell: Tell) -> Cloud:
    """Everything, wired, on a database at the present schema; nothing runs yet. Raises Unavailable, Conflict."""
    check(settings)
    cloud_id = state.prepare()
    clock = SystemClock()
    db = await open_database(settings.database or state.database_url(), clock)
    control = Control(settings, state, cloud_id, db, clock)
    done = await migrate(db, metadata, MIGRATIONS)
    if done.startswith("from"):
        tell("step", f"Migrated the database {done}")
    server = Server(build_app(control), settings.host, settings.port)
    return Cloud(control, server, tell)
