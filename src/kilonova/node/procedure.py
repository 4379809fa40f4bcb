"""Making one guest what it shall be: recomputed from the world each time, so resuming is planning again.

Levels, not commands: the spec carries how often the guest shall have been started and restarted, the record how often
it was. A restart leaves its intent before it begins, so that one that was under way when the agent died is not repeated
when it already happened.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kilonova.guestdata.config_drive import render
from kilonova.guestdata.openstack import SEED_BYTES
from kilonova.node.control import Control
from kilonova.node.deposit import deposit
from kilonova.node.driver.block.port import BlockDriver
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.port import GuestState, Virt
from kilonova.node.journal import Journal, Record
from kilonova.node.network import Networks
from kilonova.wire.guest import GuestError, GuestObservation, GuestSpec, ImageRef, ObservedPower
from kilonova.wire.node import TicketRequest

Stage = Callable[[str, int], None]
SOFT_REBOOT_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Hands:
    """What a procedure works with."""

    host_id: str
    boot_id: str
    virt: Virt
    block: BlockDriver
    networks: Networks
    control: Control
    journal: Journal
    secret: bytes = b""


async def ensure(hands: Hands, spec: GuestSpec, stage: Stage) -> GuestObservation:
    """Make the guest what `spec` says and tell what it is then. Raises DriverError when that cannot be done."""
    if spec.power == "absent":
        return await _remove(hands, spec)
    record = await _record(hands, spec)
    if record.error is not None and record.version >= spec.version:
        return await observe(hands, spec, record)
    state = await hands.virt.get(spec.server_id)
    if state is None and record.boot_count > 0 and record.version >= spec.version:
        return await observe(hands, spec, record, cause="the hypervisor does not know the guest any more")
    if spec.password_clears > record.password_clears:
        record.password, record.password_clears = "", spec.password_clears
    if spec.nic_changes > record.nic_changes:
        await _rewire(hands, spec, state, stage)
    if spec.send_to:
        await _send(hands, spec, record, state, stage)
    elif spec.power == "incoming":
        if record.version < spec.version:
            await _expect(hands, spec, record, stage)
    elif spec.deposit_to and spec.deposits > record.deposits:
        copier = hands.virt if state is not None and state.state in ("running", "paused") else None
        await deposit(hands.host_id, hands.control, hands.block, copier, spec, stage)
        record.deposits = spec.deposits
    elif spec.power == "stopped":
        await _stop(hands, spec, state)
        if spec.boot_count > record.boot_count:
            # To be found ready: a disk that cannot be made so is told now, not at the next start.
            await _build(hands, spec, stage)
            record.boot_count = spec.boot_count
    elif spec.power == "running" or spec.hard_reboots > record.hard_reboots:
        await _run(hands, spec, record, state, stage)
    elif record.version < spec.version:
        await _freeze(hands, spec, state)
    record.version, record.nic_changes = spec.version, spec.nic_changes
    record.error = None
    record.intent = ""
    hands.journal.note(record)
    return await observe(hands, spec, record)


def give_up(hands: Hands, spec: GuestSpec, error: DriverError) -> None:
    """Remember that this version of the spec cannot be done, so that it is not tried for ever."""
    record = hands.journal.records.get(spec.server_id) or Record(server_id=spec.server_id)
    record.version = spec.version
    record.error = GuestError(code=error.code, message=error.message, detail=error.detail, retryable=error.retryable)
    hands.journal.note(record)


async def observe(hands: Hands, spec: GuestSpec, record: Record, cause: str = "") -> GuestObservation:
    """What the guest is now, with the levels it has reached."""
    state = await hands.virt.get(spec.server_id)
    power: ObservedPower = "absent" if state is None else "unknown" if state.state == "moving" else state.state
    return GuestObservation(
        server_id=spec.server_id,
        fence=spec.fence,
        version=record.version,
        power=power,
        boot_count=record.boot_count,
        soft_reboots=record.soft_reboots,
        hard_reboots=record.hard_reboots,
        cause=cause,
        error=record.error,
        reception=record.reception if spec.power == "incoming" else "",
        password=record.password,
        password_clears=record.password_clears,
    )


async def _record(hands: Hands, spec: GuestSpec) -> Record:
    """The guest's record; for a guest that runs although nothing is remembered, the levels are taken as reached."""
    record = hands.journal.records.get(spec.server_id)
    if record is not None:
        return record
    record = Record(server_id=spec.server_id, host_boot=hands.boot_id)
    if await hands.virt.get(spec.server_id) is not None and spec.version > 1:
        record.boot_count, record.soft_reboots = spec.boot_count, spec.soft_reboots
        record.hard_reboots = spec.hard_reboots
    return record


