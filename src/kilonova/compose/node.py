"""The nodes of this machine: the real one on libvirt, or simulated ones."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kilonova.core.errors import Unavailable
from kilonova.core.ids import new_uuid
from kilonova.guestimage.kernel import find_kernel
from kilonova.kit.bus import Bus
from kilonova.kit.clock import SECOND, Clock
from kilonova.node.agent import Agent, Drivers, Identity
from kilonova.node.driver.block.fake import FakeBlock
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.net.fake import FakeNet
from kilonova.node.driver.virt.domain_xml import Accelerator
from kilonova.node.driver.virt.fake import FakeScript, FakeVirt
from kilonova.node.journal import Journal
from kilonova.settings import Settings
from kilonova.state import StateDir, write

GIB: Final = 1 << 30
SHARED: Final = Path("/var/lib/kilonova-nodes")
"""Where disks lie when guests' processes could not reach the state directory."""
Tell = Callable[..., None]


def check(settings: Settings) -> None:
    """Refuse early, saying what to do, when this machine cannot run what is asked for."""
    if settings.driver == "fake":
        return
    if os.geteuid() != 0:
        raise Unavailable(
            "Real guests need root (networks, libvirt). Run as root, or simulate hosts: kilonova up --driver fake"
        )
    from kilonova.compose.package import missing_packages

    if missing := missing_packages():
        raise Unavailable(
            f"This machine lacks {', '.join(missing)}. Install what is missing with: kilonova host prepare "
            "(or simulate hosts: kilonova up --driver fake)"
        )


async def build_agents(
    settings: Settings, state: StateDir, cloud_id: str, bus: Bus, clock: Clock, tell: Tell
) -> list[Agent]:
    """The agents of this process, not started yet. Raises Unavailable."""
    if settings.driver == "fake":
        return [_fake(settings, state, bus, clock, i) for i in range(1, settings.fake_hosts + 1)]
    try:
        return [await _real(settings, state, cloud_id, bus, clock, tell)]
    except DriverError as error:
        raise Unavailable(error.message, detail=error.detail) from error


def _fake(settings: Settings, state: StateDir, bus: Bus, clock: Clock, index: int) -> Agent:
    place = state.root / "hosts" / f"fake-{index}"
    place.mkdir(parents=True, exist_ok=True)
    script = FakeScript(delays={"power_on": settings.fake_boot_seconds} if settings.fake_boot_seconds else {})
    virt = FakeVirt(script=script, state_dir=place / "virt", clock=clock)
    drivers = Drivers(virt, FakeNet(), FakeBlock(state_dir=place / "block", clock=clock))
    identity = Identity(state.host_id(index), f"fake-{index}", "simulated", new_uuid(), clock.now())
    journal = Journal(place / "journal")
    return Agent(identity, drivers, journal, bus, clock, random.SystemRandom(), parallel=64)


async def _real(settings: Settings, state: StateDir, cloud_id: str, bus: Bus, clock: Clock, tell: Tell) -> Agent:
    from kilonova.node.driver.block.file import FileBlock
    from kilonova.node.driver.net.linux import LinuxNet
    from kilonova.node.driver.virt.daemons import ensure_daemons
    from kilonova.node.driver.virt.libvirt import LibvirtVirt

    place = node_dir(settings, state, cloud_id)
    place.mkdir(parents=True, exist_ok=True)
    write(state.node_note, f"{place}\n", 0o644)
    if started := await ensure_daemons(cloud_id, place):
        tell("step", f"Started {' and '.join(started)}")
    accelerator = await _accelerator(settings, state, place, tell)
    virt = LibvirtVirt(cloud_id, place, accelerator)
    block = FileBlock(
        place / "block",
        int(settings.low_disk_gb * GIB),
        run_as=pwd.getpwnam("nobody").pw_uid,
        group=grp.getgrnam("libvirt-qemu").gr_gid,
        clock=clock,
    )
    identity = Identity(state.host_id(0), socket.gethostname(), _boot_id(), new_uuid(), _booted_at())
    journal = Journal(place / "journal")
    drivers = Drivers(virt, LinuxNet(cloud_id), block)
    return Agent(
        identity,
        drivers,
        journal,
        bus,
        clock,
        random.SystemRandom(),
        parallel=settings.parallel_boots,
        secret=state.secret("node"),
    )


async def _accelerator(settings: Settings, state: StateDir, place: Path, tell: Tell) -> Accelerator:
    """KVM only where it really boots a guest; the answer is remembered."""
    if settings.accelerator != "auto":
        return settings.accelerator
    from kilonova.node.driver.virt.accelerator import probe

    async def kernel() -> Path | None:
        tell("step", "Trying whether KVM really boots a guest here")
        return await asyncio.to_thread(find_kernel, state.root / "guest")

    verdict = await probe(place, kernel)
    if verdict.seconds:
        tell("step", verdict.reason[0].upper() + verdict.reason[1:])
    return verdict.accelerator


def _boot_id() -> str:
    """What the kernel drew when this machine started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _booted_at() -> int:
    """When this machine started, µs (proc(5), `btime`)."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next((int(line.split()[1]) * SECOND for line in lines if line.startswith("btime ")), 0)


def node_dir(settings: Settings, state: StateDir, cloud_id: str) -> Path:
    """Where disks and consoles lie: in the state directory, unless the guests' processes could not get there."""
    if settings.node_dir:
        return Path(settings.node_dir).resolve()
    inside = state.root.resolve()
    if all(folder.stat().st_mode & 0o001 for folder in (inside, *inside.parents)):
        return inside / "node"
    return SHARED / cloud_id
