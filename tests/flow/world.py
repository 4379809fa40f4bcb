"""A small cloud of two simulated hosts, any part of which can die, be paused or be interfered with."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from image_part import Images, Seen
from sqlalchemy import update
from tapped_host import Host

import kilonova.cloud.flow
from kilonova.cloud.audit.service import Audit
from kilonova.cloud.host import store as hosts
from kilonova.cloud.network import document_store
from kilonova.cloud.network.address import mac_source
from kilonova.cloud.network.bootstrap import bootstrap
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.server import store as servers
from kilonova.cloud.server.action import ServerActions
from kilonova.cloud.server.deposit import Deposits
from kilonova.cloud.server.drain import Drains
from kilonova.cloud.server.imaging import ServerImages
from kilonova.cloud.server.link import NodeLink
from kilonova.cloud.server.model import FlavorCopy, NewServer, Server
from kilonova.cloud.server.move import ServerMoves
from kilonova.cloud.server.nic import ServerNics
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.phase import is_settled
from kilonova.cloud.server.placement import Placement
from kilonova.cloud.server.service import ServerService
from kilonova.core.context import ALL, Context
from kilonova.core.errors import NotFound
from kilonova.core.ids import new_uuid
from kilonova.kit.bus import Bus, LocalBus
from kilonova.kit.bus.faulty import Faults, FaultyBus
from kilonova.kit.bus.port import Answerer
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import Database, Tx, open_database
from kilonova.kit.ops import Operation, Run, Step
from kilonova.kit.ops import store as operations
from kilonova.kit.ops.engine import Engine, Pace
from kilonova.kit.ops.start import Operations
from kilonova.node.agent import Rhythm
from kilonova.wire.node import ImageTicket, Nudge

ADMIN = Context("user", "project", frozenset({"admin"}), "req-test", is_admin=True)
IMAGE = {"image_id": new_uuid(), "name": "image", "sha512": "5" * 128, "size": 7, "disk_format": "qcow2"}
FLAVOR = FlavorCopy(id="1", name="m1.nano", vcpus=1, memory_mb=64, root_gb=1)
PACE = Pace(poll=0.1, retry=0.02, retry_longest=0.2)
RHYTHM = Rhythm(heartbeat=0.1, digest=0.3, look=0.2, retry=0.02)
PATIENCE = 8.0

Tamper = Callable[[str, Step], Step]
Observe = Callable[[str, Operation], None]
Tap = Callable[["Host", str, str], Awaitable[None]]


def flow_classes() -> list[type[Any]]:
    """Every flow there is: each class of the flow folder that has a name and makes steps."""
    found = []
    for module in pkgutil.iter_modules(kilonova.cloud.flow.__path__):
        members = inspect.getmembers(importlib.import_module(f"kilonova.cloud.flow.{module.name}"), inspect.isclass)
        found += [c for _, c in members if c.__module__.endswith(f".{module.name}") and isinstance(_name(c), str)]
    return found


def steps_of(flow: str) -> list[str]:
    cls = next(c for c in flow_classes() if _name(c) == flow)
    return [s.name for s in cls(**dict.fromkeys(_needs(cls))).steps]


def _name(cls: type[Any]) -> str | None:
    return getattr(cls, "name", None) if hasattr(cls, "deadline") else None


def _needs(cls: type[Any]) -> list[str]:
    parameters = inspect.signature(cls).parameters.values()
    return [p.name for p in parameters if p.default is p.empty]


class Life:
    """What a process reaches the others by. While it is not alive, nothing gets out and nothing gets in."""

    def __init__(self, db: Database, bus: Any) -> None:
        self.alive = asyncio.Event()
        self.alive.set()
        self.db, self.bus = db, bus
        self.counts: Any = db.counts

    async def write(self, work: Any) -> Any:
        await self.alive.wait()
        return await self.db.write(work)

    async def read(self, work: Any) -> Any:
        await self.alive.wait()
        return await self.db.read(work)

    async def close(self) -> None:
        """The database is not this process's to close."""

    def wake(self, topic: str, data: bytes = b"") -> None:
        if self.alive.is_set():
            self.bus.wake(topic, data)

    def listen(self, topic: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        stop: Callable[[], None] = self.bus.listen(topic, lambda d: listener(d) if self.alive.is_set() else None)
        return stop

    async def call(self, address: str, data: bytes, timeout: float) -> bytes:
        await self.alive.wait()
        answer: bytes = await self.bus.call(address, data, timeout)
        return answer

    def answer(self, address: str, answerer: Answerer) -> Callable[[], None]:
        stop: Callable[[], None] = self.bus.answer(address, answerer)
        return stop


@dataclass
class Worker:
    """An engine in a process of its own."""

    engine: Engine
    life: Life

    async def kill(self, world: World) -> None:
        """Its process is gone: nothing is handed back, and its time to live has passed."""
        self.life.alive.clear()
        stopping = asyncio.create_task(self.engine.stop())
        await asyncio.sleep(0)
        await world.expire(self.engine.worker_id)
        await asyncio.wait({stopping}, timeout=0.02)
        stopping.cancel()


class World:
    """The whole cloud in one event loop, on a database at `url`."""

    def __init__(
        self,
        url: str,
        place: Path,
        *,
        faults: Faults | None = None,
        seed: int = 1,
        silence: float = 60,
        deaf: bool = False,
    ) -> None:
        self.clock = SystemClock()
        self.seed = seed
        self.quiet_bus = LocalBus()
        self.bus: Bus = _faulty(self.quiet_bus, faults, seed)
        self.calm()
        self.sole = url.startswith("sqlite")
        self.hosts = [Host(self, new_uuid(), place / f"host{i}") for i in range(2)]
        self.rhythm = replace(RHYTHM, digest=0.05) if faults else RHYTHM
        self.workers: list[Worker] = []
        self.prepared = ""
        self._url, self._silence, self._deaf, self._place = url, silence, deaf, place

    async def __aenter__(self) -> World:
        self.db = await open_database(self._url, self.clock)
        # A deaf cloud: workers learn nothing from those who accept requests and reports.
        told = _faulty(self.bus, Faults(lose=1) if self._deaf else None, self.seed)
        self.ops = Operations(told, new_uuid)
        self.images = Images(self.db, self.ops, self.clock, self._place, ADMIN)
        await self.images.blobs.start()
        mac = mac_source(random.Random(self.seed).randbytes)
        ground = Ground(self.db, new_uuid, mac, lambda _: None)  # hosts learn it by their digest
        networks = NetworkServices(ground)
        self.network, self.attachments = networks.allocation, networks.attachments
        self.nodes = Nodes(self.bus)
        self.placement = Placement(self.db, self.clock, random.Random(self.seed))
        self.service = ServerService(self.db, self.ops, self.placement, new_uuid)
        self.aside = ServerService(self.db, self.ops, self.placement, new_uuid, soft_delete=True)
        self.actions = ServerActions(self.db, self.ops, self.images.service, self.network)
        self.nics = ServerNics(self.db, self.ops, self.attachments, 0)
        self.moves = ServerMoves(self.db, self.ops, self.images.service, self.nodes)
        self.drains = Drains(self.db, self.ops)
        self.imaging = ServerImages(self.db, self.ops, self.images.service)
        self.link = NodeLink(
            self.db,
            self.bus,
            self.clock,
            self.ops,
            document_store,
            self._ticket,
            "abcdef",
            silence=self._silence,
            deposits=Deposits(self.db, self.images.uploads),
        )
        await bootstrap(ground, ADMIN)
        await self.link.start()
        bound = lambda tx: [(p, s) for p, s, _ in self.network.bound_servers(tx)]  # noqa: E731
        self.truth = Nodes(self.quiet_bus)
        self.audit = Audit(self.db, self.truth, document_store, bound, self.clock, patience=0.02)
        await asyncio.gather(self.add_worker(), *(h.start() for h in self.hosts))
        await self.until(self._all_up, "hosts up")
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            await worker.kill(self)
        await asyncio.gather(*(h.kill() for h in self.hosts))
        await self.link.stop()
        await self.images.blobs.close()
        await self.db.close()

    def calm(self) -> None:
        """Nobody interferes any more."""
        self.tamper: Tamper = lambda _, step: step
        self.observe: Observe = lambda _, operation: None
        self.tap: Tap | None = None

    async def _all_up(self) -> bool:
        return len([h for h in await self.db.read(hosts.list_all) if h.up]) == len(self.hosts)

    async def add_worker(self) -> Worker:
        """Another worker; on SQLite, where there is one process, it is also the one that accepts requests."""
        life = Life(self.db, self.bus)
        given: dict[str, Any] = {"db": life, "placement": self.placement, "network": self.network, "nodes": Nodes(life)}
        given |= {"images": self.images.service, "attachments": self.attachments}
        given |= {"moves": self.moves, "actions": self.actions}
        given |= {"blobs": self.images.blobs, "source": self.images.source}
        flows = [cls(**{name: given[name] for name in _needs(cls)}) for cls in flow_classes()]
        for flow in flows:
            flow.steps = tuple(replace(s, do=partial(self._do, flow.name, s)) for s in flow.steps)
        ops = self.ops if self.sole else Operations(life, new_uuid)
        pace = replace(PACE, renew=0) if self.sole else replace(PACE, renew=0.2)
        engine = Engine(life, life, self.clock, ops, flows, new_uuid(), pace, lambda p, o: self.observe(p, o))
        await engine.start()
        self.workers.append(worker := Worker(engine, life))
        return worker

    async def _ticket(self, image_id: str) -> ImageTicket:
        if image_id != IMAGE["image_id"]:
            return await self.images.service.ticket(image_id)
        return ImageTicket(url="file:///image", **{k: IMAGE[k] for k in ("sha512", "size", "disk_format")})  # type: ignore[arg-type]

    async def _do(self, flow: str, step: Step, run: Run) -> Any:
        return await self.tamper(flow, step).do(run)

    async def replace_worker(self) -> None:
        """The last worker dies; another one begins."""
        await self.workers[-1].kill(self)
        await self.add_worker()

    async def expire(self, worker_id: str) -> None:
        """Let a worker's time to live pass."""
        old = update(operations.worker).where(operations.worker.c.id == worker_id).values(renewed_at=0)
        await self.db.write(lambda tx: tx.execute(old).rowcount)

    async def boot(self) -> str:
        """A server that runs."""
        server_id = await self.create()
        await self.rest(server_id)
        assert (await self.service.get(ALL, server_id)).phase == "active"
        return server_id

    async def create(self) -> str:
        nics = await self.network.check(ADMIN, None, ())
        frame = {"nics": [{"network_id": n.network_id} for n in nics.nics], "groups": list(nics.groups)}
        new = NewServer(name="one", flavor=FLAVOR, image_id=str(IMAGE["image_id"]), image=IMAGE, nics=frame)
        [server] = await self.service.create(ADMIN, new)
        return server.id

    async def delete(self, server_id: str) -> None:
        """Delete a server, or an image, however gone it is already."""
        try:
            await self.service.delete(ADMIN, ALL, server_id)
        except NotFound:
            await self.images.delete(server_id)

    async def look(self, server_id: str) -> Server | Seen | None:
        """The server, or image; None when it is gone."""
        try:
            return await self.service.get(ALL, server_id)
        except NotFound:
            return await self.images.look(server_id)

    async def rest(self, server_id: str) -> Server | Seen | None:
        """The server, or image, once nothing works on it any more; None when it is gone."""

        async def resting() -> bool:
            live = await self.db.read(operations.live)
            server = await self.look(server_id)
            return not live and (not isinstance(server, Server) or is_settled(server.phase))

        await self.until(resting, "a resting server", server_id)
        return await self.look(server_id)

    def _misplaced(self, tx: Tx) -> list[str]:
        """What a server holds although it is not where that is."""
        phases = servers.ids(tx)
        at = {f"server:{s}": host for s, (_, host) in phases.items()}
        resized = [servers.get(tx, ALL, s) for s, (phase, _) in phases.items() if phase == "resized"]
        at |= {f"move:{one.id}": one.before.host_id for one in resized if one.before}
        claims = [f"claim of {c} on {h}" for h, c in hosts.claims(tx) if at.get(c) != h]
        homeless = {s for s, (phase, _) in phases.items() if phase == "shelved"}
        bound = [(p, s) for p, s, _ in self.network.bound_servers(tx) if s not in homeless]
        ports = [f"port {p} of {s}" for p, s in bound if not at.get(f"server:{s}")]
        return claims + ports

    def hurry(self) -> None:
        """Let every host ask now what it should hold; it would soon by itself."""
        for host in self.hosts:
            self.quiet_bus.wake(f"node.{host.id}", msgspec.msgpack.encode(Nudge()))

    async def clean(self) -> None:
        """Wait until the audit finds nothing and no host owes anything; raise what it finds otherwise."""
        found: list[object] = []

        async def nothing() -> bool:
            found[:] = await self.audit.run()
            found.extend(await self.db.read(hosts.debts))
            found.extend(await self.db.read(operations.locks))
            found.extend(await self.db.read(self._misplaced))
            if found:
                self.hurry()
            return not found

        try:
            await self.until(nothing, "a clean audit")
        except TimeoutError:
            raise AssertionError([str(f) for f in found]) from None

    async def empty(self) -> None:
        """Nothing of any guest is left on any host, and nothing of any image."""

        async def gone() -> bool:
            if not await self.images.empty():
                return False
            worlds = await asyncio.gather(*(self.truth.world(h.id) for h in self.hosts))
            return not any(w.guests or w.disks or w.ports for w in worlds)

        await self.until(gone, "empty hosts")

    async def revive(self) -> None:
        """Hosts that died are back."""
        await asyncio.gather(*(h.start() for h in self.hosts if h.agent is None))

    async def power(self, server_id: str) -> str:
        """What the hypervisor says of the guest where the server is; none may run elsewhere, unless its host is yet to
        hear that it has lost the server."""
        owed = {d.host_id for d in await self.db.read(hosts.debts) if d.server_id == server_id}
        here = await self.host_of(server_id)
        worlds = await asyncio.gather(*(self.truth.world(h.id) for h in self.hosts if h.agent))
        running = [w.host_id for w in worlds if w.guests.get(server_id) == "running" and w.host_id not in owed]
        assert len(running) < 2, f"{server_id} runs on {running}"
        return next((w.guests[server_id] for w in worlds if server_id in w.guests and w.host_id == here), "absent")

    async def wired(self, server_id: str) -> bool:
        """Whether a running guest has the NICs that its server's row and the ports tell of."""
        server = await self.service.get(ALL, server_id)
        ports = await self.network.ports(server_id)
        told = await self.truth.diagnose(server.host_id or "", server_id)
        macs = [nic.mac for nic in told.nics]
        return macs == [port.mac for port in ports] and [nic.mac for nic in server.nics] == macs

    async def boots(self, server_id: str) -> int:
        """How often the guest has booted, by its console."""
        host_id = await self.host_of(server_id) if server_id else None
        if not any(h.id == host_id and h.agent for h in self.hosts):
            return 0
        return (await self.truth.console(host_id or "", server_id, 100_000)).count("READY") if host_id else 0

    async def host_of(self, server_id: str) -> str | None:
        """Where a server is; None for an image, and for a server that is nowhere."""
        try:
            return await self.service.host_of(ALL, server_id)
        except NotFound:
            return None

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str, server_id: str = "") -> None:
        """Wait for something, for a bounded time."""
        try:
            async with asyncio.timeout(PATIENCE):
                pause = 0.003
                while not await holds():
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, 0.03)
        except TimeoutError:
            server = await self.look(server_id) if server_id else None
            story = await self.service.story(ALL, server_id) if isinstance(server, Server) else []
            raise TimeoutError(f"waited in vain for {what}: {server} {story}") from None


def _faulty(bus: Any, faults: Faults | None, seed: int) -> Any:
    return bus if faults is None else FaultyBus(bus, faults, random.Random(seed))


def wrap(flow: str, step: str, around: Callable[[Step, Any], Awaitable[Any]]) -> Tamper:
    """Interfere with one step of one flow: `around(step, run)` is run in its place."""

    def tamper(name: str, original: Step) -> Step:
        if (name, original.name) != (flow, step):
            return original
        return replace(original, do=partial(around, original))

    return tamper