async def _freeze(hands: Hands, spec: GuestSpec, state: GuestState | None) -> None:
    """Once for each version of the spec: what happens to a frozen guest later is told, not undone."""
    if state is None or state.state in ("stopped", "crashed"):
        raise DriverError("not_running", "The guest does not run")
    if spec.power == "suspended":
        await hands.virt.suspend(spec.server_id)
    elif state.state == "running":
        await hands.virt.pause(spec.server_id)
    elif state.state == "suspended":
        raise DriverError("not_running", "The guest is suspended")


async def _run(hands: Hands, spec: GuestSpec, record: Record, state: GuestState | None, stage: Stage) -> None:
    running = state is not None and state.state in ("running", "paused")
    host_restarted = record.host_boot != hands.boot_id
    thaws = state is not None and state.state in ("paused", "suspended") and record.version < spec.version
    if spec.hard_reboots > record.hard_reboots:
        await _reset(hands, spec, record, state, stage)
    elif thaws:
        await hands.networks.plug(spec.ports)
        await hands.virt.power_on(spec.server_id)
    elif spec.boot_count > record.boot_count or (not running and host_restarted):
        if not running:
            await _build(hands, spec, stage)
            await hands.virt.power_on(spec.server_id)
    elif spec.soft_reboots > record.soft_reboots:
        if not running or not await hands.virt.reboot_soft(spec.server_id, SOFT_REBOOT_PATIENCE):
            await _reset(hands, spec, record, state, stage)
    elif running and host_restarted:
        await hands.networks.plug(spec.ports)
    record.boot_count = max(record.boot_count, spec.boot_count)
    record.soft_reboots, record.hard_reboots = spec.soft_reboots, spec.hard_reboots
    record.host_boot = hands.boot_id


async def _reset(hands: Hands, spec: GuestSpec, record: Record, state: GuestState | None, stage: Stage) -> None:
    """Pull the plug and start again, once: the start that the intent names must not be the one that runs."""
    level = f"{spec.hard_reboots}:{spec.soft_reboots}"
    before = state.start if state else ""
    intended, _, started = record.intent.partition("@")
    if intended == level and before and before != started:
        return
    if intended != level:
        record.intent = f"{level}@{before}"
        hands.journal.note(record)
    if state is not None:
        await hands.virt.power_off(spec.server_id)
    await _build(hands, spec, stage)
    await hands.virt.power_on(spec.server_id)


async def _rewire(hands: Hands, spec: GuestSpec, state: GuestState | None, stage: Stage) -> None:
    """Of a guest that does not run, the NICs are those of its next start. What a port had that is gone from it goes
    when the control plane no longer lists that port here."""
    if spec.power in ("running", "paused") and state is not None and state.state in ("running", "paused"):
        stage("network", 0)
        await hands.virt.rewire(spec, await hands.networks.plug(spec.ports))


async def _stop(hands: Hands, spec: GuestSpec, state: GuestState | None) -> None:
    if state is not None and state.state in ("running", "paused", "suspended"):
        clean = state.state == "running" and await hands.virt.shutdown(spec.server_id, float(spec.stop_timeout))
        if not clean:
            await hands.virt.power_off(spec.server_id)


