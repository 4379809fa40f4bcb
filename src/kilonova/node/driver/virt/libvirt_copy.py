"""Copies of disks of guests that go on running, as of one moment: libvirt's backup jobs in push mode."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement, tostring

from kilonova.node.driver.failure import DriverError

LOOK_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 3600.0
ROOT: Final = "vda"

T = TypeVar("T")
Call = Callable[[Callable[[Any], T]], Awaitable[T]]


async def copy_root(libvirt: Any, call: Call[Any], target: Path) -> None:
    """Copy a domain's root disk; `call` runs work on the domain. Cancelled, it ends the job and leaves no file."""
    began = True
    try:
        await call(lambda domain: _begin(libvirt, domain, target))
        async with asyncio.timeout(LONGEST_SECONDS):
            while not await call(lambda domain: _is_done(libvirt, domain)):  # noqa: ASYNC110 (libvirt tells nobody)
                await asyncio.sleep(LOOK_SECONDS)
        began = False
    except TimeoutError as error:
        raise DriverError("driver", "The copy of the disk did not end in time", retryable=True) from error
    finally:
        if began:
            await asyncio.shield(asyncio.ensure_future(_give_up(call)))


async def _give_up(call: Call[Any]) -> None:
    try:
        await call(lambda domain: domain.abortJob())
    except DriverError:
        # There is no job, or no guest, any more.
        return


def _begin(libvirt: Any, domain: Any, target: Path) -> None:
    """Start the job, with the guest's file systems frozen for that moment where its agent answers. One that a node left
    behind which died is ended first."""
    if domain.jobStats().get("type", libvirt.VIR_DOMAIN_JOB_NONE) != libvirt.VIR_DOMAIN_JOB_NONE:
        domain.abortJob()
    backup = Element("domainbackup", mode="push")
    disks = SubElement(backup, "disks")
    for name in _disks(domain):
        if name == ROOT:
            disk = SubElement(disks, "disk", name=name, backup="yes", type="file")
            SubElement(disk, "driver", type="qcow2")
            SubElement(disk, "target", file=str(target))
        else:
            SubElement(disks, "disk", name=name, backup="no")
    frozen = _freeze(libvirt, domain)
    try:
        domain.backupBegin(tostring(backup, encoding="unicode"), None, 0)
    finally:
        if frozen:
            domain.fsThaw()


def _disks(domain: Any) -> list[str]:
    devices = ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/disk/target")  # noqa: S314 (libvirt's own)
    return [target.get("dev", "") for target in devices]


def _freeze(libvirt: Any, domain: Any) -> bool:
    try:
        domain.agentSetResponseTimeout(5, 0)
        domain.fsFreeze()
    except libvirt.libvirtError:
        # No agent, or one that cannot: the copy is what a guest finds after a power cut.
        return False
    return True


def _is_done(libvirt: Any, domain: Any) -> bool:
    if domain.jobStats().get("type", libvirt.VIR_DOMAIN_JOB_NONE) != libvirt.VIR_DOMAIN_JOB_NONE:
        return False
    done = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if not done.get("success", True):
        detail = str(done.get("errmsg", ""))
        raise DriverError("driver", "The copy of the disk failed", detail=detail, retryable=True)
    return True
