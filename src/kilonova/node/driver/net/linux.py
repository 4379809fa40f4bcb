"""The net port on Linux: bridges, namespaces, nftables and dnsmasq (decision and layout: docs/architecture.md).

The kernel is the only memory: whole ids stand in interface aliases, namespace names and nftables chains. A new process
adopts what it finds and makes each thing equal to its document when that is applied for the first time; later
applications of the same document cost a look. What is applied goes on working without this process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import Final, TypeVar

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net import link, nft
from kilonova.node.driver.net.connection import forget, list_connections, note
from kilonova.node.driver.net.dnsmasq import host_entry, name_entry, option_entry
from kilonova.node.driver.net.filter import named_sets
from kilonova.node.driver.net.forwarding import Forwarding, load_bridge_filter
from kilonova.node.driver.net.judgement import Judgement, is_single, own_addresses, plain, takes_away
from kilonova.node.driver.net.name import Naming, check_id
from kilonova.node.driver.net.namespace import list_namespaces
from kilonova.node.driver.net.network import Bridge, NetworkPlant, ruled_bridges
from kilonova.node.driver.net.port import NetWorld, PortDevice
from kilonova.node.driver.net.router import RouterPlant
from kilonova.node.driver.net.ruleset import BRIDGE, INET, Ruleset
from kilonova.node.driver.offload import offload
from kilonova.wire.network import AddressSetDoc, NetworkDoc, PortDoc, RouterDoc

THREADS: Final = 4
WATCH_SECONDS: Final = 5.0
REPAIR: Final = (NetworkDoc, AddressSetDoc, RouterDoc, PortDoc)
LOG: Final = logging.getLogger(__name__)

T = TypeVar("T")
D = TypeVar("D", NetworkDoc, RouterDoc, PortDoc, AddressSetDoc)


class LinuxNet:
    """Networks of the cloud `cloud_id` (6 hex digits) on this host; needs root, nftables and dnsmasq.

    Files lie in `run_dir/<cloud id>`: they are worthless after a reboot, and dnsmasq reads them as its own user, so
    every directory on the way must be open to all (as /run is). `run_dir` itself keeps a note that all clouds share.
    """

    filters = True

    def __init__(
        self,
        cloud_id: str,
        run_dir: Path = Path("/run/kilonova"),
        *,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._naming = Naming(cloud_id)
        self._ruleset = Ruleset(self._naming)
        self._folder = run_dir / cloud_id
        self._forwarding = Forwarding(run_dir / "forwarding")
        self._plant = NetworkPlant(self._naming, self._ruleset, self._folder, self._forwarding, resolv_conf)
        self._routers = RouterPlant(self._naming, self._ruleset)
        self._pool = ThreadPoolExecutor(THREADS, "net")
        self._lock = asyncio.Lock()
        self._watch_seconds = watch_seconds
        self._watcher: asyncio.Task[None] | None = None
        self._bridges: dict[str, Bridge] = {}
        self._devices: dict[str, str] = {}
        self._ended: set[str] = set()
        self._applied: dict[str, NetworkDoc | RouterDoc | PortDoc | AddressSetDoc] = {}

    async def start(self) -> None:
        """See the port."""
        async with self._lock:
            await self._run(self._adopt)
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(), name="net-watch")

    async def close(self) -> None:
        """See the port."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        self._pool.shutdown(wait=True)

    async def apply_network(self, doc: NetworkDoc) -> None:
        """See the port."""
        async with self._lock:
            await self._run(lambda: self._apply_network(doc))

    async def remove_network(self, network_id: str) -> None:
        """See the port."""
        async with self._lock:
            self._applied.pop(f"network {check_id(network_id)}", None)
            await self._run(lambda: self._remove_network(network_id))
            self._bridges.pop(network_id, None)
            self._ended.discard(network_id)

    def _remove_network(self, network_id: str) -> None:
        """Also one that was never whole: the kernel knows its bridge, whatever was noted here."""
        bridge = self._bridges.get(network_id) or self._plant.bridges().get(network_id)
        self._plant.remove(network_id, bridge)

    async def apply_router(self, doc: RouterDoc) -> None:
        """See the port."""
        async with self._lock:
            await self._run(lambda: self._apply_router(doc))

    async def remove_router(self, router_id: str) -> None:
        """See the port."""
        async with self._lock:
            self._applied.pop(f"router {check_id(router_id)}", None)
            await self._run(lambda: self._routers.remove(router_id))

    async def apply_port(self, doc: PortDoc) -> PortDevice:
        """See the port."""
        async with self._lock:
            return await self._run(lambda: self._apply_port(doc))

    async def remove_port(self, port_id: str) -> None:
        """See the port. A guest's NIC that is still plugged in carries nothing from then on."""
        async with self._lock:
            check_id(port_id)
            await self._run(lambda: self._remove_port(port_id))

    async def apply_address_set(self, doc: AddressSetDoc) -> None:
        """See the port."""
        async with self._lock:
            await self._run(lambda: self._apply_address_set(doc))

    async def remove_address_set(self, group_id: str) -> None:
        """See the port. Raises DriverError while a rule still uses it."""
        async with self._lock:
            self._applied.pop(f"group {check_id(group_id)}", None)
            await self._run(lambda: nft.apply(self._ruleset.no_address_set(group_id)))

    async def metadata_sockets(self, network_id: str) -> tuple[socket, ...]:
        """See the port. Their peers' addresses are the guests' fixed ones, or link-local ones made of their MACs."""
        check_id(network_id)
        return await self._run(lambda: self._plant.metadata_sockets(network_id))

    async def world(self) -> NetWorld:
        """See the port."""
        return await self._run(self._look)

    async def clean(self) -> None:
        """See the port. Host-wide forwarding goes back to what it was when the last cloud leaves."""
        async with self._lock:
            await self._run(self._clean)
            self._bridges, self._devices, self._applied = {}, {}, {}

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await offload(self._pool, work)
        except OSError as error:
            raise DriverError("driver", "the host refused a change of its network", detail=str(error)) from error
        except ValueError as error:
            raise DriverError("driver", "a network document makes no sense", detail=str(error)) from error

    def _adopt(self) -> None:
        if os.geteuid() != 0:
            raise DriverError("driver", "networks need root: run as root, or with --driver fake")
        for tool in ("nft", "dnsmasq"):
            if shutil.which(tool) is None:
                raise DriverError("driver", f"{tool} is not installed: apt-get install nftables dnsmasq-base")
        self._open_folder()
        load_bridge_filter()
        nft.apply(self._ruleset.foundation())
        self._bridges = self._plant.bridges()
        self._devices = self._port_devices()
        self._applied = {}

    def _open_folder(self) -> None:
        for place in (self._folder.parent, self._folder):
            if not place.exists():
                place.mkdir(parents=True)
                place.chmod(0o755)
        for place in (self._folder, *self._folder.parents):
            if not place.stat().st_mode & 0o001:
                raise DriverError("driver", f"dnsmasq, which is not root, must get through {place}: chmod o+x {place}")

    def _apply_network(self, doc: NetworkDoc) -> None:
        key = f"network {check_id(doc.network_id)}"
        bridge = self._bridges.get(doc.network_id)
        if bridge and self._applied.get(key) == doc and self._plant.standing(doc, bridge):
            return
        self._applied.pop(key, None)
        self._bridges[doc.network_id] = self._plant.build(doc)
        self._applied[key] = doc

    def _apply_router(self, doc: RouterDoc) -> None:
        key = f"router {check_id(doc.router_id)}"
        before = self._applied.get(key)
        if before == doc and self._routers.standing(doc):
            return
        self._applied.pop(key, None)
        self._routers.build(doc, self._bridges, before if isinstance(before, RouterDoc) else None)
        self._applied[key] = doc

    def _apply_port(self, doc: PortDoc) -> PortDevice:
        key = f"port {check_id(doc.port_id)}"
        bridge = self._bridges.get(doc.network_id)
        if bridge is None:
            raise DriverError("driver", "the port's network is not on this host yet", retryable=True)
        known = self._devices.get(doc.port_id)
        device = known or self._naming.device("tap", doc.port_id, self._devices.values())
        before = self._applied.get(key)
        if before != doc:
            for group in named_sets(doc):
                check_id(group)
            self._applied.pop(key, None)
            # Filters first: what DHCP cannot be told must not keep a rule that was taken away in force.
            nft.apply(self._ruleset.port(doc, device) + self._ruleset.outside(device, member=bridge.external))
            self._devices[doc.port_id] = device
            # What only adds rules ends nothing; it may let live again what was ended.
            if known and (doc.network_id in self._ended or takes_away(before, doc)):
                self._review(doc.network_id, own_addresses(doc), doc)
            self._plant.set_port(doc.network_id, doc.port_id, (host_entry(doc), name_entry(doc), option_entry(doc)))
            self._applied[key] = doc
        return PortDevice(bridge.name, device, bridge.mtu)

    def _apply_address_set(self, doc: AddressSetDoc) -> None:
        key = f"group {check_id(doc.group_id)}"
        before = self._applied.get(key)
        if before == doc:
            return
        nft.apply(self._ruleset.address_set(doc))
        self._applied[key] = doc
        if isinstance(before, AddressSetDoc):
            try:
                self._review_users(before, doc)
            except DriverError:
                self._applied[key] = before
                raise

    def _review_users(self, before: AddressSetDoc, after: AddressSetDoc) -> None:
        old, new = set(before.addresses), set(after.addresses)
        users = [port for port in self._documents(PortDoc) if after.group_id in named_sets(port)]
        for network_id in {port.network_id for port in users}:
            moved = old ^ new if network_id in self._ended else old - new
            if all(is_single(address) for address in moved):
                self._review(network_id, map(plain, moved))
            else:
                here = [port for port in users if port.network_id == network_id]
                self._review(network_id, [address for port in here for address in own_addresses(port)])

    def _review(self, network_id: str, addresses: Iterable[str], new: PortDoc | None = None) -> None:
        """Have the connections of these addresses go by the rules of now."""
        ports = [port for port in self._documents(PortDoc) if port.network_id == network_id]
        ports += [new] if new else []
        network = self._applied.get(f"network {network_id}")
        judgement = Judgement(
            network if isinstance(network, NetworkDoc) else None, ports, self._documents(AddressSetDoc)
        )
        for found in list_connections(addresses, self._bridges[network_id].zone):
            if found.ended == judgement.allows(found):
                note(found, ended=not found.ended)
                self._ended.add(network_id)

    def _documents(self, kind: type[D]) -> list[D]:
        return [doc for doc in self._applied.values() if isinstance(doc, kind)]

    def _remove_port(self, port_id: str) -> None:
        doc = self._applied.pop(f"port {port_id}", None)
        for network_id in [doc.network_id] if isinstance(doc, PortDoc) else self._bridges:
            self._plant.set_port(network_id, port_id)
        if device := self._devices.get(port_id):
            nft.apply(self._ruleset.no_port(port_id, device))
            del self._devices[port_id]
        if isinstance(doc, PortDoc) and (bridge := self._bridges.get(doc.network_id)):
            # Who gets the address next is not to inherit its connections.
            for found in list_connections(own_addresses(doc), bridge.zone):
                forget(found)

    def _port_devices(self) -> dict[str, str]:
        """Every port's device, from the map of sources."""
        elements = nft.list_elements("bridge", self._naming.table, "map", "source")
        return {verdict["goto"]["target"].removeprefix("source-"): device for device, verdict in elements}

    def _look(self) -> NetWorld:
        namespaces = list_namespaces()
        networks = {found for name in namespaces if (found := self._naming.network_of(name))} | set(
            self._plant.bridges()
        )
        routers = {found for name in namespaces if (found := self._naming.router_of(name))}
        devices = self._port_devices()
        strays = []
        for entry in link.list_links():
            if self._naming.owns(entry.name):
                known = entry.alias.split(" ")[0] in networks | routers or entry.name in devices.values()
                strays += [] if known else [f"interface {entry.name}"]
        for pid, network_id in self._servers():
            strays += [] if network_id in networks else [f"dnsmasq process {pid}"]
        strays += self._stray_rules(networks | devices.keys())
        return NetWorld(frozenset(networks), frozenset(routers), frozenset(devices), tuple(sorted(strays)))

    def _stray_rules(self, known: set[str]) -> list[str]:
        """Tables of our name in families that we do not use, and chains made for what is not here."""
        table = self._naming.table
        strays = [f"table {family} {table}" for family in nft.list_families(table) if family not in (BRIDGE, INET)]
        for family, chain in nft.list_chains(table):
            identifier = chain.partition("-")[2]
            if family in (BRIDGE, INET) and identifier and identifier not in known:
                strays.append(f"chain {chain} in table {family} {table}")
        return strays

    def _servers(self) -> list[tuple[int, str]]:
        """The dnsmasq processes that read a configuration of ours, with the network each belongs to."""
        prefix = f"--conf-file={self._folder}/".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    words = entry.joinpath("cmdline").read_bytes().split(b"\0")
                    found += [
                        (int(entry.name), word[len(prefix) :].split(b"/")[0].decode())
                        for word in words
                        if word.startswith(prefix)
                    ]
        return found

    def _clean(self) -> None:
        # The removals below name these tables, which somebody may have flushed.
        nft.apply(self._ruleset.foundation())
        world = self._look()
        bridges = self._plant.bridges()
        for router_id in world.routers:
            self._routers.remove(router_id)
        for network_id in world.networks:
            self._plant.remove(network_id, bridges.get(network_id))
        for pid, _ in self._servers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for entry in link.list_links():
            if self._naming.owns(entry.name):
                link.remove_link(entry.name)
        self._forwarding.release(self._naming.table)
        nft.apply(self._ruleset.nothing())
        for family in nft.list_families(self._naming.table):
            nft.apply([{"delete": {"table": {"family": family, "name": self._naming.table}}}])
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _watch(self) -> None:
        """Bring back what fell over: a dnsmasq that died, tables that somebody flushed."""
        while True:
            await asyncio.sleep(self._watch_seconds)
            try:
                async with self._lock:
                    await self._run(self._repair)
            except DriverError as error:
                LOG.warning("networks could not be repaired: %s", error.message, extra={"detail": error.detail})

    def _repair(self) -> None:
        bridges = {bridge.name for bridge in self._bridges.values()}
        ruled = ruled_bridges(self._naming.table, "network")
        if not (self._port_devices().keys() >= self._devices.keys() and bridges.issubset(ruled)):
            LOG.warning("packet rules were removed from outside; putting them back")
            nft.apply(self._ruleset.foundation())
            lost, self._applied = self._applied, {}
            for doc in sorted(lost.values(), key=lambda doc: REPAIR.index(type(doc))):
                self._reapply(doc)
        for doc in list(self._applied.values()):
            if isinstance(doc, NetworkDoc):
                self._apply_network(doc)

    def _reapply(self, doc: NetworkDoc | RouterDoc | PortDoc | AddressSetDoc) -> None:
        match doc:
            case NetworkDoc():
                self._apply_network(doc)
            case RouterDoc():
                self._apply_router(doc)
            case PortDoc():
                self._apply_port(doc)
            case AddressSetDoc():
                self._apply_address_set(doc)
