"""A whole small cloud behind the Compute API: real services, flows and a simulated host, on SQLite in one process."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from kilonova.cloud.aggregate.service import AggregateService
from kilonova.cloud.audit.service import Audit
from kilonova.cloud.event.feed import Feed
from kilonova.cloud.flavor.service import FlavorService
from kilonova.cloud.flow.address_book import AddressBook
from kilonova.cloud.flow.all_server import server_flows
from kilonova.cloud.flow.host_drain import HostDrain
from kilonova.cloud.host.service import HostService
from kilonova.cloud.image.model import NewImage
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.upload import ImageUpload
from kilonova.cloud.keypair.service import KeypairService
from kilonova.cloud.network import document_store
from kilonova.cloud.network.address import mac_source
from kilonova.cloud.network.bootstrap import bootstrap
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.model import Listing, Port
from kilonova.cloud.network.port_service import NewPort
from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.quota.service import QuotaService
from kilonova.cloud.server import guest_store
from kilonova.cloud.server.action import ServerActions
from kilonova.cloud.server.attendance import Attendance
from kilonova.cloud.server.census import Census
from kilonova.cloud.server.console import Consoles
from kilonova.cloud.server.deposit import Deposits
from kilonova.cloud.server.drain import Drains
from kilonova.cloud.server.group import ServerGroups
from kilonova.cloud.server.imaging import ServerImages
from kilonova.cloud.server.link import NodeLink
from kilonova.cloud.server.move import ServerMoves
from kilonova.cloud.server.nic import ServerNics
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.outside import OutsideEvents
from kilonova.cloud.server.placement import Placement
from kilonova.cloud.server.service import ServerService
from kilonova.cloud.server.usage_audit import UsageAudit
from kilonova.core.context import ALL, Context
from kilonova.core.errors import NotFound, Unauthenticated
from kilonova.core.ids import new_uuid
from kilonova.edge.openstack.compute.policy import RULES
from kilonova.edge.openstack.compute.routes import ComputeServices, build_compute
from kilonova.edge.openstack.policy import Enforcer, Rule
from kilonova.edge.watch.policy import RULES as WATCH_RULES
from kilonova.edge.watch.routes import build_watch
from kilonova.edge.watch.stream import Rhythm as StreamRhythm
from kilonova.edge.watch.stream import Streams
from kilonova.edge.web.console import ConsoleProxy
from kilonova.kit.blob import DirectoryBlobs
from kilonova.kit.bus import LocalBus
from kilonova.kit.clock import SystemClock, VirtualClock
from kilonova.kit.db import Database
from kilonova.kit.http import App, Request
from kilonova.kit.ops.engine import Engine, Pace
from kilonova.kit.ops.start import Operations
from kilonova.node.agent import Agent, Drivers, Identity, Rhythm
from kilonova.node.driver.block.fake import FakeBlock
from kilonova.node.driver.net.fake import FakeNet, FakeWorld
from kilonova.node.driver.virt.fake import FakeVirt
from kilonova.node.journal import Journal
from kilonova.wire.guest import GuestSpec

PROJECTS = {"admin": "a" * 32, "ann": "b" * 32, "eve": "b" * 32, "bob": "c" * 32}
ROLES = {"admin": {"admin", "member", "reader"}, "eve": {"reader"}}
STREAMS = StreamRhythm(keep_alive=0.2, each=3, most=4)
RHYTHM = Rhythm(heartbeat=0.05, digest=0.1, look=0.1, retry=0.02)


def caller(name: str, request_id: str = "req-test") -> Context:
    """ann is a member and eve a reader of one project, bob a member of another."""
    roles = frozenset(ROLES.get(name, {"member", "reader"}))
    return Context(name, PROJECTS[name], roles, request_id, is_admin=name == "admin")


def fault(answer: httpx.Response) -> tuple[int, str]:
    """Status and message of a refusal, which says the same code as it has."""
    (body,) = answer.json().values()
    assert body["code"] == answer.status_code
    return answer.status_code, body["message"]


async def act(client: httpx.AsyncClient, server_id: str, action: str, value: Any = None) -> httpx.Response:
    """Ask for an action."""
    return await client.post(f"/servers/{server_id}/action", json={action: value})


BOOTED = 1_700_000_000 * 1_000_000
"""When the machines of these clouds started, µs."""


AHEAD = 3600 * 1_000_000
"""How much later it is for the usage audit, so that the present hour is over."""


class NameGate:
    """A gate whose tokens are the callers' names."""

    def __init__(self) -> None:
        own = [Rule(name, check) for name, check in WATCH_RULES.items()]
        self._enforcer = Enforcer([*RULES, *own])

    async def authenticate(self, request: Request) -> Context:
        name = request.header("x-auth-token")
        if name not in PROJECTS:
            raise Unauthenticated("no")
        return caller(name, request.request_id)

    def permits(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        return self._enforcer.permits(context, rule, target)


class Site:
    """`await start()`, then ask by `ann`, `bob`, `eve` and `admin`."""

    def __init__(self, db: Database, place: Path, *, soft_delete: bool = False) -> None:
        self.db, self.place, self.clock, bus = db, place, SystemClock(), LocalBus()
        self.bus = bus
        self.ops = Operations(bus, new_uuid)
        self.placement = Placement(db, self.clock, random.Random(1))
        self.servers = ServerService(db, self.ops, self.placement, new_uuid, soft_delete=soft_delete)
        self.nodes = Nodes(bus)
        self.consoles = Consoles(db, self.nodes, lambda: secrets.token_urlsafe(32))
        mac = mac_source(random.Random(1).randbytes)
        self.ground = Ground(db, new_uuid, mac, lambda change: self.address_book.notify(change))
        self.feed = Feed(db, self.clock)
        self.networks = NetworkServices(self.ground)
        self.address_book = AddressBook(db, self.clock, self.networks.allocation, pause=0.02)
        self.blobs = DirectoryBlobs(place / "images", keep_free=0)
        self.images = ImageService(db, self.blobs, self.ops)
        self.uploads = ImageUpload(db, self.blobs, self.clock)
        self.flavors, self.keypairs, self.quotas = FlavorService(db), KeypairService(db), QuotaService(db)
        self.link = NodeLink(db, bus, self.clock, self.ops, document_store, self.images.ticket, "abcdef", silence=60,
                             deposits=Deposits(db, self.uploads))  # fmt: skip
        nics = ServerNics(db, self.ops, self.networks.attachments, 5)
        self.usage_audit = UsageAudit(db, VirtualClock(self.clock.now() + AHEAD), "hour")
        self.services = ComputeServices(
            servers=self.servers, feed=self.feed,
            actions=ServerActions(db, self.ops, self.images, self.networks.allocation),
            imaging=ServerImages(db, self.ops, self.images), moves=ServerMoves(db, self.ops, self.images, self.nodes),
            server_groups=ServerGroups(db, new_uuid),
            consoles=self.consoles,
            attendance=Attendance(db, self.ops, self.nodes, self.clock),
            server_nics=nics,
            outside=OutsideEvents(db, self.nodes, self.networks.attachments, nics, self.address_book.notify),
            usage_audit=self.usage_audit,
            flavors=self.flavors, keypairs=self.keypairs, images=self.images,
            networks=self.networks, quotas=self.quotas, hosts=HostService(db), console=self.console,
            aggregates=AggregateService(db, new_uuid), project_exists=self.project_exists,
        )  # fmt: skip
        gate: Any = NameGate()
        audit = Audit(db, self.nodes, document_store, lambda tx: [], self.clock)
        self.streams = Streams(self.feed, gate, self.clock, STREAMS)
        watch = build_watch(
            self.servers, self.flavors, HostService(db), Census(db), audit, gate, "0", Drains(db, self.ops),
            self.streams,
        )  # fmt: skip
        self.app = App([build_compute(self.services, gate, "abcdef"), watch], sockets=ConsoleProxy(self.consoles))
        self.ann, self.bob, self.eve, self.admin = (self.client(name) for name in ("ann", "bob", "eve", "admin"))
        self.image = self.network = ""
        self.engine: Engine | None = None
        self.agents: list[Agent] = []

    def client(self, token: str, root: str = "/compute/v2.1") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        headers = {"x-auth-token": token, "openstack-api-version": "compute latest"}
        return httpx.AsyncClient(transport=transport, base_url=f"http://cloud{root}", headers=headers)

    async def console(self, server_id: str) -> str:
        return "one\r\n\rtwo\r\nthree\n"

    async def project_exists(self, project_id: str) -> bool:
        return project_id in PROJECTS.values()

    async def add_host(self, name: str, drivers: Drivers | None = None) -> None:
        """A host that is up: a simulated one, or one of these drivers."""
        place = self.place / name
        drivers = drivers or Drivers(
            FakeVirt(state_dir=place / "virt"), FakeNet(world=FakeWorld()), FakeBlock(state_dir=place / "disk")
        )
        identity = Identity(new_uuid(), name, "boot", new_uuid(), BOOTED)
        journal = Journal(place / "journal")
        agent = Agent(identity, drivers, journal, self.bus, self.clock, random.Random(1), rhythm=RHYTHM)
        self.agents.append(agent)
        await agent.start()
        await agent.until_heard()

    async def start(self, *, work: bool = True, hosts: int = 1) -> None:
        """Found the cloud; without `work` no operation is driven, so servers stay as they were asked for."""
        await self.blobs.start()
        await self.feed.start()
        await self.flavors.bootstrap()
        await bootstrap(self.ground, caller("admin"))
        self.image = await self.add_image("guest")
        self.network = (await self.networks.allocation.check(caller("ann"), None, [])).nics[0].network_id
        await self.link.start()
        await self.address_book.start()
        for number in range(1, hosts + 1):
            await self.add_host(f"host{number}")
        if work:
            await self.replace_engine()

    async def replace_engine(self) -> None:
        """Another worker takes over; what the one before was at, it finds in rows."""
        if self.engine is not None:
            await self.engine.stop()
        db, nodes, network = self.db, self.nodes, self.networks.allocation
        flows = server_flows(db, self.placement, network, self.networks.attachments, self.images, nodes)
        flows.append(HostDrain(db, self.services.moves, self.services.actions, pause=0.02))
        pace = Pace(poll=0.05, retry=0.02, retry_longest=0.2, renew=0)
        self.engine = Engine(db, self.bus, self.clock, self.ops, flows, new_uuid(), pace)
        await self.engine.start()

    async def stop(self) -> None:
        for client in (self.ann, self.bob, self.eve, self.admin):
            await client.aclose()
        await self.feed.stop()
        if self.engine is not None:
            await self.engine.stop()
        for agent in self.agents:
            await agent.stop()
        await self.link.stop()
        await self.address_book.stop()
        await self.keypairs.close()
        await self.uploads.close()
        await self.blobs.close()

    async def add_image(self, name: str, data: bytes = bytes(range(256)) * 4096, **values: Any) -> str:
        """A public image, active: of a mebibyte unless it is given."""
        values = {"disk_format": "raw", **values}
        wanted = NewImage(name, container_format="bare", visibility="public", **values)
        image = await self.images.create(caller("admin"), wanted)
        await self.uploads.upload(caller("admin"), image.id, _bytes(data))
        return image.id

    def body(self, **values: Any) -> dict[str, Any]:
        """What asks for a server; a value of None leaves an attribute out."""
        asked = {"name": "web", "imageRef": self.image, "flavorRef": "42", "networks": "auto", **values}
        return {"server": {key: value for key, value in asked.items() if value is not None}}

    async def make(self, client: httpx.AsyncClient | None = None, **values: Any) -> str:
        """A server, at once."""
        answer = await (client or self.ann).post("/servers", json=self.body(**values))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["server"]["id"])

    async def settle(self, server_id: str, seconds: float = 20) -> str:
        """Wait until nothing is being done to a server; its phase, "" when it is gone."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    phase = (await self.servers.get(ALL, server_id)).phase
                except NotFound:
                    return ""
                if "." not in phase:
                    return phase
                await asyncio.sleep(0.01)

    async def show(self, server_id: str) -> dict[str, Any]:
        """A server as an administrator sees it."""
        server: dict[str, Any] = (await self.admin.get(f"/servers/{server_id}")).json()["server"]
        return server

    async def said(self, server_id: str) -> str:
        """What the guest wrote on its console."""
        host = (await self.servers.get(ALL, server_id)).host_id
        return await self.nodes.console(host or "", server_id, 1 << 16)

    async def spec(self, server_id: str) -> GuestSpec:
        """What the server's host shall make of its guest."""
        server = await self.servers.get(ALL, server_id)
        guest = await self.db.read(lambda tx: guest_store.get(tx, server.host_id or "", server_id))
        assert guest is not None
        return guest.spec

    async def ports(self) -> list[Port]:
        """The ports of ann's servers, and those that she made."""
        own = Listing(filters={"project_id": (PROJECTS["ann"],)}, sort=(("id", True),))
        return await self.networks.ports.find(caller("ann"), own)

    async def add_port(self) -> str:
        """A port of ann's on the network that everybody has."""
        return (await self.networks.ports.create(caller("ann"), NewPort(network_id=self.network))).id

    async def limit(self, resource: str, most: int) -> None:
        """What ann's project may have of a resource."""
        await self.quotas.set(PROJECTS["ann"], {resource: most}, force=True)

    async def boot(self, client: httpx.AsyncClient | None = None, **values: Any) -> str:
        """A server that runs."""
        server_id = await self.make(client, **values)
        assert await self.settle(server_id) == "active"
        return server_id


async def _bytes(data: bytes) -> AsyncIterator[bytes]:
    yield data
