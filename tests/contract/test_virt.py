"""The virt port: what every driver promises, on simulated guests and on real ones under libvirt."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol, get_args

import msgspec
import pytest

from kilonova.guestimage.build import build
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt import domain_xml
from kilonova.node.driver.virt.daemons import ensure_daemons, stop_daemons
from kilonova.node.driver.virt.fake import FakeVirt
from kilonova.node.driver.virt.libvirt import LibvirtVirt
from kilonova.node.driver.virt.port import DiskDevice, GuestState, NicDevice, PowerEvent, Role, VirtDriver
from kilonova.wire.guest import GuestSpec

CLOUD, OTHER_CLOUD = "bbbb01", "bbbb02"
WORDS = b"boot sector here"

# 16-bit code: write the words to the first serial port, then halt for ever. It knows nothing of ACPI.
BOOT_SECTOR = (bytes.fromhex("31c0 8ed8 be167c baf803 fc ac 84c0 7403 ee ebf8 f4 ebfd") + WORDS + b"\r\n\0").ljust(
    510, b"\0"
) + b"\x55\xaa"


class Rig(Protocol):
    """A driver with the means to make guests for it and to meddle with them behind its back."""

    words: bytes
    obedient_words: bytes

    def make(self) -> VirtDriver: ...

    def disks(self, server_id: str) -> tuple[DiskDevice, ...]: ...

    def obedient_disks(self, server_id: str) -> tuple[DiskDevice, ...]: ...

    def kill(self, driver: VirtDriver, server_id: str) -> None: ...

    def pull_plug(self, driver: VirtDriver, server_id: str) -> None: ...


class FakeRig:
    words = obedient_words = b"KILONOVA READY"

    def __init__(self, place: Path) -> None:
        self.place = place

    def make(self) -> VirtDriver:
        return FakeVirt(state_dir=self.place)

    def disks(self, server_id: str) -> tuple[DiskDevice, ...]:
        return ()

    obedient_disks = disks

    def kill(self, driver: VirtDriver, server_id: str) -> None:
        assert isinstance(driver, FakeVirt)
        driver.crash(server_id)

    def pull_plug(self, driver: VirtDriver, server_id: str) -> None:
        assert isinstance(driver, FakeVirt)
        driver.destroy(server_id)


def virsh(*words: str) -> str:
    return subprocess.run(["virsh", "-q", *words], check=True, capture_output=True, text=True).stdout


def domain(server_id: str) -> str:
    return f"kn-{CLOUD}-{server_id}"


class LibvirtRig:
    words, obedient_words = WORDS, b"KILONOVA READY"

    def __init__(self, place: Path, image: Path) -> None:
        self.place, self.image = place, image

    def make(self) -> VirtDriver:
        return LibvirtVirt(CLOUD, self.place / "state", "tcg")

    def disks(self, server_id: str) -> tuple[DiskDevice, ...]:
        disk = self.place / f"{server_id}.raw"
        disk.write_bytes(BOOT_SECTOR.ljust(1 << 20, b"\0"))
        return (DiskDevice("root", disk, "raw"),)

    def obedient_disks(self, server_id: str) -> tuple[DiskDevice, ...]:
        disk = self.place / f"{server_id}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", self.image, "-F", "qcow2", disk], check=True)
        return (DiskDevice("root", disk, "qcow2"),)

    def kill(self, driver: VirtDriver, server_id: str) -> None:
        os.kill(int(Path(f"/run/libvirt/qemu/{domain(server_id)}.pid").read_text()), signal.SIGKILL)

    def pull_plug(self, driver: VirtDriver, server_id: str) -> None:
        virsh("destroy", domain(server_id))


def clean_world() -> None:
    for name in virsh("list", "--all", "--name").split():
        if name.startswith((f"kn-{CLOUD}-", f"kn-{OTHER_CLOUD}-")):
            subprocess.run(["virsh", "-q", "destroy", name], check=False, capture_output=True)
            virsh("undefine", name)


@pytest.fixture(scope="module")
def real_place() -> Iterator[Path]:
    # QEMU's user must get through to the disks: pytest's own directories are closed to it.
    place = Path(tempfile.mkdtemp(prefix="kilonova-virt-"))
    place.chmod(0o755)
    asyncio.run(ensure_daemons(CLOUD, place))
    cache = Path(os.environ.get("KILONOVA_TEST_CACHE") or place)
    build(place / "guest.qcow2", cache / "guest-image-work", lambda text, fraction: None)
    (place / "guest.qcow2").chmod(0o644)
    yield place
    clean_world()
    asyncio.run(stop_daemons(CLOUD))
    shutil.rmtree(place)


@pytest.fixture(params=["fake", pytest.param("libvirt", marks=pytest.mark.vm)])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "fake":
        yield FakeRig(tmp_path)
        return
    place = request.getfixturevalue("real_place")
    yield LibvirtRig(place, place / "guest.qcow2")
    clean_world()


@pytest.fixture
async def driver(rig: Rig) -> AsyncIterator[VirtDriver]:
    driver = rig.make()
    await driver.start()
    yield driver
    await driver.close()


def guest(fence: int = 1, **fake: str) -> GuestSpec:
    return GuestSpec(
        server_id=str(uuid.uuid4()), fence=fence, version=1, power="running", name="t", memory_mb=96, fake=fake
    )


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def until_says(driver: VirtDriver, server_id: str, words: bytes, times: int = 1) -> None:
    async def says() -> bool:
        return (await driver.console_output(server_id, 1 << 20)).count(words) >= times

    await until(says)


async def state(driver: VirtDriver, server_id: str) -> GuestState:
    found = await driver.get(server_id)
    assert found is not None
    return found


async def collect(driver: VirtDriver, events: list[PowerEvent]) -> None:
    async for event in driver.events():
        events.append(event)


async def test_a_guest_lives_from_define_to_undefine(rig: Rig, driver: VirtDriver) -> None:
    spec = guest(fence=7)
    sid = spec.server_id
    disks = rig.disks(sid)
    for _ in range(2):
        await driver.define(spec, disks, ())
    assert await state(driver, sid) == GuestState(sid, "stopped", 7, "")
    assert await driver.console_output(sid, 1000) == b""
    await driver.power_on(sid)
    first = await state(driver, sid)
    assert (first.state, bool(first.start), first.since > 0) == ("running", True, True)
    await driver.power_on(sid)
    assert await state(driver, sid) == first
    assert await driver.list() == (first,)
    await until_says(driver, sid, rig.words)
    whole = await driver.console_output(sid, 1 << 20)
    assert await driver.console_output(sid, 5) == whole[-5:]
    with pytest.raises(DriverError) as refused:
        await driver.undefine(sid)
    assert refused.value.code == "running"
    for _ in range(2):
        await driver.power_off(sid)
        assert await state(driver, sid) == GuestState(sid, "stopped", 7, "")
    await driver.power_on(sid)
    second = await state(driver, sid)
    assert second.start not in ("", first.start)
    await until_says(driver, sid, rig.words, 2)
    await driver.power_off(sid)
    for _ in range(2):
        await driver.undefine(sid)
        assert await driver.get(sid) is None
    assert await driver.list() == ()
    assert await driver.console_output(sid, 1000) == b""


async def test_the_fence_is_of_the_last_definition_even_while_the_guest_runs(rig: Rig, driver: VirtDriver) -> None:
    spec = guest(fence=1)
    disks = rig.disks(spec.server_id)
    await driver.define(spec, disks, ())
    await driver.power_on(spec.server_id)
    before = await state(driver, spec.server_id)
    await driver.define(GuestSpec(server_id=spec.server_id, fence=2, version=1, power="running"), disks, ())
    after = await state(driver, spec.server_id)
    assert (after.fence, after.start, after.state) == (2, before.start, "running")


async def test_an_unknown_guest(driver: VirtDriver) -> None:
    sid = str(uuid.uuid4())
    assert await driver.get(sid) is None
    assert await driver.console_output(sid, 100) == b""
    assert await driver.shutdown(sid, 1)
    await driver.power_off(sid)
    await driver.undefine(sid)
    for call in (driver.power_on(sid), driver.reboot_soft(sid, 1)):
        with pytest.raises(DriverError) as refused:
            await call
        assert refused.value.code == "no_such_guest"


async def test_an_obedient_guest_reboots_and_shuts_down_when_asked(rig: Rig, driver: VirtDriver) -> None:
    events: list[PowerEvent] = []
    reader = asyncio.create_task(collect(driver, events))
    spec = guest()
    sid = spec.server_id
    await driver.define(spec, rig.obedient_disks(sid), ())
    assert not await driver.reboot_soft(sid, 5), "it is off"
    await driver.power_on(sid)
    start = (await state(driver, sid)).start
    await until_says(driver, sid, rig.obedient_words)
    assert await driver.reboot_soft(sid, 60)
    await until_says(driver, sid, rig.obedient_words, 2)
    assert (await state(driver, sid)).start == start
    assert await driver.shutdown(sid, 60)
    assert (await state(driver, sid)).state == "stopped"
    assert await driver.shutdown(sid, 60)
    boots = [line for line in (await driver.console_output(sid, 1 << 20)).splitlines() if rig.obedient_words in line]
    assert len({line.partition(b"boot=")[2].split()[0] for line in boots}) == 2, "two boots with ids of their own"
    await driver.close()
    await asyncio.wait_for(reader, 5)
    assert [event.cause for event in events if event.cause in ("rebooted", "shutdown")] == ["rebooted", "shutdown"]


async def test_a_guest_is_paused_and_suspended_and_goes_on(rig: Rig, driver: VirtDriver) -> None:
    spec = guest()
    sid = spec.server_id
    await driver.define(spec, rig.disks(sid), ())
    for freeze in (driver.pause, driver.suspend):
        with pytest.raises(DriverError):
            await freeze(sid)
    await driver.power_on(sid)
    began = await described(driver, sid)
    for _ in range(2):
        await driver.pause(sid)
        assert await described(driver, sid) == replace(began, state="paused")
    await driver.power_on(sid)
    assert await described(driver, sid) == began
    for _ in range(2):
        await driver.suspend(sid)
        assert await described(driver, sid) == replace(began, state="suspended", start="", since=0.0)
    await driver.power_on(sid)
    again = await described(driver, sid)
    assert (again.state, again.start != began.start) == ("running", True)
    await driver.suspend(sid)
    await driver.power_off(sid)
    assert (await described(driver, sid)).state == "stopped"
    await driver.undefine(sid)
    assert await driver.get(sid) is None


async def described(driver: VirtDriver, server_id: str) -> GuestState:
    state = await driver.get(server_id)
    assert state is not None
    return state


async def test_a_guest_that_ignores_requests_is_left_running(rig: Rig, driver: VirtDriver) -> None:
    spec = guest(shutdown="ignore", reboot="ignore")
    sid = spec.server_id
    await driver.define(spec, rig.disks(sid), ())
    await driver.power_on(sid)
    before = await state(driver, sid)
    assert not await driver.shutdown(sid, 0.5)
    assert not await driver.reboot_soft(sid, 0.5)
    assert await state(driver, sid) == before


async def test_a_cancelled_start_has_ended_and_the_guest_can_be_removed_at_once(rig: Rig, driver: VirtDriver) -> None:
    spec = guest()
    sid = spec.server_id
    await driver.define(spec, rig.disks(sid), ())
    task = asyncio.create_task(driver.power_on(sid))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    after = await state(driver, sid)
    await asyncio.sleep(0.3)
    assert await state(driver, sid) == after, "nothing of the start is still going on"
    await driver.power_off(sid)
    await driver.undefine(sid)
    assert await driver.list() == ()


async def test_what_happens_to_a_guest_is_told(rig: Rig, driver: VirtDriver) -> None:
    events: list[PowerEvent] = []
    reader = asyncio.create_task(collect(driver, events))
    spec = guest()
    sid = spec.server_id

    async def told(cause: str) -> None:
        async def seen() -> bool:
            return any(event.server_id == sid and event.cause == cause for event in events)

        await until(seen, 10)

    await driver.define(spec, rig.disks(sid), ())
    await driver.power_on(sid)
    await told("started")
    rig.pull_plug(driver, sid)
    await told("destroyed")
    assert (await state(driver, sid)).state == "stopped"
    await driver.power_on(sid)
    rig.kill(driver, sid)
    await told("crashed")
    assert (await state(driver, sid)).state == "crashed"
    await driver.power_on(sid)
    assert (await state(driver, sid)).state == "running"
    await driver.power_off(sid)
    await driver.undefine(sid)
    await told("undefined")
    await driver.close()
    await asyncio.wait_for(reader, 5)


async def test_a_new_driver_adopts_what_runs(rig: Rig, driver: VirtDriver) -> None:
    spec = guest(fence=3)
    await driver.define(spec, rig.disks(spec.server_id), ())
    await driver.power_on(spec.server_id)
    before = await driver.list()
    await driver.close()
    successor = rig.make()
    await successor.start()
    try:
        assert await successor.list() == before
        await successor.power_off(spec.server_id)
        assert (await state(successor, spec.server_id)).state == "stopped"
    finally:
        await successor.close()


async def test_the_inventory_is_of_this_host(driver: VirtDriver) -> None:
    inventory = await driver.inventory()
    assert inventory.vcpus > 0
    assert inventory.memory_mb > 256
    assert inventory.disk_gb == 0


@pytest.mark.vm
async def test_domains_of_others_are_neither_seen_nor_touched(real_place: Path) -> None:
    rig = LibvirtRig(real_place, real_place / "guest.qcow2")
    driver, other = rig.make(), LibvirtVirt(OTHER_CLOUD, real_place / "other", "tcg")
    plain = str(uuid.uuid4())
    foreign = guest()
    sid = foreign.server_id
    text = f"<domain type='qemu'><name>{domain(plain)}</name><uuid>{plain}</uuid><memory>65536</memory>"
    (real_place / "plain.xml").write_text(text + "<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>")
    await driver.start()
    await other.start()
    try:
        virsh("define", str(real_place / "plain.xml"))
        await other.define(foreign, rig.disks(sid), ())
        await other.power_on(sid)
        before = await other.list()
        assert await driver.list() == ()
        for unseen in (sid, plain):
            assert await driver.get(unseen) is None
            await driver.power_off(unseen)
            await driver.undefine(unseen)
            assert await driver.shutdown(unseen, 0.1)
        with pytest.raises(DriverError):
            await driver.define(foreign, rig.disks(sid), ())
        assert await other.list() == before
        assert domain(plain) in virsh("list", "--all", "--name").split()
    finally:
        await driver.close()
        await other.close()
        clean_world()


class Relay:
    """libvirtd's socket at another place, which can go away and come back as when libvirtd is restarted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tasks: set[asyncio.Task[None]] = set()
        self.writers: list[asyncio.StreamWriter] = []

    async def open(self) -> None:
        self.server = await asyncio.start_unix_server(self.accept, self.path)

    async def cut(self) -> None:
        self.server.close()
        self.path.unlink()
        for writer in self.writers:
            writer.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection("/run/libvirt/libvirt-sock")
        self.writers += [writer, up_writer]
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            self.tasks.add(asyncio.create_task(self.pump(source, sink)))

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()


