"""The networks that this host's guests need: documents fetched when they changed, applied in an order that holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Final

from kilonova.kit.log import Logger
from kilonova.node.control import Control
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.port import NetDriver, PortDevice
from kilonova.node.driver.virt.port import NicDevice
from kilonova.node.metadata import MetadataServer
from kilonova.wire.network import NetworkDoc, PortDoc
from kilonova.wire.node import Digest, DocKind, Docs, Fetch, Version

log = Logger(__name__)
CHUNK: Final = 200
REMOVAL: Final = ("port", "address_set", "router", "network")


class Networks:
    """Holds the versions applied, and brings the host to what the control plane says it should hold."""

    def __init__(self, host_id: str, control: Control, net: NetDriver, metadata: MetadataServer) -> None:
        self._host_id = host_id
        self._control = control
        self._net = net
        self._metadata = metadata
        self._held: dict[tuple[DocKind, str], Version] = {}
        self._found: dict[tuple[DocKind, str], Version] = {}
        self._served: set[str] = set()
        self.docs: dict[str, NetworkDoc] = {}
        self._lock = asyncio.Lock()

    @property
    def realised(self) -> bool:
        """Whether this host has real networks at all."""
        return self._net.filters

    def versions(self) -> list[Version]:
        """What is held, for the digest; what exists in an unknown state counts as version 0."""
        return [*self._held.values(), *(v for k, v in self._found.items() if k not in self._held)]

    async def adopt(self) -> None:
        """See what an earlier run left: it is brought to what shall be, or goes."""
        if not self.realised:
            return
        world = await self._net.world()
        kinds: tuple[tuple[DocKind, frozenset[str]], ...] = (
            ("network", world.networks), ("router", world.routers), ("port", world.ports),
        )  # fmt: skip
        self._found = {(k, i): Version(kind=k, id=i, version=0) for k, ids in kinds for i in ids}

    async def plug(self, ports: Iterable[PortDoc]) -> tuple[NicDevice, ...]:
        """Bring up what these ports need, filters in force, and say where their NICs go (nowhere without networks)."""
        ports = tuple(ports)
        if not self.realised:
            return tuple(NicDevice(p.port_id, p.mac, "", "", 1500) for p in ports)
        if any(("network", p.network_id) not in self._held for p in ports):
            answer = await self._control.digest(Digest(host_id=self._host_id, digest=""))
            await self.bring_to(answer.versions)
        devices = [(port, await self._apply_port(port)) for port in ports]
        return tuple(NicDevice(p.port_id, p.mac, d.bridge, d.device, d.mtu) for p, d in devices)

    async def unplug(self, port_ids: Iterable[str]) -> None:
        """Take away what these ports had; their networks go when the control plane no longer lists them."""
        async with self._lock:
            for port_id in port_ids:
                await self._net.remove_port(port_id)
                self._held.pop(("port", port_id), None)
                self._found.pop(("port", port_id), None)

    async def bring_to(self, versions: Iterable[Version]) -> None:
        """Make the host hold exactly these documents."""
        if not self.realised:
            return
        async with self._lock:
            should = {(v.kind, v.id): v for v in versions if v.kind != "guest"}
            wanted = [v for key, v in should.items() if self._held.get(key) != v]
            for start in range(0, len(wanted), CHUNK):
                part = tuple(wanted[start : start + CHUNK])
                docs = await self._control.fetch(Fetch(host_id=self._host_id, wanted=part))
                await self._apply(docs, {(v.kind, v.id): v for v in part})
            gone = [k for k in {**self._held, **self._found} if k not in should]
            left = [key for key in sorted(gone, key=lambda k: REMOVAL.index(k[0])) if not await self._removed(*key)]
            self._found = {k: v for k, v in self._found.items() if k in should and k not in self._held}
            # What could not be removed is in an unknown state: the digest differs, so it is tried again.
            self._found |= {(kind, i): Version(kind=kind, id=i, version=0) for kind, i in left}

    async def _apply(self, docs: Docs, told: dict[tuple[DocKind, str], Version]) -> None:
        """Networks before routers before sets before ports. What fails is not held, so it is tried again."""
        for network in docs.networks:
            await self._attempt(told["network", network.network_id], self._apply_network(network))
        for router in docs.routers:
            await self._attempt(told["router", router.router_id], self._net.apply_router(router))
        for group in docs.address_sets:
            await self._attempt(told["address_set", group.group_id], self._net.apply_address_set(group))
        for port in docs.ports:
            await self._attempt(told["port", port.port_id], self._net.apply_port(port))

    async def _attempt(self, version: Version, applying: Awaitable[object]) -> None:
        key = (version.kind, version.id)
        # Until it is done, whatever ends it, half of it may exist: that is tried again, and goes when nobody wants it.
        self._found[key] = Version(kind=version.kind, id=version.id, version=0)
        try:
            await applying
        except DriverError as error:
            log.warning("a network document could not be applied", kind=version.kind, id=version.id, why=error.message,
                      detail=error.detail)  # fmt: skip
        else:
            self._held[key] = version
            del self._found[key]

    async def _apply_network(self, doc: NetworkDoc) -> None:
        await self._net.apply_network(doc)
        self.docs[doc.network_id] = doc
        if doc.external or doc.network_id in self._served:
            return
        if listening := await self._net.metadata_sockets(doc.network_id):
            self._served.add(doc.network_id)
            await self._metadata.serve(doc.network_id, *listening)

    async def _apply_port(self, port: PortDoc) -> PortDevice:
        key: tuple[DocKind, str] = ("port", port.port_id)
        async with self._lock:
            if key not in self._held:
                # Until a digest has told its version: one that is taken back before that goes too.
                self._found[key] = Version(kind="port", id=port.port_id, version=0)
            return await self._net.apply_port(port)

    async def _removed(self, kind: DocKind, identifier: str) -> bool:
        try:
            await self._remove(kind, identifier)
        except DriverError as error:
            self._held.pop((kind, identifier), None)
            log.warning("what nobody wants any more could not be removed", kind=kind, id=identifier,
                      why=error.message, detail=error.detail)  # fmt: skip
            return False
        return True

    async def _remove(self, kind: DocKind, identifier: str) -> None:
        if kind == "port":
            await self._net.remove_port(identifier)
        elif kind == "address_set":
            await self._net.remove_address_set(identifier)
        elif kind == "router":
            await self._net.remove_router(identifier)
        elif kind == "network":
            if identifier in self._served:
                self._served.discard(identifier)
                await self._metadata.stop(identifier)
            await self._net.remove_network(identifier)
            self.docs.pop(identifier, None)
        self._held.pop((kind, identifier), None)
