"""The control plane's services, on one database, without edges and without nodes."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from kilonova.cloud.aggregate.service import AggregateService
from kilonova.cloud.audit.service import Audit
from kilonova.cloud.event import store as event_store
from kilonova.cloud.event.feed import Feed
from kilonova.cloud.event.pump import Pump
from kilonova.cloud.flavor.service import FlavorService
from kilonova.cloud.flow.address_book import AddressBook
from kilonova.cloud.flow.all_server import server_flows
from kilonova.cloud.flow.host_drain import HostDrain
from kilonova.cloud.flow.image_import import ImageImport
from kilonova.cloud.host.model import Ratio
from kilonova.cloud.host.service import HostService
from kilonova.cloud.identity.application_credential import ApplicationCredentials
from kilonova.cloud.identity.authenticator import Authenticator
from kilonova.cloud.identity.bootstrap import Founded, found
from kilonova.cloud.identity.catalog import CatalogService
from kilonova.cloud.identity.credential import Credentials
from kilonova.cloud.identity.epoch import Epochs
from kilonova.cloud.identity.guard import Lockout
from kilonova.cloud.identity.key import KeyRing
from kilonova.cloud.identity.limit import Limits
from kilonova.cloud.identity.login import Login
from kilonova.cloud.identity.model import Endpoint
from kilonova.cloud.identity.password import Passwords
from kilonova.cloud.identity.service import Directory
from kilonova.cloud.identity.token import Tokens
from kilonova.cloud.identity.trust import Trusts
from kilonova.cloud.image import store as image_store
from kilonova.cloud.image import task_store
from kilonova.cloud.image.importing import ImageImports
from kilonova.cloud.image.member import ImageMembers
from kilonova.cloud.image.remote import Allowed, WebSource
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.sweep import ImageSweep
from kilonova.cloud.image.upload import ImageUpload
from kilonova.cloud.keypair.service import KeypairService
from kilonova.cloud.metadef.service import MetadefService
from kilonova.cloud.network import document_store
from kilonova.cloud.network.address import mac_source
from kilonova.cloud.network.allocation import Allocation
from kilonova.cloud.network.bootstrap import Layout, bootstrap
from kilonova.cloud.network.ground import Ground
from kilonova.cloud.network.herald import Herald
from kilonova.cloud.network.model import Change
from kilonova.cloud.network.service import NetworkServices
from kilonova.cloud.placement.service import PlacementServices
from kilonova.cloud.quota.model import DEFAULTS, UNLIMITED
from kilonova.cloud.quota.service import QuotaService
from kilonova.cloud.quota.store import set_limit
from kilonova.cloud.server import consumer_store, usage_audit_store
from kilonova.cloud.server import store as server_store
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
from kilonova.cloud.server.upkeep import Upkeep
from kilonova.cloud.server.usage_audit import UsageAudit
from kilonova.compose.address import free_public_cidr
from kilonova.compose.foreign import build_keystone
from kilonova.core.context import ALL, Context
from kilonova.core.errors import NotFound
from kilonova.core.ids import new_request_id, new_uuid
from kilonova.edge.openstack.auth import Known
from kilonova.edge.openstack.compute.notification.notifier import Notifier
from kilonova.kit.blob.directory import DirectoryBlobs
from kilonova.kit.bus import LocalBus
from kilonova.kit.clock import SECOND, Clock
from kilonova.kit.db import Database, Tx
from kilonova.kit.metrics import Metrics
from kilonova.kit.ops.engine import Engine, Pace
from kilonova.kit.ops.start import Operations
from kilonova.kit.ops.store import prune
from kilonova.settings import Settings
from kilonova.state import StateDir

GIB: Final = 1 << 30
CONSOLE_BYTES: Final = 100 * 1024
EVENT_HOURS: Final = 24
EVENTS: Final = 1_000_000
ENDPOINTS: Final = (
    Endpoint("identity", "keystone", "/identity/v3"),
    Endpoint("compute", "nova", "/compute/v2.1"),
    Endpoint("image", "glance", "/image"),
    Endpoint("network", "neutron", "/network"),
    Endpoint("placement", "placement", "/placement"),
)


class Control:
    """The control plane's services on one database, without edges and without nodes."""

    def __init__(self, settings: Settings, state: StateDir, cloud_id: str, db: Database, clock: Clock) -> None:
        self.settings = settings
        self.state = state
        self.cloud_id = cloud_id
        self.db = db
        self.clock = clock
        self.bus = LocalBus()
        self.metrics = Metrics()
        self.feed = Feed(db, clock)
        self.complete = False
        sole = not settings.database
        self._build_identity(sole)
        self._build_nouns()
        self._build_servers(sole)
        self._build_gauges()

    def _build_identity(self, sole: bool) -> None:
        epochs = Epochs(sole=sole)
        tokens = Tokens(KeyRing(self.state.keys))
        self.passwords = Passwords()
        self.credentials = Credentials(self.db, self.clock, KeyRing(self.state.credential_keys))
        lockout = Lockout(self.settings.lockout_failures, self.settings.lockout_seconds)
        self.login = Login(
            self.db, self.clock, tokens, self.passwords, epochs, lifetime=self.settings.token_minutes * 60,
            lockout=lockout, rescope=self.settings.allow_rescope_scoped_token, open_blob=self.credentials.read_blob,
        )  # fmt: skip
        self.authenticator = Authenticator(self.db, self.clock, tokens, epochs)
        self.keystone = build_keystone(self.settings, self.clock)
        self.known: Known = self.keystone or self.authenticator
        days = self.settings.password_days
        self.directory = Directory(self.db, self.passwords, epochs, lockout=lockout, password_days=days)
        self.catalog = CatalogService(self.db, epochs)
        self.applications = ApplicationCredentials(self.db, self.passwords, epochs)
        self.trusts = Trusts(self.db, epochs)
        self.limits = Limits(self.db)

    def _build_nouns(self) -> None:
        keep_free = int(self.settings.low_disk_gb * GIB)
        self.blobs = DirectoryBlobs(self.state.images, keep_free=keep_free)
        self.operations = Operations(self.bus, new_uuid)
        self.images = ImageService(self.db, self.blobs, self.operations)
        self.image_members = ImageMembers(self.db)
        allowed = Allowed.read(self.settings.import_origins, self.settings.import_networks)
        self.image_imports = ImageImports(self.db, self.operations, allowed)
        self.image_source = WebSource(allowed)
        limit = self.settings.max_image_gb * GIB
        self.uploads = ImageUpload(self.db, self.blobs, self.clock, max_bytes=limit)
        self.image_sweep = ImageSweep(self.db, self.blobs)
        self.metadefs = MetadefService(self.db)
        self.flavors = FlavorService(self.db)
        self.keypairs = KeypairService(self.db)
        self.hosts = HostService(self.db, self.settings.zone)
        self.aggregates = AggregateService(self.db, new_uuid, self.settings.zone)
        self.quotas = QuotaService(self.db)
        self.resources = PlacementServices(self.db, consumer_store)
        self.census = Census(self.db)
        self.herald = Herald(self.db, self.clock, lambda host_ids: self.link.tell_of_networks(host_ids))
        self.ground = Ground(self.db, new_uuid, mac_source(os.urandom), self._network_changed)
        self.networks = NetworkServices(self.ground)
        self.address_book = AddressBook(self.db, self.clock, self.networks.allocation)

    def _network_changed(self, change: Change) -> None:
        self.herald.notify(change)
        self.address_book.notify(change)

    def _build_servers(self, sole: bool) -> None:
        chance = random.SystemRandom()
        settings = self.settings
        self.nodes = Nodes(self.bus)
        self.placement = Placement(self.db, self.clock, chance)
        aside = settings.reclaim_seconds > 0
        self.servers = ServerService(self.db, self.operations, self.placement, new_uuid, soft_delete=aside)
        self.server_actions = ServerActions(self.db, self.operations, self.images, self.networks.allocation)
        self.upkeep = Upkeep(
            self.db, self.servers, self.server_actions, reclaim=settings.reclaim_seconds,
            confirm=settings.confirm_seconds,
        )  # fmt: skip
        notifier = Notifier(self.servers, self.bus, self.cloud_id)
        self.notifications = Pump("notification", new_uuid(), self.db, self.feed, self.clock, notifier.take)
        self.server_moves = ServerMoves(self.db, self.operations, self.images, self.nodes)
        self.server_nics = ServerNics(self.db, self.operations, self.networks.attachments)
        self.attendance = Attendance(self.db, self.operations, self.nodes, self.clock)
        self.consoles = Consoles(self.db, self.nodes, lambda: secrets.token_urlsafe(32))
        attachments = self.networks.attachments
        self.outside = OutsideEvents(self.db, self.nodes, attachments, self.server_nics, self.address_book.notify)
        self.usage_audit = UsageAudit(self.db, self.clock)
        self.drains = Drains(self.db, self.operations)
        self.server_groups = ServerGroups(self.db, new_uuid)
        self.server_images = ServerImages(self.db, self.operations, self.images)
        ratio = Ratio(settings.cpu_ratio, settings.memory_ratio, settings.disk_ratio)
        self.link = NodeLink(
            self.db, self.bus, self.clock, self.operations, document_store, self.images.ticket,
            self.cloud_id, ratio=ratio, zone=settings.zone, deposits=Deposits(self.db, self.uploads),
        )  # fmt: skip
        allocation = self.networks.allocation
        flows = (
            *server_flows(self.db, self.placement, allocation, self.networks.attachments, self.images, self.nodes),
            HostDrain(self.db, self.server_moves, self.server_actions),
            ImageImport(self.db, self.blobs, self.image_source, settings.max_image_gb * GIB),
        )
        pace = Pace(renew=0) if sole else Pace()
        self.engine = Engine(self.db, self.bus, self.clock, self.operations, flows, new_uuid(), pace)
        self.audit = Audit(self.db, self.nodes, document_store, _bound(allocation), self.clock)

    def _build_gauges(self) -> None:
        """What the database and the bus have done since the start, and what is in hand."""
        gauge = self.metrics.gauge
        for name in ("reads", "writes", "statements", "commits", "retries"):
            gauge(f"kilonova_database_{name}", f"Database {name} since the start", _reader(self.db.counts, name))
        for name in ("wakes", "calls"):
            gauge(f"kilonova_bus_{name}", f"Messages ({name}) since the start", _reader(self.bus.counts, name))
        gauge("kilonova_event_watchers", "Streams and waits for events now", lambda: self.feed.watchers)
        gauge("kilonova_operations_in_hand", "Operations that this worker drives", lambda: self.engine.load)

    async def found(self) -> Context:
        """Whatever a cloud starts with, made if absent; answers the administrator."""
        passwords = [self.state.password(user) for user in ("admin", "demo")]
        founded = await found(self.db, self.passwords, passwords[0], passwords[1])
        await self.catalog.found(ENDPOINTS, self.settings.region)
        admin = _administrator(founded)
        await self.flavors.bootstrap()
        await self.metadefs.bootstrap()
        layout = Layout(self.settings.public_cidr or free_public_cidr(self.state), self.settings.private_cidr)
        await bootstrap(self.ground, admin, layout)
        if founded.is_new:
            await self.db.write(lambda tx: _unlimit(tx, founded.admin_project_id))
        return admin

    def sweeps(self) -> list[tuple[str, float, Callable[[], Awaitable[object]]]]:
        """What must always become true: (name, seconds, work)."""
        return [
            ("images", 60.0, self.image_sweep.sweep),
            ("servers", 10.0, self.upkeep.run),
            ("consoles", 600.0, self.consoles.sweep),
            ("events", 60.0, self._forget_events),
            ("usage audit", 60.0, self.usage_audit.run),
            ("history", 3600.0, self._forget_old),
        ]

    async def _forget_events(self) -> None:
        def work(tx: Tx) -> int:
            return event_store.forget(tx, tx.now - EVENT_HOURS * 3600 * SECOND, EVENTS)

        while await self.db.write(work):
            await self.clock.sleep(0.05)

    async def _forget_old(self) -> None:
        """Drop what history need not hold any longer, a little at a time."""
        days = self.settings.history_days

        def work(tx: Tx) -> int:
            before = tx.now - days * 86400 * SECOND
            forgetters = (prune, server_store.forget, image_store.forget, task_store.forget, usage_audit_store.forget)
            return sum(forget(tx, before) for forget in forgetters)

        while await self.db.write(work):
            await self.clock.sleep(0.1)

    async def missing(self) -> Mapping[str, str]:
        """Why this cloud cannot work now, by part; empty when it can."""
        if not self.complete:
            return {"start": "the cloud is still starting"}
        hosts = await self.hosts.list()
        return {} if any(h.host.up and h.host.enabled for h in hosts) else {"hosts": "no host is up"}

    async def project_exists(self, project_id: str) -> bool:
        """Whether identity knows this project."""
        if self.keystone is not None:
            return await self.keystone.project_exists(project_id)
        try:
            await self.directory.show("project", project_id)
        except NotFound:
            return False
        return True

    async def console(self, server_id: str) -> str:
        """All that is kept of what a server wrote on its console. Raises NotFound, Unavailable."""
        host_id = await self.servers.host_of(ALL, server_id)
        if host_id is None:
            raise NotFound("Guest does not have a console available.")
        return await self.nodes.console(host_id, server_id, CONSOLE_BYTES)


def _reader(counts: object, name: str) -> Callable[[], float]:
    return lambda: float(getattr(counts, name))


def _bound(allocation: Allocation) -> Callable[[Tx], list[tuple[str, str]]]:
    return lambda tx: [(port_id, server_id) for port_id, server_id, _ in allocation.bound_servers(tx)]


def _administrator(founded: Founded) -> Context:
    return Context(
        user_id=founded.admin_user_id,
        project_id=founded.admin_project_id,
        roles=frozenset({"admin", "manager", "member", "reader"}),
        request_id=new_request_id(),
        user_name="admin",
        project_name="admin",
        is_admin=True,
    )


def _unlimit(tx: Tx, project_id: str) -> None:
    for resource in DEFAULTS:
        set_limit(tx, project_id, resource, UNLIMITED)