@pytest.mark.vm
async def test_when_libvirtd_goes_away_calls_fail_and_when_it_is_back_all_is_as_before(real_place: Path) -> None:
    rig, relay = LibvirtRig(real_place, real_place / "guest.qcow2"), Relay(real_place / "relay.sock")
    await relay.open()
    driver = LibvirtVirt(CLOUD, real_place / "state", "tcg", uri=f"qemu+unix:///system?socket={relay.path}")
    await driver.start()
    events: list[PowerEvent] = []
    reader = asyncio.create_task(collect(driver, events))
    spec = guest()
    sid = spec.server_id
    try:
        await driver.define(spec, rig.disks(sid), ())
        await driver.power_on(sid)
        before = await state(driver, sid)
        await relay.cut()
        with pytest.raises(DriverError) as refused:
            await driver.get(sid)
        assert (refused.value.code, refused.value.retryable) == ("unavailable", True)
        await relay.open()

        async def answers() -> bool:
            try:
                return await driver.get(sid) == before
            except DriverError:
                return False

        await until(answers, 15)
        events.clear()
        rig.pull_plug(driver, sid)

        async def told() -> bool:
            return [event.cause for event in events] == ["destroyed"]

        await until(told, 10)
    finally:
        await driver.close()
        await relay.cut()
        await asyncio.wait_for(reader, 5)
        clean_world()


