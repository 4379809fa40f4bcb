"""Removing every trace of one cloud from this machine, and only of it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from kilonova.compose.node import SHARED
from kilonova.node.driver.net.linux import LinuxNet
from kilonova.node.driver.virt.daemons import ensure_daemons, stop_daemons
from kilonova.node.driver.virt.libvirt import LibvirtVirt


async def clean_host(cloud_id: str, place: Path) -> list[str]:
    """Guests with their disks, networks, and the daemons if this cloud started them; answers what was removed."""
    removed = []
    await ensure_daemons(cloud_id, place)
    virt = LibvirtVirt(cloud_id, place, "tcg")
    await virt.start()
    try:
        for guest in await virt.list():
            await virt.power_off(guest.server_id)
            await virt.undefine(guest.server_id)
            removed.append(f"guest {guest.server_id}")
    finally:
        await virt.close()
    net = LinuxNet(cloud_id)
    world = await net.world()
    await net.clean()
    for kind, ids in (("network", world.networks), ("router", world.routers)):
        removed += [f"{kind} {identifier}" for identifier in sorted(ids)]
    await asyncio.to_thread(shutil.rmtree, SHARED / cloud_id, ignore_errors=True)
    removed += [f"daemon {name}" for name in await stop_daemons(cloud_id)]
    return removed