async def _build(hands: Hands, spec: GuestSpec, stage: Stage) -> None:
    """Network first, then disks, then the definition: whatever exists already is left as it is."""
    stage("network", 0)
    nics = await hands.networks.plug(spec.ports)
    for image in await hands.block.lacking(spec):
        await _fetch(hands, image, stage)
    stage("disks", 0)
    disks = await hands.block.create(spec, await _drive(hands, spec))
    await hands.virt.define(spec, disks, nics)


async def _drive(hands: Hands, spec: GuestSpec) -> bytes | None:
    if not spec.config_drive:
        return None
    return await asyncio.to_thread(render, spec, hands.networks.docs, _seed(hands, spec))


async def _expect(hands: Hands, spec: GuestSpec, record: Record, stage: Stage) -> None:
    """Network and empty disks for a guest that will come as it runs; its levels are reached when it has come."""
    stage("network", 0)
    nics = await hands.networks.plug(spec.ports)
    disks = await hands.block.receive(spec, await _drive(hands, spec))
    record.reception = await hands.virt.expect(spec, disks, nics)
    record.boot_count, record.soft_reboots = spec.boot_count, spec.soft_reboots
    record.hard_reboots, record.deposits = spec.hard_reboots, spec.deposits
    record.host_boot = hands.boot_id


async def _send(hands: Hands, spec: GuestSpec, record: Record, state: GuestState | None, stage: Stage) -> None:
    """One that is not here any more has gone. Nothing is started: where it is, is not for this host to know."""
    if state is None or record.version >= spec.version:
        return
    if spec.abort:
        raise DriverError("cancelled", "The live migration was cancelled")
    if state.state not in ("running", "paused"):
        raise DriverError("not_running", "The guest does not run")
    await hands.virt.send(spec.server_id, spec.send_to, lambda percent: stage("migrate", percent))


async def _fetch(hands: Hands, image: ImageRef, stage: Stage) -> None:
    ticket = await hands.control.ticket(TicketRequest(host_id=hands.host_id, image_id=image.image_id))
    if not ticket.url:
        raise DriverError("image_gone", f"Image {image.image_id} is not there any more", detail=ticket.disk_format)

    def progress(done: int, whole: int) -> None:
        stage("image", done * 100 // whole if whole else 0)

    try:
        await hands.block.fetch(image, ticket, progress)
    except DriverError as error:
        # A full disk may hold images that nothing needs.
        if error.code != "no_space" or not await hands.block.evict(images_in_use(hands.journal), 0.0):
            raise
        await hands.block.fetch(image, ticket, progress)


def images_in_use(journal: Journal) -> frozenset[str]:
    """The images (sha512) that this host's guests stand on or are about to."""
    specs = journal.specs.values()
    return frozenset(image.sha512 for spec in specs for image in (spec.image, spec.rescue) if image is not None)


def _seed(hands: Hands, spec: GuestSpec) -> bytes:
    """Randomness for a guest's first moments: its own, and the same each time its drive is written."""
    if not hands.secret:
        return b""
    return hashlib.shake_256(hands.secret + spec.server_id.encode()).digest(SEED_BYTES)


async def _remove(hands: Hands, spec: GuestSpec) -> GuestObservation:
    """Everything that this host may hold of a guest goes, in an order in which nothing is left pointing at nothing."""
    known = hands.journal.specs.get(spec.server_id, spec)
    state = await hands.virt.get(spec.server_id)
    if state is not None:
        await hands.virt.power_off(spec.server_id)
    # Also when the hypervisor does not know it any more: its logs may still be there.
    await hands.virt.undefine(spec.server_id)
    await hands.networks.unplug(p.port_id for p in (*known.ports, *spec.ports))
    await hands.block.remove(spec.server_id)
    return GuestObservation(server_id=spec.server_id, fence=spec.fence, version=spec.version, power="absent")
