"""Removing every trace of one cloud from this machine, and only of it."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from kilonova.node.driver.net.linux import LinuxNet
from kilonova.node.driver.virt.daemons import ensure_daemons, stop_daemons
from kilonova.node.driver.virt.libvirt import LibvirtVirt

PARTS: Final = ("block", "console", "journal", "accelerator.json")
"""What a node keeps in its directory, which somebody may have chosen and use for other things."""


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
    await asyncio.to_thread(_remove_files, place)
    removed += [f"daemon {name}" for name in await stop_daemons(cloud_id)]
    return removed


def _remove_files(place: Path) -> None:
    for part in (place / name for name in PARTS):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
    with suppress(OSError):
        place.rmdir()
