"""A guest on real QEMU goes to another libvirt while it runs, and back; nothing of it notices but its neighbours."""

from __future__ import annotations

import asyncio
import base64
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from compute_world import Site, act
from libvirt_host import Bridge, LibvirtHost

from kilonova.core.context import ALL
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import open_database
from kilonova.node.agent import Drivers
from kilonova.node.driver.block.file import FileBlock
from kilonova.node.driver.net.fake import FakeNet
from kilonova.node.driver.virt.libvirt import LibvirtVirt

pytestmark = pytest.mark.vm
TICK = re.compile(r"TICK (?P<boot>[0-9a-f-]{36}) (?P<count>[0-9]+)")
TICKER = """#!/bin/sh
(n=0; while :; do n=$((n+1)); echo "TICK $(cat /proc/sys/kernel/random/boot_id) $n" >/dev/console; sleep 1; done) &
"""
LIVE = {"host": None, "block_migration": "auto"}


@pytest.fixture
def hosts() -> Iterator[tuple[LibvirtHost, LibvirtHost]]:
    root = Path(tempfile.mkdtemp(prefix="kilonova-two-"))
    root.chmod(0o755)
    with ExitStack() as stack:
        bridge = stack.enter_context(Bridge())
        one, two = (stack.enter_context(LibvirtHost(bridge, index, root / f"host{index}")) for index in (1, 2))
        yield one, two
    shutil.rmtree(root)


@pytest.fixture
async def site(
    sqlite_url: str, tmp_path: Path, hosts: tuple[LibvirtHost, LibvirtHost], guest_image: Path
) -> AsyncIterator[Site]:
    db = await open_database(sqlite_url, SystemClock())
    site = Site(db, tmp_path)
    await site.start(hosts=0)
    for host in hosts:
        virt = LibvirtVirt("abcdef", host.place, "tcg", uri=host.uri, listens_at=host.uri, run_dir=host.place)
        await site.add_host(host.name, Drivers(virt, FakeNet(), FileBlock(host.place / "block")))
    site.image = await site.add_image("kilonova-guest", guest_image.read_bytes(), disk_format="qcow2")
    yield site
    await site.stop()
    await db.close()


class Guest:
    """A server as its tests see it."""

    def __init__(self, site: Site, server_id: str) -> None:
        self.site, self.id = site, server_id

    async def host(self) -> str:
        shown = (await self.site.admin.get(f"/servers/{self.id}")).json()["server"]
        return str(shown["OS-EXT-SRV-ATTR:host"])

    async def ticks(self, after: int = 0) -> tuple[str, int]:
        """(boot id, count) of the newest sign of life where it is now, one later than `after`."""
        async with asyncio.timeout(120):
            while True:
                server = await self.site.servers.get(ALL, self.id)
                text = await self.site.nodes.console(server.host_id or "", self.id, 100_000)
                found = [(m["boot"], int(m["count"])) for m in TICK.finditer(text)]
                if found and found[-1][1] > after:
                    return found[-1]
                await asyncio.sleep(0.2)

    async def migrate(self, during: Callable[[], Any] | None = None) -> str:
        """What became of a live migration."""
        answer = await act(self.site.admin, self.id, "os-migrateLive", LIVE)
        assert answer.status_code == 202, answer.text
        while during is not None:
            found = (await self.site.admin.get(f"/servers/{self.id}/migrations")).json()["migrations"]
            if found and found[0]["status"] == "running":
                break
            await asyncio.sleep(0.02)
        if during is not None:
            await asyncio.to_thread(during)
        await self.site.settle(self.id, 120)
        newest = (await self.site.admin.get("/os-migrations")).json()["migrations"][0]
        return str(newest["status"])


async def boot(site: Site) -> Guest:
    data = base64.b64encode(TICKER.encode()).decode()
    server_id = await site.make(user_data=data, config_drive=True, networks="none")
    assert await site.settle(server_id, 120) == "active"
    return Guest(site, server_id)


async def test_a_guest_goes_to_another_libvirt_and_back(
    site: Site, hosts: tuple[LibvirtHost, LibvirtHost], tell: Callable[[str], None]
) -> None:
    guest = await boot(site)
    by_name = {host.name: host for host in hosts}
    boot_id, count = await guest.ticks(3)
    for _ in range(2):
        source = by_name[await guest.host()]
        began = monotonic()
        assert await guest.migrate() == "completed"
        tell(f"live migration: a guest of 128 MiB and its disk in {monotonic() - began:.1f} s")
        target = by_name[await guest.host()]
        assert target is not source
        assert (source.domains(), len(target.domains())) == ([], 1)
        assert not (source.place / "block" / "disks" / guest.id).exists()
        same, later = await guest.ticks(count)
        assert same == boot_id
        count = later
    # The disk that came along is the guest's own, and stands on nothing: it starts from that.
    assert (await act(site.admin, guest.id, "reboot", {"type": "HARD"})).status_code == 202
    assert await site.settle(guest.id, 120) == "active"
    assert (await guest.ticks())[0] != ""
    assert (await site.admin.delete(f"/servers/{guest.id}")).status_code == 204
    assert await site.settle(guest.id, 60) == ""
    assert [host.domains() for host in hosts] == [[], []]


async def test_a_guest_stays_when_either_self_is_killed_on_the_way(
    site: Site, hosts: tuple[LibvirtHost, LibvirtHost]
) -> None:
    guest = await boot(site)
    boot_id, count = await guest.ticks(3)
    at = await guest.host()
    [own], [other] = ([host for host in hosts if (host.name == at) is mine] for mine in (True, False))

    def kill(victim: LibvirtHost) -> None:
        while not other.kill_guest(guest.id) if victim is other else not other.has_guest(guest.id):
            sleep(0.02)
        if victim is own:
            own.kill_guest(guest.id)

    async def is_cleared() -> None:
        async with asyncio.timeout(30):
            while other.domains() or (other.place / "block" / "disks" / guest.id).exists():
                await asyncio.sleep(0.2)

    assert await guest.migrate(lambda: kill(other)) == "error"
    assert await guest.host() == at
    assert (await guest.ticks(count))[0] == boot_id
    await is_cleared()
    assert await guest.migrate(lambda: kill(own)) == "error"
    assert await guest.host() == at
    await is_cleared()
    async with asyncio.timeout(30):
        while (await site.servers.get(ALL, guest.id)).phase != "stopped":
            await asyncio.sleep(0.2)
    assert (await act(site.admin, guest.id, "os-start")).status_code == 202
    assert await site.settle(guest.id, 120) == "active"
