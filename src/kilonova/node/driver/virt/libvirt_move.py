"""Taking a running guest to another libvirt: its definition as the other host needs it, and the transfer itself.

The other host says with its reception what is its own: paths, bridges, the fence. Everything else of the definition is
what the guest runs with, or its devices would not be where it knows them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import msgspec

from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.domain_xml import NAMESPACE
from kilonova.node.driver.virt.libvirt_failure import explain
from kilonova.node.driver.virt.port import DiskDevice, NicDevice

LOOK_SECONDS: Final = 0.5
STANDSTILL_MS: Final = 3_600_000
STALLED_SECONDS: Final = 20.0
"""Neither memory nor disks have moved for so long: libvirt 9 may wait for ever for a QEMU that was killed there."""
LET_GO_SECONDS: Final = 20.0

T = TypeVar("T")
Call = Callable[[Callable[[Any], T]], Awaitable[T]]


class Reception(msgspec.Struct, frozen=True, kw_only=True):
    """Where a guest is to be sent, and what is the receiving host's own of it: `disks` are paths by target device,
    `nics` (bridge, interface) by MAC address."""

    uri: str
    address: str
    fence: int
    console: str
    serial: str
    disks: dict[str, str]
    nics: dict[str, tuple[str, str]]


def receive(
    uri: str,
    fence: int,
    console: Path,
    serial: Path,
    disks: list[tuple[DiskDevice, str, str]],
    nics: tuple[NicDevice, ...],
) -> Reception:
    """The reception of a host whose libvirt listens at `uri`."""
    paths = {target: str(disk.path) for disk, target, _ in disks}
    plugs = {nic.mac: (nic.bridge, nic.device) for nic in nics if nic.bridge}
    address = uri.partition("://")[2].partition("/")[0].rpartition("@")[2]
    host = address[: address.index("]") + 1] if address.startswith("[") else address.partition(":")[0]
    return Reception(
        uri=uri, address=host, fence=fence, console=str(console), serial=str(serial), disks=paths, nics=plugs
    )


def rewrite(text: str, there: Reception) -> str:
    """A live definition as the receiving host needs it."""
    domain = ElementTree.fromstring(text)  # noqa: S314 (libvirtd's own answer)
    for guest in domain.iter(f"{{{NAMESPACE}}}guest"):
        guest.set("fence", str(there.fence))
    for disk in domain.iterfind("devices/disk"):
        _settle_disk(disk, there)
    for nic in domain.iterfind("devices/interface"):
        _settle_nic(nic, there)
    for log in (*domain.iterfind("devices/serial/log"), *domain.iterfind("devices/console/log")):
        log.set("file", there.console)
    for source in (*domain.iterfind("devices/serial/source"), *domain.iterfind("devices/console/source")):
        source.set("path", there.serial)
    for screen in domain.iterfind("devices/graphics"):
        _settle_screen(screen)
    return ElementTree.tostring(domain, encoding="unicode")


def _settle_disk(disk: Element, there: Reception) -> None:
    target, source = disk.find("target"), disk.find("source")
    path = there.disks.get(target.get("dev", "")) if target is not None else None
    if source is None or path is None:
        return
    source.attrib.clear()
    source.set("file", path)
    for stale in disk.findall("backingStore"):
        disk.remove(stale)


def _settle_screen(screen: Element) -> None:
    """libvirt names the socket there."""
    for element in (screen, *screen.findall("listen")):
        element.attrib.pop("socket", None)


def _settle_nic(nic: Element, there: Reception) -> None:
    mac, source, target = nic.find("mac"), nic.find("source"), nic.find("target")
    plug = there.nics.get(mac.get("address", "")) if mac is not None else None
    if source is None or target is None or plug is None:
        return
    source.set("bridge", plug[0])
    target.set("dev", plug[1])


async def send(
    libvirt: Any, pool: ThreadPoolExecutor, call: Call[Any], reception: str, progress: Callable[[int], None]
) -> None:
    """Send the domain that `call` works on. Cancelled, or when nothing moves any more, it ends the job and waits until
    libvirt has let go. Raises DriverError `stalled` when libvirt does not."""
    there = msgspec.json.decode(reception, type=Reception)
    domain = await call(lambda domain: domain)
    transfer = asyncio.get_running_loop().run_in_executor(pool, _migrate, libvirt, domain, there)
    transfer.add_done_callback(_look_at)
    watch = _Watch(progress)
    try:
        while not (await asyncio.wait({transfer}, timeout=LOOK_SECONDS))[0]:
            if watch.stalls(await _stats(call)):
                await _let_go(call, transfer)
    except asyncio.CancelledError:
        with suppress(DriverError):
            await _let_go(call, transfer)
        raise
    try:
        transfer.result()
    except libvirt.libvirtError as error:
        raise explain(libvirt, error) from error


@dataclass(slots=True)
class _Watch:
    """Tells how far a transfer is, and whether anything has moved lately."""

    progress: Callable[[int], None]
    seen: tuple[object, ...] = ()
    moved_at: float = field(default_factory=monotonic)

    def stalls(self, stats: dict[str, Any]) -> bool:
        total, left = stats.get("data_total", 0), stats.get("data_remaining", 0)
        self.progress(int(100 - 100 * left // total) if total else 0)
        now = (total, left, stats.get("data_processed"), stats.get("memory_iteration"))
        if now != self.seen:
            self.seen, self.moved_at = now, monotonic()
        return monotonic() - self.moved_at > STALLED_SECONDS


async def _let_go(call: Call[Any], transfer: asyncio.Future[None]) -> None:
    await _abort(call)
    if not (await asyncio.wait({transfer}, timeout=LET_GO_SECONDS))[0]:
        raise DriverError("stalled", "The transfer stands still, and the hypervisor does not end it")


def _look_at(transfer: asyncio.Future[None]) -> None:
    """Whoever waited may be gone: the outcome has been seen all the same."""
    if not transfer.cancelled():
        transfer.exception()


def _migrate(libvirt: Any, domain: Any, there: Reception) -> None:
    """One call for memory and disks. It returns when the guest runs there and is not defined here any more, or when it
    goes on here and nothing is left there."""
    text = rewrite(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE), there)
    writable = [target for target in there.disks if target != "hda"]
    given = {
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: text,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: text,
        libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{there.address}",
        libvirt.VIR_MIGRATE_PARAM_DISKS_URI: f"tcp://{there.address}",
        libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: writable,
    }
    flags = (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        | libvirt.VIR_MIGRATE_NON_SHARED_DISK
        | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    )
    domain.migrateToURI3(there.uri, given, flags)


async def hurry(libvirt: Any, call: Call[Any]) -> None:
    """Let the guest stand still for as long as the rest takes."""
    await call(lambda domain: domain.migrateSetMaxDowntime(STANDSTILL_MS, 0))


async def _stats(call: Call[Any]) -> dict[str, Any]:
    """What libvirt says of the job; nothing while it is too busy to."""
    try:
        return dict(await call(lambda domain: domain.jobStats()))
    except DriverError:
        return {}


async def _abort(call: Call[Any]) -> None:
    try:
        await call(lambda domain: domain.abortJob())
    except DriverError:
        # There is no job, or no guest, any more.
        return