@pytest.mark.vm
async def test_a_missing_libvirtd_is_an_error_that_says_so(real_place: Path) -> None:
    driver = LibvirtVirt(CLOUD, real_place / "state", "tcg", uri="qemu+unix:///system?socket=/no/such/socket")
    with pytest.raises(DriverError, match="is libvirtd running") as refused:
        await driver.start()
    assert refused.value.code == "unavailable"
    await driver.close()


@pytest.mark.vm
async def test_a_reboot_that_a_dead_daemon_left_half_done_does_not_revive_guests_later(real_place: Path) -> None:
    rig = LibvirtRig(real_place, real_place / "guest.qcow2")
    driver, spec = rig.make(), guest()
    await driver.start()
    await driver.define(spec, rig.disks(spec.server_id), ())
    await driver.power_on(spec.server_id)
    await driver.close()
    virsh("set-lifecycle-action", domain(spec.server_id), "poweroff", "restart", "--live")
    successor = rig.make()
    await successor.start()
    await successor.close()
    text = virsh("dumpxml", domain(spec.server_id))
    clean_world()
    assert "<on_poweroff>destroy</on_poweroff>" in text


@pytest.mark.vm
def test_libvirts_own_schema_accepts_a_whole_guest(real_place: Path) -> None:
    spec = guest()
    disks = tuple(DiskDevice(role, real_place / role, "raw") for role in get_args(Role))
    nic = NicDevice("port", "fa:16:3e:00:00:01", "kbbbb01-b", "kbbbb01-t", 1450)
    text = domain_xml.build(domain_xml.Host(CLOUD, "tcg", real_place, "1", real_place), spec, disks, (nic,))
    (real_place / "whole.xml").write_text(text)
    virsh("define", "--validate", str(real_place / "whole.xml"))
    clean_world()


