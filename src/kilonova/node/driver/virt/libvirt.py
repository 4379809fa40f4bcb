"""Guests on QEMU through libvirt (`qemu:///system`).

A guest is a persistent domain `kn-CLOUD-SERVER` whose UUID is the server's. What lacks that name or our metadata is
somebody else's and is never touched.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from kilonova import __version__
from kilonova.kit.log import Logger
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt import console_log, domain_xml, libvirt_attend, libvirt_copy, libvirt_move
from kilonova.node.driver.virt.domain_xml import Accelerator, Host, console_path, name_disks
from kilonova.node.driver.virt.event import EventHub
from kilonova.node.driver.virt.libvirt_connection import LibvirtConnection, load_libvirt
from kilonova.node.driver.virt.libvirt_domain import (
    describe,
    describe_cpu,
    find,
    is_off,
    owner_of,
    power_off_action,
    translate,
    undefine_flags,
)
from kilonova.node.driver.virt.port import DiskDevice, GuestState, NicDevice, PowerEvent
from kilonova.wire.guest import GuestSpec
from kilonova.wire.node import ConsoleKind, Diagnostics, Inventory

T = TypeVar("T")

_ASK_AGAIN_SECONDS = 4.0
_SAME_RESET_SECONDS = 0.5
_OFF = frozenset({"shutdown", "destroyed", "crashed"})
_REBOOTED = frozenset({"rebooted"})
_AGENT_ATTEMPTS = 2
_QEMU_LOGS = Path("/var/log/libvirt/qemu")
"""Where libvirt has each QEMU process write what it has to say; nobody else ever removes them."""
_OVERHEAD_MB = {"tcg": 64 + domain_xml.TRANSLATION_CACHE_MB, "kvm": 64}
"""What a QEMU process costs beside its guest's memory (measured: 231 MiB resident for a guest of 128 MiB under TCG)."""

log = Logger(__name__)


