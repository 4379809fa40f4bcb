"""The control plane's end of the conversation with nodes (see `wire.node`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Ratio
from kilonova.cloud.server import guest_store
from kilonova.cloud.server.deposit import Deposits
from kilonova.cloud.server.nodes import Nodes
from kilonova.cloud.server.observe import settle
from kilonova.core.errors import Failure
from kilonova.kit.bus import Bus
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database, Tx
from kilonova.kit.log import Logger
from kilonova.kit.ops.start import Operations
from kilonova.wire import PROTOCOL
from kilonova.wire.guest import GuestObservation, GuestSpec
from kilonova.wire.node import (
    Ack,
    DepositChunk,
    Digest,
    DigestAnswer,
    Docs,
    Fetch,
    Heartbeat,
    Hello,
    ImageTicket,
    Nudge,
    Report,
    TicketRequest,
    Version,
    Welcome,
    digest_of,
)

log = Logger(__name__)
Q = TypeVar("Q", bound=msgspec.Struct)
MOST_WANTED: Final = 200


class NetworkDocuments(Protocol):
    """The part of the network service that nodes read."""

    def versions(self, tx: Tx, host_id: str) -> list[Version]: ...

    def documents(self, tx: Tx, host_id: str, wanted: tuple[Version, ...]) -> Docs: ...


Tickets = Callable[[str], Awaitable[ImageTicket]]


class NodeLink:
    """Answers nodes, stores what they report, and notices who has fallen silent."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        clock: Clock,
        operations: Operations,
        networks: NetworkDocuments,
        tickets: Tickets,
        cloud_id: str,
        *,
        ratio: Ratio | None = None,
        zone: str = "nova",
        silence: float = 10.0,
        deposits: Deposits | None = None,
    ) -> None:
        self._db = db
        self._bus = bus
        self._nodes = Nodes(bus)
        self._clock = clock
        self._operations = operations
        self._networks = networks
        self._tickets = tickets
        self._cloud_id = cloud_id
        self._ratio = ratio or Ratio()
        self._zone = zone
        self._silence = silence
        self._deposits = deposits
        self._heard: dict[str, int] = {}
        self._networked: set[str] = set()
        self._stops: list[Callable[[], None]] = []
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer; every host that was up gets one interval to be heard again."""
        now = self._clock.now()
        for host in await self._db.read(hosts.list_all):
            if host.up:
                self._heard[host.id] = now
        answer = self._bus.answer
        self._stops = [
            answer("control.hello", self._answer(Hello, self._hello)),
            answer("control.report", self._answer(Report, self._report)),
            answer("control.digest", self._answer(Digest, self._digest)),
            answer("control.fetch", self._answer(Fetch, self._fetch)),
            answer("control.ticket", self._answer(TicketRequest, self._ticket)),
            self._bus.listen("control.heartbeat", self._heartbeat),
        ]
        if self._deposits is not None:
            self._stops.append(answer("control.deposit", self._answer(DepositChunk, self._deposits.take)))
        self._watch = asyncio.create_task(self._watch_silence(), name="host-watch")

    def tell_of_networks(self, host_ids: Sequence[str]) -> None:
        """What these hosts hold of networks has changed: those that have networks ask at once what they should hold."""
        data = msgspec.msgpack.encode(Nudge())
        for host_id in host_ids:
            if host_id in self._networked:
                self._bus.wake(f"node.{host_id}", data)

    async def stop(self) -> None:
        """Answer no more."""
        for stop in self._stops:
            stop()
        if self._deposits is not None:
            await self._deposits.close()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    def _answer(
        self, kind: type[Q], handle: Callable[[Q], Awaitable[msgspec.Struct]]
    ) -> Callable[[bytes], Awaitable[bytes]]:
        decode = msgspec.msgpack.Decoder(kind).decode
        encode = msgspec.msgpack.Encoder().encode

        async def answer(data: bytes) -> bytes:
            return encode(await handle(decode(data)))

        return answer

    async def _hello(self, hello: Hello) -> Welcome:
        def work(tx: Tx) -> Welcome:
            host = hosts.greet(tx, hello, self._ratio, self._zone)
            owed = [_absent(d.server_id, d.fence) for d in hosts.debts(tx, host.id)]
            specs = [g.spec for g in guest_store.of_host(tx, host.id)]
            return Welcome(protocol=PROTOCOL, cloud_id=self._cloud_id, acked=host.report_seq, guests=(*owed, *specs))

        welcome = await self._db.write(work)
        self._heard[hello.host_id] = self._clock.now()
        log.info("a host is here", host=hello.name, host_id=hello.host_id, guests=len(welcome.guests))
        return welcome

    def _heartbeat(self, data: bytes) -> None:
        self._heard[msgspec.msgpack.decode(data, type=Heartbeat).host_id] = self._clock.now()

    async def _report(self, report: Report) -> Ack:
        last = report.first + len(report.observations) - 1

        def work(tx: Tx) -> int:
            stored = hosts.advance_report(tx, report.host_id, last)
            fresh = report.observations[max(0, stored + 1 - report.first) :]
            self._store(tx, report.host_id, fresh)
            return max(stored, last)

        self._heard[report.host_id] = self._clock.now()
        return Ack(acked=await self._db.write(work))

    def _store(self, tx: Tx, host_id: str, fresh: tuple[GuestObservation, ...]) -> None:
        """Keep observations, settle debts, wake who waits, and let servers follow what nobody asked for."""
        known = [o for o in fresh if guest_store.observe(tx, host_id, o)]
        gone = {o.server_id: o.fence for o in fresh if o.power == "absent"}
        if gone:
            hosts.settle_debts(tx, host_id, gone)
        if known:
            settle(tx, host_id, known, self._nodes)
            self._operations.notify(tx, "guest", [o.server_id for o in known])

    async def _digest(self, digest: Digest) -> DigestAnswer:
        def work(tx: Tx) -> list[Version]:
            held = [
                Version(kind="guest", id=i, version=v, fence=f) for i, v, f in guest_store.versions(tx, digest.host_id)
            ]
            held += [
                Version(kind="guest", id=d.server_id, version=1, fence=d.fence) for d in hosts.debts(tx, digest.host_id)
            ]
            return held + (self._networks.versions(tx, digest.host_id) if digest.networks else [])

        self._heard[digest.host_id] = self._clock.now()
        if digest.networks:
            self._networked.add(digest.host_id)
        versions = await self._db.read(work)
        if digest_of(versions) == digest.digest:
            return DigestAnswer(same=True)
        return DigestAnswer(same=False, versions=tuple(versions))

    async def _fetch(self, fetch: Fetch) -> Docs:
        wanted = fetch.wanted[:MOST_WANTED]
        guests = [v.id for v in wanted if v.kind == "guest"]

        def work(tx: Tx) -> Docs:
            docs = self._networks.documents(tx, fetch.host_id, tuple(v for v in wanted if v.kind != "guest"))
            if not guests:
                return docs
            specs = {g.server_id: g.spec for g in guest_store.of_host(tx, fetch.host_id, guests)}
            for debt in hosts.debts(tx, fetch.host_id):
                specs.setdefault(debt.server_id, _absent(debt.server_id, debt.fence))
            return msgspec.structs.replace(docs, guests=tuple(specs[i] for i in guests if i in specs))

        return await self._db.read(work)

    async def _ticket(self, request: TicketRequest) -> ImageTicket:
        try:
            return await self._tickets(request.image_id)
        except Failure as failure:
            log.warning("no ticket for an image", image=request.image_id, host=request.host_id, why=failure.message)
            return ImageTicket(url="", sha512="", size=0, disk_format=failure.message)

    async def _watch_silence(self) -> None:
        """Hosts that say nothing for too long, or that an operator says are down, are down; hosts heard again are up.
        Only news is written."""
        while True:
            await self._clock.sleep(min(1.0, self._silence / 4))
            try:
                down = await self._db.read(hosts.down)
                limit = self._clock.now() - int(self._silence * 1e6)
                for host_id, heard in tuple(self._heard.items()):
                    silent = heard < limit or down.get(host_id, False)
                    if silent != (host_id in down):
                        await self._judge(host_id, silent)
            except Exception:
                log.exception("a host's state could not be stored")

    async def _judge(self, host_id: str, silent: bool) -> None:
        def work(tx: Tx) -> bool:
            news = hosts.set_up(tx, host_id, not silent)
            if news and silent:
                self._operations.notify(tx, "guest", [s for s, _, _ in guest_store.versions(tx, host_id)])
            return news

        if await self._db.write(work):
            log.warning("a host is down" if silent else "a host is up again", host_id=host_id)


def _absent(server_id: str, fence: int) -> GuestSpec:
    return GuestSpec(server_id=server_id, fence=fence, version=1, power="absent")