@pytest.mark.vm
async def test_a_nic_plugs_into_its_bridge_and_what_is_missing_is_named(real_place: Path) -> None:
    rig = LibvirtRig(real_place, real_place / "guest.qcow2")
    driver, spec = rig.make(), guest()
    sid = spec.server_id
    bridge, device = "kbbbb01virt", "kbbbb01nic"
    nic = NicDevice("port", "fa:16:3e:00:00:01", bridge, device, 1400)
    await driver.start()
    try:
        disks = rig.disks(sid)
        await driver.define(spec, disks, (nic,))
        assert await refusal(driver, sid) == ("no_bridge", True)
        subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
        disks[0].path.rename(real_place / "away")
        assert await refusal(driver, sid) == ("no_disk", False)
        (real_place / "away").rename(disks[0].path)
        await driver.power_on(sid)
        links = Path("/sys/class/net")
        assert (links / device / "master").resolve().name == bridge
        assert (links / device / "mtu").read_text() == "1400\n"
        await driver.power_off(sid)
        assert not (links / device).exists()
        huge = msgspec.structs.replace(spec, memory_mb=16 << 20)
        await driver.define(huge, disks, ())
        assert await refusal(driver, sid) == ("no_memory", True)
    finally:
        await driver.close()
        clean_world()
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)


async def refusal(driver: VirtDriver, server_id: str) -> tuple[str, bool]:
    with pytest.raises(DriverError) as refused:
        await driver.power_on(server_id)
    return refused.value.code, refused.value.retryable
