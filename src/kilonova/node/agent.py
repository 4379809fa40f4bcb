"""The agent on a host: holds what the control plane wants, keeps guests to it, reports what it sees.

It dials; it is never dialled. It destroys only what it was told is unwanted: an unknown guest of this cloud is left
alone and reported. On a restart it re-adopts what runs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from kilonova.core.errors import Failure, Unavailable
from kilonova.kit.bus import Bus
from kilonova.kit.clock import Clock
from kilonova.kit.log import Logger
from kilonova.node.control import Control
from kilonova.node.driver.block.port import BlockDriver
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.filter import link_local
from kilonova.node.driver.net.port import NetDriver
from kilonova.node.driver.virt.port import Virt
from kilonova.node.journal import Journal
from kilonova.node.keeper import Keeper
from kilonova.node.metadata import MetadataServer
from kilonova.node.network import Networks
from kilonova.node.procedure import Hands, images_in_use
from kilonova.node.question import Questions
from kilonova.wire import PROTOCOL
from kilonova.wire.guest import GuestObservation, GuestSpec
from kilonova.wire.node import (
    Digest,
    Fetch,
    Heartbeat,
    Hello,
    Nudge,
    Report,
    Version,
    digest_of,
)

log = Logger(__name__)
BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Drivers:
    """What this host is made of."""

    virt: Virt
    net: NetDriver
    block: BlockDriver


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a node speaks; seconds."""

    heartbeat: float = 2.0
    digest: float = 10.0
    look: float = 10.0
    keep_images: float = 86400.0
    retry: float = 0.5


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is. `boot_id` is the machine's, `incarnation` this agent's; `booted_at`: when the machine started,
    µs (0: unknown)."""

    host_id: str
    name: str
    boot_id: str
    incarnation: str
    booted_at: int = 0


class Agent:
    """One node."""

    def __init__(
        self,
        identity: Identity,
        drivers: Drivers,
        journal: Journal,
        bus: Bus,
        clock: Clock,
        chance: random.Random,
        *,
        rhythm: Rhythm | None = None,
        parallel: int = 4,
        secret: bytes = b"",
    ) -> None:
        self.identity = identity
        self._drivers = drivers
        self._journal = journal
        self._bus = bus
        self._clock = clock
        self._chance = chance
        self._rhythm = rhythm or Rhythm()
        control = Control(bus)
        self._metadata = MetadataServer(
            self._guest_at,
            network=lambda i: self._networks.docs.get(i),
            secret=secret or None,
            passwords=self,
        )
        self._networks = Networks(identity.host_id, control, drivers.net, self._metadata)
        self._control = control
        self._hands = Hands(
            identity.host_id, identity.boot_id, drivers.virt, drivers.block, self._networks, control, journal, secret
        )
        self._keepers: dict[str, Keeper] = {}
        self._slots = asyncio.Semaphore(parallel)
        self._post_bell = asyncio.Event()
        self._digest_bell = asyncio.Event()
        self._heard = asyncio.Event()
        self._addresses: dict[tuple[str, str], str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stops: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Prepare the drivers, read the journal, present this node, and begin. Raises DriverError when it cannot."""
        await self._drivers.virt.start()
        await self._drivers.net.start()
        await self._networks.adopt()
        await self._drivers.block.start()
        self._journal.open()
        for spec in self._journal.specs.values():
            self._index(spec)
        topic = f"node.{self.identity.host_id}"
        drivers = self._drivers
        questions = Questions(self.identity.host_id, drivers.virt, drivers.net, drivers.block)
        self._stops = [self._bus.listen(topic, self._nudged), self._bus.answer(f"{topic}.ask", questions.answer)]
        self._tasks = [
            asyncio.create_task(work(), name=f"{name}-{self.identity.name}")
            for name, work in (
                ("node", self._live),
                ("reports", self._send_reports),
                ("events", self._follow_events),
                ("look", self._look_round),
            )
        ]

    async def until_heard(self) -> None:
        """Return once the control plane has answered this node's hello: from then on servers can be placed here."""
        await self._heard.wait()

    async def stop(self) -> None:
        """Let go of everything; guests and their networks go on."""
        for stop in self._stops:
            stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(k.stop() for k in self._keepers.values()))
        await self._metadata.close()
        await self._drivers.virt.close()
        await self._drivers.net.close()
        self._journal.close()

    async def _live(self) -> None:
        """Say hello until heard, then keep in touch."""
        while not await self._attempt(self._greet):
            await self._clock.sleep(self._rhythm.retry)
        self._heard.set()
        beat = asyncio.create_task(self._beat(), name=f"heartbeat-{self.identity.name}")
        try:
            while True:
                pause = self._rhythm.digest * self._chance.uniform(0.8, 1.2)
                try:
                    async with asyncio.timeout(pause):
                        await self._digest_bell.wait()
                except TimeoutError:
                    pass
                self._digest_bell.clear()
                await self._attempt(self._compare)
        finally:
            beat.cancel()

    async def _beat(self) -> None:
        while True:
            beat = Heartbeat(host_id=self.identity.host_id, incarnation=self.identity.incarnation)
            self._control.heartbeat(beat)
            await self._clock.sleep(self._rhythm.heartbeat)

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except Unavailable as error:
            log.debug("the control plane does not answer", why=error.message)
            return False
        except (Failure, DriverError) as error:
            log.warning("a node could not do its duty", host=self.identity.name, why=error.message)
            return False
        except Exception:
            log.exception("a node could not do its duty", host=self.identity.name)
            return False
        return True

    async def _greet(self) -> None:
        inventory = await self._drivers.virt.inventory()
        space = await self._drivers.block.space()
        inventory = msgspec.structs.replace(inventory, disk_gb=space.total // 1024**3)
        identity = self.identity
        welcome = await self._control.hello(
            Hello(
                protocol=PROTOCOL,
                host_id=identity.host_id,
                name=identity.name,
                boot_id=identity.boot_id,
                incarnation=identity.incarnation,
                inventory=inventory,
                booted_at=identity.booted_at,
            )
        )
        self._journal.acknowledge(welcome.acked)
        self._post_bell.set()
        for spec in sorted(welcome.guests, key=lambda s: s.power != "absent"):
            self._want(spec)
        for server_id in tuple(self._journal.specs):
            self._keeper(server_id).look()
        self._digest_bell.set()

    def _nudged(self, data: bytes) -> None:
        nudge = msgspec.msgpack.decode(data, type=Nudge)
        for spec in nudge.guests:
            self._want(spec)
        if nudge.versions or not nudge.guests:
            self._digest_bell.set()

    def _want(self, spec: GuestSpec) -> None:
        """Take a spec unless it is older than what is known; lower fences are refused."""
        tomb = self._journal.tombstones.get(spec.server_id)
        known = self._journal.specs.get(spec.server_id)
        if tomb is not None and (spec.fence, spec.version) <= tomb:
            if spec.power == "absent":
                self._post(_gone(spec))
            return
        if known is not None and (spec.fence, spec.version) <= (known.fence, known.version):
            if (spec.fence, spec.version) == (known.fence, known.version):
                self._keeper(spec.server_id).look()
            return
        if known is not None and known.ports and spec.power == "absent":
            # Who clears a guest needs to know what it has; a debt does not say it.
            spec = msgspec.structs.replace(spec, ports=known.ports)
        self._journal.want(spec)
        self._index(spec)
        self._keeper(spec.server_id).want(spec)

    def _keeper(self, server_id: str) -> Keeper:
        keeper = self._keepers.get(server_id)
        if keeper is None:
            keeper = self._keepers[server_id] = Keeper(
                self._hands, self._clock, self._post, self._slots, self._rhythm.retry
            )
            if spec := self._journal.specs.get(server_id):
                keeper.want(spec)
        return keeper

    def _post(self, seen: GuestObservation) -> None:
        self._journal.post(seen)
        if seen.settled and seen.power == "absent":
            spec = self._journal.specs.get(seen.server_id)
            if spec is not None and spec.power == "absent" and spec.fence == seen.fence:
                self._forget(spec)
        self._post_bell.set()

    def _forget(self, spec: GuestSpec) -> None:
        self._journal.bury(spec.server_id, spec.fence, spec.version)
        self._keepers.pop(spec.server_id, None)
        self._addresses = {k: v for k, v in self._addresses.items() if v != spec.server_id}

    async def _send_reports(self) -> None:
        """Hand over what was seen, in order, again until acknowledged."""
        while True:
            await self._post_bell.wait()
            self._post_bell.clear()
            while self._journal.pending:
                numbers = sorted(self._journal.pending)[:BATCH]
                report = Report(
                    host_id=self.identity.host_id,
                    incarnation=self.identity.incarnation,
                    first=numbers[0],
                    observations=tuple(self._journal.pending[n] for n in numbers),
                )
                try:
                    ack = await self._control.report(report)
                    self._journal.acknowledge(ack.acked)
                except Failure:
                    await self._clock.sleep(self._rhythm.retry)
                except Exception:
                    log.exception("a report was not taken", host=self.identity.name)
                    await self._clock.sleep(self._rhythm.retry)

    async def _follow_events(self) -> None:
        """What happens to guests by itself is looked at as soon as it happens."""
        async for event in self._drivers.virt.events():
            if event.server_id in self._journal.specs:
                self._keeper(event.server_id).look()
            elif event.cause in ("started", "resumed", "paused"):
                self._remove_late(event.server_id)

    def _remove_late(self, server_id: str) -> None:
        """A guest that had been on its way here when it was told to be gone has come all the same."""
        if (tomb := self._journal.tombstones.get(server_id)) is not None:
            spec = GuestSpec(server_id=server_id, fence=tomb[0], version=tomb[1], power="absent")
            self._journal.want(spec)
            self._keeper(server_id).look()

    async def _look_round(self) -> None:
        """Events may be lost: now and then every guest's state is compared with what was last seen."""
        while True:
            await self._clock.sleep(self._rhythm.look * self._chance.uniform(0.8, 1.2))
            for server_id in tuple(self._journal.specs):
                keeper = self._keeper(server_id)
                if not keeper.busy:
                    keeper.look()
            await self._attempt(self._evict)

    async def _evict(self) -> None:
        """Images that no guest here needs go after a while."""
        gone = await self._drivers.block.evict(images_in_use(self._journal), self._rhythm.keep_images)
        if gone:
            log.info("unused images were removed from the cache", images=len(gone))

    async def _compare(self) -> None:
        """Ask what should be held, and fetch what differs."""
        held = [
            Version(kind="guest", id=s.server_id, version=s.version, fence=s.fence)
            for s in self._journal.specs.values()
        ]
        if self._networks.realised:
            held += self._networks.versions()
        answer = await self._control.digest(
            Digest(host_id=self.identity.host_id, digest=digest_of(held), networks=self._networks.realised)
        )
        if answer.same:
            return
        mine = {v.id: v for v in held if v.kind == "guest"}
        wanted = tuple(v for v in answer.versions if v.kind == "guest" and mine.get(v.id) != v)
        for start in range(0, len(wanted), BATCH):
            part = wanted[start : start + BATCH]
            docs = await self._control.fetch(Fetch(host_id=self.identity.host_id, wanted=part))
            for spec in docs.guests:
                self._want(spec)
        await self._networks.bring_to(answer.versions)

    def read(self, server_id: str) -> str:
        """The password that a guest told."""
        record = self._journal.records.get(server_id)
        return record.password if record is not None else ""

    def keep(self, server_id: str, text: str) -> bool:
        """Keep what a guest told as its password, once, and report it."""
        record = self._journal.records.get(server_id)
        if record is None or record.password:
            return False
        record.password = text
        self._journal.note(record)
        self._keeper(server_id).look()
        return True

    def _index(self, spec: GuestSpec) -> None:
        for port in spec.ports:
            for address in (*(fixed.address for fixed in port.fixed_ips), link_local(port.mac)):
                self._addresses[port.network_id, address] = spec.server_id

    def _guest_at(self, network_id: str, source: str) -> GuestSpec | None:
        server_id = self._addresses.get((network_id, source))
        return self._journal.specs.get(server_id) if server_id else None


def _gone(spec: GuestSpec) -> GuestObservation:
    return GuestObservation(server_id=spec.server_id, fence=spec.fence, version=spec.version, power="absent")