class LibvirtVirt:
    """`state_dir` holds console logs, `run_dir` sockets (their paths must be short). `listens_at` is the address of
    this host's libvirt for other hosts, empty if it has none. `accelerator` is what `accelerator.probe` found. Reserved
    memory and CPUs are the host's own and not offered to guests.
    """

    def __init__(
        self,
        cloud_id: str,
        state_dir: Path,
        accelerator: Accelerator,
        *,
        uri: str = "qemu:///system",
        reserved_memory_mb: int = 512,
        reserved_vcpus: int = 0,
        listens_at: str = "",
        run_dir: Path = Path("/run/kilonova"),
    ) -> None:
        self._listens_at = listens_at
        self._cloud_id = cloud_id
        place = hashlib.sha256(str(state_dir).encode()).hexdigest()[:8]
        run = run_dir / cloud_id / f"serial-{place}"
        self._host = Host(cloud_id, accelerator, state_dir / "console", __version__, run)
        self._reserved = (reserved_vcpus, reserved_memory_mb)
        self._hub = EventHub()
        self._reset_at: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._libvirt: Any = None
        self._connection = LibvirtConnection(uri, self._prepare)
        # An agent may take a minute not to answer: its calls must not starve the others.
        self._agents = ThreadPoolExecutor(4, thread_name_prefix="guest-agent")
        self._transfers = ThreadPoolExecutor(4, thread_name_prefix="transfer")

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._libvirt = load_libvirt()
        try:
            self._host.console_directory.mkdir(parents=True, exist_ok=True)
            self._host.run_directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DriverError("driver", f"Cannot make {self._host.console_directory}.", detail=str(error)) from error
        await self._connection.open()

    async def close(self) -> None:
        self._hub.close()
        for pool in (self._agents, self._transfers):
            pool.shutdown(wait=False, cancel_futures=True)
        await self._connection.close()

    async def inventory(self) -> Inventory:
        def work(connection: Any) -> Inventory:
            # virNodeGetInfo leaves out memory that was added while the host ran.
            memory_mb = connection.getMemoryStats(self._libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)["total"] // 1024
            _, _, cpus = connection.getCPUMap()
            reserved_vcpus, reserved_memory_mb = self._reserved
            return Inventory(
                vcpus=max(0, cpus - reserved_vcpus),
                memory_mb=max(0, memory_mb - reserved_memory_mb),
                disk_gb=0,
                memory_overhead_mb=_OVERHEAD_MB[self._host.accelerator],
                hypervisor_type=connection.getType(),
                hypervisor_version=connection.getVersion(),
                cpu_info=describe_cpu(connection.getCapabilities()),
                capabilities={
                    "kvm": self._host.accelerator == "kvm",
                    "soft_reboot": True,
                    "console_output": True,
                },
            )

        return await self._connection.call(work)

    async def define(self, spec: GuestSpec, disks: tuple[DiskDevice, ...], nics: tuple[NicDevice, ...]) -> None:
        text = domain_xml.build(self._host, spec, disks, nics)
        await self._connection.call(lambda connection: connection.defineXML(text))

    async def power_on(self, server_id: str) -> None:
        def work(domain: Any) -> None:
            state, _ = domain.state()
            if state == self._libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()
            elif is_off(self._libvirt, state):
                domain.create()

        await self._with(server_id, work)

    async def pause(self, server_id: str) -> None:
        def work(domain: Any) -> None:
            if domain.state()[0] != self._libvirt.VIR_DOMAIN_PAUSED:
                domain.suspend()

        await self._with(server_id, work)

    async def suspend(self, server_id: str) -> None:
        """As libvirt's managed save: the next start goes on from it."""

        def work(domain: Any) -> None:
            if domain.isActive():
                domain.managedSave(self._libvirt.VIR_DOMAIN_SAVE_RUNNING)
            elif not domain.hasManagedSaveImage():
                raise DriverError("not_running", "The guest does not run.")

        await self._with(server_id, work)

    async def shutdown(self, server_id: str, timeout: float) -> bool:
        """By the power button (ACPI), pressed again every few seconds since a guest that still boots does not hear it;
        from the second time also by the guest agent where one is connected.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        with self._hub.watch(server_id) as watch:
            for attempt in itertools.count():
                if await self._is_off(server_id):
                    return True
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    return False
                await self._with(server_id, self._press_power_button)
                if attempt > 0:
                    await self._tell_agent(server_id, "shutdown")
                await watch.wait(_OFF, min(left, _ASK_AGAIN_SECONDS))
        raise AssertionError("unreachable")

    async def power_off(self, server_id: str) -> None:
        def work(connection: Any) -> None:
            domain = find(self._libvirt, connection, self._cloud_id, server_id)
            if domain is None:
                return
            if not domain.isActive():
                if domain.hasManagedSaveImage():
                    domain.managedSaveRemove()
                return
            try:
                domain.destroy()
            except self._libvirt.libvirtError:
                # It may have ended by itself meanwhile, which is what was asked for.
                if domain.isActive():
                    raise

        await self._connection.call(work)

    async def reboot_soft(self, server_id: str, timeout: float) -> bool:
        """By the guest agent where one is connected, then by the power button: libvirt resets the machine once the
        guest has powered off. The same QEMU process goes on, so `start` stays.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        with self._hub.watch(server_id) as watch:
            try:
                for attempt in itertools.count():
                    left = deadline - asyncio.get_running_loop().time()
                    if left <= 0 or await self._is_off(server_id, must_exist=True):
                        return False
                    if attempt >= _AGENT_ATTEMPTS or not await self._tell_agent(server_id, "reboot"):
                        await self._with(server_id, self._press_reset_after_power_off)
                    if await watch.wait(_REBOOTED, min(left, _ASK_AGAIN_SECONDS)):
                        return True
            finally:
                # Also when cancelled: a guest that powers itself off later must stay off.
                await asyncio.shield(self._take_back_reset(server_id))
        raise AssertionError("unreachable")

    async def undefine(self, server_id: str) -> None:
        def work(connection: Any) -> None:
            domain = find(self._libvirt, connection, self._cloud_id, server_id)
            if domain is not None:
                if domain.isActive():
                    raise DriverError("running", "The guest is running.")
                domain.undefineFlags(undefine_flags(self._libvirt))
            console_log.remove(console_path(self._host.console_directory, server_id))
            domain_xml.serial_path(self._host.run_directory, server_id).unlink(missing_ok=True)
            console_log.remove(_QEMU_LOGS / f"{domain_xml.domain_name(self._cloud_id, server_id)}.log")

        await self._connection.call(work)

    async def get(self, server_id: str) -> GuestState | None:
        def work(connection: Any) -> GuestState | None:
            domain = find(self._libvirt, connection, self._cloud_id, server_id)
            return describe(self._libvirt, domain, self._cloud_id) if domain is not None else None

        return await self._connection.call(work)

    async def list(self) -> tuple[GuestState, ...]:
        def work(connection: Any) -> tuple[GuestState, ...]:
            ours = (domain for domain in connection.listAllDomains() if owner_of(domain.name())[0] == self._cloud_id)
            found = (describe(self._libvirt, domain, self._cloud_id) for domain in ours)
            return tuple(guest for guest in found if guest is not None)

        return await self._connection.call(work)

    async def console_output(self, server_id: str, limit: int) -> bytes:
        path = console_path(self._host.console_directory, server_id)
        try:
            return await asyncio.to_thread(console_log.read_tail, path, limit)
        except OSError as error:
            raise DriverError("driver", "The console log cannot be read.", detail=str(error)) from error

    async def copy_root(self, server_id: str, target: Path) -> None:
        await libvirt_copy.copy_root(self._libvirt, partial(self._with, server_id), target)

    async def rewire(self, spec: GuestSpec, nics: tuple[NicDevice, ...]) -> None:
        await libvirt_attend.rewire(self._libvirt, partial(self._with, spec.server_id), spec.hardware, nics)

    async def set_password(self, server_id: str, user: str, password: str) -> None:
        domain = await self._with(server_id, lambda domain: domain)
        work = partial(libvirt_attend.set_password, self._libvirt, domain, user, password)
        await asyncio.get_running_loop().run_in_executor(self._agents, work)

    async def interrupt(self, server_id: str) -> None:
        await self._with(server_id, partial(libvirt_attend.interrupt, self._libvirt))

    async def console_address(self, server_id: str, kind: ConsoleKind) -> str:
        return await self._with(server_id, partial(libvirt_attend.console_address, kind))

    async def diagnose(self, server_id: str) -> Diagnostics:
        return await self._with(server_id, partial(libvirt_attend.diagnose, self._libvirt, self._cloud_id))

    async def expect(self, spec: GuestSpec, disks: tuple[DiskDevice, ...], nics: tuple[NicDevice, ...]) -> str:
        if not self._listens_at:
            raise DriverError("no_reception", "The host takes no guests that run: its libvirt listens for none")
        console = console_path(self._host.console_directory, spec.server_id)
        serial = domain_xml.serial_path(self._host.run_directory, spec.server_id)
        there = libvirt_move.receive(
            self._listens_at, spec.fence, console, serial, name_disks(disks, spec.hardware), nics
        )
        return msgspec.json.encode(there).decode()

    async def send(self, server_id: str, reception: str, progress: Callable[[int], None]) -> None:
        await libvirt_move.send(self._libvirt, self._transfers, partial(self._with, server_id), reception, progress)

    async def hurry(self, server_id: str) -> None:
        await libvirt_move.hurry(self._libvirt, partial(self._with, server_id))

    def events(self) -> AsyncIterator[PowerEvent]:
        return self._hub.stream()

    async def _with(self, server_id: str, work: Callable[[Any], T]) -> T:
        """Run `work(domain)`; DriverError `no_such_guest` when the guest is not there."""

        def run(connection: Any) -> T:
            domain = find(self._libvirt, connection, self._cloud_id, server_id)
            if domain is None:
                raise DriverError("no_such_guest", "The host does not know this guest.")
            return work(domain)

        return await self._connection.call(run)

    async def _is_off(self, server_id: str, *, must_exist: bool = False) -> bool:
        guest = await self.get(server_id)
        if guest is None and must_exist:
            raise DriverError("no_such_guest", "The host does not know this guest.")
        return guest is None or guest.state in ("stopped", "crashed")

    def _press_power_button(self, domain: Any) -> None:
        if domain.isActive():
            self._tolerate_end(domain, lambda: domain.shutdownFlags(self._libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))

    def _press_reset_after_power_off(self, domain: Any) -> None:
        # virDomainReboot by ACPI does the same with a mark that nobody can take back when the guest does not react.
        if domain.isActive():
            self._tolerate_end(domain, lambda: self._set_power_off(domain, restart=True))
            self._press_power_button(domain)

    def _set_power_off(self, domain: Any, *, restart: bool) -> None:
        lib = self._libvirt
        action = lib.VIR_DOMAIN_LIFECYCLE_ACTION_RESTART if restart else lib.VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY
        domain.setLifecycleAction(lib.VIR_DOMAIN_LIFECYCLE_POWEROFF, action, lib.VIR_DOMAIN_AFFECT_LIVE)

    async def _take_back_reset(self, server_id: str) -> None:
        try:
            await self._connection.call(lambda connection: self._restore_power_off(connection, server_id))
        except DriverError as error:
            # Done again at the next connect.
            log.warning("a guest stays set to restart when it powers off", server=server_id, reason=error.detail)

    def _restore_power_off(self, connection: Any, server_id: str) -> None:
        domain = find(self._libvirt, connection, self._cloud_id, server_id)
        if domain is not None and domain.isActive():
            self._tolerate_end(domain, lambda: self._restore_domain(domain))

    def _restore_domain(self, domain: Any) -> None:
        if power_off_action(domain.XMLDesc()) == "restart":
            self._set_power_off(domain, restart=False)

    def _tolerate_end(self, domain: Any, act: Callable[[], Any]) -> None:
        """A guest that ended by itself meanwhile is no failure."""
        try:
            act()
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != self._libvirt.VIR_ERR_OPERATION_INVALID:
                raise

    async def _tell_agent(self, server_id: str, what: Literal["shutdown", "reboot"]) -> bool:
        """Let the guest agent do it, without waiting for its answer. False when no agent is connected."""
        domain = await self._with(
            server_id, lambda domain: domain if domain_xml.agent_connected(domain.XMLDesc()) else None
        )
        if domain is not None:
            self._agents.submit(self._call_agent, domain, what)
        return domain is not None

    def _call_agent(self, domain: Any, what: Literal["shutdown", "reboot"]) -> None:
        try:
            if what == "shutdown":
                domain.shutdownFlags(self._libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
            else:
                domain.reboot(self._libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT)
        except self._libvirt.libvirtError as error:
            # Whoever asked watches the guest, and goes on to the power button.
            log.info("the guest agent did not obey", domain=domain.name(), request=what, reason=str(error))

    def _prepare(self, connection: Any) -> None:
        lib = self._libvirt
        connection.domainEventRegisterAny(None, lib.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None)
        connection.domainEventRegisterAny(None, lib.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot, None)
        # A daemon that died in the middle of a reboot left its guest set to restart when it powers off.
        for domain in connection.listAllDomains(lib.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            cloud_id, server_id = owner_of(domain.name())
            if cloud_id == self._cloud_id:
                self._restore_power_off(connection, server_id)

    def _on_lifecycle(self, connection: Any, domain: Any, event: int, detail: int, opaque: Any) -> None:
        cloud_id, server_id = owner_of(domain.name())
        if cloud_id == self._cloud_id:
            self._publish(translate(self._libvirt, server_id, event, detail))

    def _on_reboot(self, connection: Any, domain: Any, opaque: Any) -> None:
        cloud_id, server_id = owner_of(domain.name())
        if cloud_id == self._cloud_id:
            self._publish(PowerEvent(server_id, "rebooted"))

    def _publish(self, event: PowerEvent | None) -> None:
        """From libvirt's event thread to the event loop."""
        if event is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pass_on, event)

    def _pass_on(self, event: PowerEvent) -> None:
        now = asyncio.get_running_loop().time()
        last = self._reset_at.pop(event.server_id, 0.0)
        if event.cause == "rebooted":
            self._reset_at[event.server_id] = now
            # A kernel tries one way to reset after the other: QEMU tells each of them.
            if now - last < _SAME_RESET_SECONDS:
                return
        self._hub.publish(event)
