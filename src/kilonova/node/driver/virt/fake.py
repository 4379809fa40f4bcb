"""Simulated guests, for clouds of thousands of hosts without hypervisors: no threads, a few µs a call."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from weakref import WeakValueDictionary

import msgspec

from kilonova.kit.clock import Clock, SystemClock
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.event import EventHub
from kilonova.node.driver.virt.fake_console import FakeConsoles
from kilonova.node.driver.virt.fake_journal import FakeGuest, FakeJournal
from kilonova.node.driver.virt.port import DiskDevice, GuestState, NicDevice, PowerEvent, RunState
from kilonova.wire.guest import GuestSpec
from kilonova.wire.node import ConsoleKind, Diagnostics, DiskUse, Inventory, NicUse

_CONSOLE_LIMIT = 8192
_WIRE: WeakValueDictionary[str, FakeVirt] = WeakValueDictionary()
"""The simulated hosts of this process by address: where one sends a guest to another."""


@dataclass
class FakeScript:
    """How a simulated host misbehaves, by method name of the port (`define`, `power_on`, …).

    `delays` are seconds before each call does anything; `failures` are probabilities of DriverError `driver`
    (retryable), drawn from `random`; `fail_next` makes the very next calls fail.
    """

    delays: dict[str, float] = field(default_factory=dict)
    failures: dict[str, float] = field(default_factory=dict)
    random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 (a simulation's dice)
    _next: dict[str, list[DriverError]] = field(default_factory=dict)

    def fail_next(self, method: str, count: int, code: str, *, retryable: bool = False) -> None:
        """Let the next `count` calls of `method` raise DriverError(code)."""
        error = DriverError(code, f"The simulated host was told to fail {method}.", retryable=retryable)
        self._next.setdefault(method, []).extend([error] * count)

    def check(self, method: str) -> None:
        """Raise what the script has for this call."""
        if waiting := self._next.get(method):
            raise waiting.pop(0)
        if (chance := self.failures.get(method)) and self.random.random() < chance:
            raise DriverError("driver", f"The simulated host failed {method}.", retryable=True)


class FakeVirt:
    """A simulated host that keeps the port's promises: in memory, and in `state_dir` when there is one (guests then
    survive the daemon). `GuestSpec.fake` scripts one guest, with METHOD a method name of the port:

    - `fail.METHOD`: how many calls fail from now on, or `always`; `fail.METHOD.code`: the error's code (`driver`)
    - `delay.METHOD`: seconds that each call takes
    - `shutdown`: `ignore` lets the guest ignore requests to power off; `reboot`: `ignore` those to restart
    """

    def __init__(
        self,
        *,
        vcpus: int = 64,
        memory_mb: int = 256 * 1024,
        script: FakeScript | None = None,
        state_dir: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.script = script or FakeScript()
        self._inventory = Inventory(
            vcpus=vcpus, memory_mb=memory_mb, disk_gb=0, capabilities={"soft_reboot": True, "console_output": True}
        )
        self._journal = FakeJournal(state_dir)
        self._guests = self._journal.guests
        self._clock = clock or SystemClock()
        self._hub = EventHub()
        self._address = str(state_dir) if state_dir else f"host-{id(self)}"
        self._failed: Counter[tuple[str, str]] = Counter()
        self._consoles = FakeConsoles(lambda server_id: self._require(server_id).console)

    async def start(self) -> None:
        await self._act("start")
        self._journal.open()
        _WIRE[self._address] = self

    async def close(self) -> None:
        if _WIRE.get(self._address) is self:
            del _WIRE[self._address]
        self._hub.close()
        self._consoles.close()
        self._journal.close()

    async def inventory(self) -> Inventory:
        await self._act("inventory")
        return self._inventory

    async def define(self, spec: GuestSpec, disks: tuple[DiskDevice, ...], nics: tuple[NicDevice, ...]) -> None:
        await self._act("define", spec.server_id, spec.fake)
        guest = self._guests.get(spec.server_id) or FakeGuest(server_id=spec.server_id, fence=spec.fence)
        guest.fence, guest.name, guest.script = spec.fence, spec.name, dict(spec.fake)
        guest.nics, guest.memory_mb, guest.vcpus = tuple(nic.mac for nic in nics), spec.memory_mb, spec.vcpus
        self._journal.save(guest)

    async def power_on(self, server_id: str) -> None:
        await self._act("power_on", server_id)
        guest = self._require(server_id)
        if guest.state == "running":
            return
        if guest.state == "paused":
            self._move(guest, "running", "resumed")
            return
        self._journal.starts += 1
        if guest.state == "suspended":
            guest.starts = self._journal.starts
            self._move(guest, "running", "resumed")
            return
        guest.starts = self._journal.starts
        guest.since = self._clock.now() / 1e6
        self._boot(guest)
        self._move(guest, "running", "started")

    async def pause(self, server_id: str) -> None:
        await self._act("pause", server_id)
        guest = self._require(server_id)
        if guest.state == "running":
            self._move(guest, "paused", "paused")
        elif guest.state != "paused":
            raise DriverError("not_running", "The guest does not run.")

    async def suspend(self, server_id: str) -> None:
        await self._act("suspend", server_id)
        guest = self._require(server_id)
        if guest.state in ("running", "paused"):
            self._move(guest, "suspended", "suspended")
        elif guest.state != "suspended":
            raise DriverError("not_running", "The guest does not run.")

    async def shutdown(self, server_id: str, timeout: float) -> bool:
        await self._act("shutdown", server_id)
        guest = self._guests.get(server_id)
        if guest is None or guest.state in ("stopped", "crashed"):
            return True
        if guest.script.get("shutdown") == "ignore":
            await self._clock.sleep(timeout)
            return guest.state != "running"
        self._move(guest, "stopped", "shutdown")
        return True

    async def power_off(self, server_id: str) -> None:
        await self._act("power_off", server_id)
        self.destroy(server_id)

    async def reboot_soft(self, server_id: str, timeout: float) -> bool:
        await self._act("reboot_soft", server_id)
        guest = self._require(server_id)
        if guest.state != "running":
            return False
        if guest.script.get("reboot") == "ignore":
            await self._clock.sleep(timeout)
            return False
        self._boot(guest)
        self._move(guest, "running", "rebooted")
        return True

    async def undefine(self, server_id: str) -> None:
        await self._act("undefine", server_id)
        guest = self._guests.get(server_id)
        if guest is not None and guest.state in ("running", "paused", "suspended"):
            raise DriverError("running", "The guest is running.")
        for key in [key for key in self._failed if key[0] == server_id]:
            del self._failed[key]
        if guest is not None:
            self._journal.forget(server_id)
            self._hub.publish(PowerEvent(server_id, "undefined"))

    async def get(self, server_id: str) -> GuestState | None:
        await self._act("get", server_id)
        guest = self._guests.get(server_id)
        return _describe(guest) if guest else None

    async def list(self) -> tuple[GuestState, ...]:
        await self._act("list")
        return tuple(_describe(guest) for guest in self._guests.values())

    async def console_output(self, server_id: str, limit: int) -> bytes:
        await self._act("console_output", server_id)
        guest = self._guests.get(server_id)
        return guest.console.encode()[-limit:] if guest and limit > 0 else b""

    async def copy_root(self, server_id: str, target: Path) -> None:
        """Nothing lies there: the fake block driver says what it holds."""
        await self._act("copy_root", server_id)
        self._require(server_id)

    async def rewire(self, spec: GuestSpec, nics: tuple[NicDevice, ...]) -> None:
        """The guest tells on its console what comes and goes."""
        await self._act("rewire", spec.server_id)
        guest, wanted = self._running(spec.server_id), tuple(nic.mac for nic in nics)
        said = [f"NIC {mac} is there" for mac in wanted if mac not in guest.nics]
        said += [f"NIC {mac} is gone" for mac in guest.nics if mac not in wanted]
        guest.nics = wanted
        self._say(guest, *said)
        self._journal.save(guest)

    async def set_password(self, server_id: str, user: str, password: str) -> None:
        """`agent`: `none` in a guest's script lets it have no agent."""
        await self._act("set_password", server_id)
        guest = self._running(server_id)
        if guest.script.get("agent") == "none":
            raise DriverError("no_agent", "The guest's agent does not answer.")
        self._say(guest, f"The password of {user} was changed")
        self._journal.save(guest)

    async def interrupt(self, server_id: str) -> None:
        """The guest tells on its console that it was interrupted."""
        await self._act("interrupt", server_id)
        guest = self._running(server_id)
        self._say(guest, "NMI received: crash dump written")
        self._journal.save(guest)

    async def console_address(self, server_id: str, kind: ConsoleKind) -> str:
        """`screen`: `none` in a guest's script lets it have none."""
        await self._act("console_address", server_id)
        guest = self._running(server_id)
        if kind == "vnc" and guest.script.get("screen") == "none":
            raise DriverError("no_console", "The guest has no console of that kind.")
        return await self._consoles.address(server_id, kind)

    async def diagnose(self, server_id: str) -> Diagnostics:
        """A simulated guest uses a hundredth of its processors, all of its memory, and nothing else."""
        await self._act("diagnose", server_id)
        guest = self._running(server_id)
        uptime = max(0.0, self._clock.now() / 1e6 - guest.since)
        return Diagnostics(
            driver="fake", hypervisor="fake", state=guest.state, uptime=int(uptime),
            cpus=(int(uptime * 1e7),) * guest.vcpus, memory_mb=guest.memory_mb, memory_used_mb=guest.memory_mb,
            nics=tuple(NicUse(name=f"nic{n}", mac=mac) for n, mac in enumerate(guest.nics)),
            disks=(DiskUse(name="vda"),),
        )  # fmt: skip

    async def expect(self, spec: GuestSpec, disks: tuple[DiskDevice, ...], nics: tuple[NicDevice, ...]) -> str:
        """What comes is announced by address, fence and name."""
        await self._act("expect", spec.server_id, spec.fake)
        return msgspec.json.encode([self._address, spec.fence, spec.name]).decode()

    async def send(self, server_id: str, reception: str, progress: Callable[[int], None]) -> None:
        """Over a wire between simulated hosts of one process; a host that is not started is not reached."""
        await self._act("send", server_id)
        progress(50)
        guest = self._running(server_id)
        address, fence, name = msgspec.json.decode(reception, type=tuple[str, int, str])
        there = _WIRE.get(address)
        if there is None:
            raise DriverError("unreachable", "The other host cannot be reached.")
        there._arrive(guest, fence, name)
        self._journal.forget(server_id)
        self._hub.publish(PowerEvent(server_id, "undefined"))

    async def hurry(self, server_id: str) -> None:
        """It takes as long as it takes."""
        await self._act("hurry", server_id)

    def _arrive(self, guest: FakeGuest, fence: int, name: str) -> None:
        arrived = msgspec.structs.replace(guest, fence=fence, name=name, console="")
        self._journal.starts += 1
        arrived.starts, arrived.since = self._journal.starts, self._clock.now() / 1e6
        self._guests[guest.server_id] = arrived
        self._move(arrived, guest.state, "resumed" if guest.state == "running" else "paused")

    def events(self) -> AsyncIterator[PowerEvent]:
        return self._hub.stream()

    def crash(self, server_id: str) -> None:
        """Behind the driver's back: the hypervisor process of the guest dies."""
        self._stop(server_id, "crashed", "crashed")

    def power_off_inside(self, server_id: str) -> None:
        """Behind the driver's back: someone powers the guest off from inside."""
        self._stop(server_id, "stopped", "shutdown")

    def destroy(self, server_id: str) -> None:
        """Behind the driver's back: someone pulls the plug on the host."""
        self._stop(server_id, "stopped", "destroyed")

    def _stop(self, server_id: str, state: RunState, cause: Literal["crashed", "shutdown", "destroyed"]) -> None:
        guest = self._guests.get(server_id)
        if guest is not None and guest.state in ("running", "paused", "suspended"):
            self._move(guest, state, cause)

    def _move(
        self,
        guest: FakeGuest,
        state: RunState,
        cause: Literal["started", "rebooted", "crashed", "shutdown", "destroyed", "paused", "resumed", "suspended"],
    ) -> None:
        guest.state = state
        if self._guests.get(guest.server_id) is guest:
            self._journal.save(guest)
            self._hub.publish(PowerEvent(guest.server_id, cause))

    def _require(self, server_id: str) -> FakeGuest:
        guest = self._guests.get(server_id)
        if guest is None:
            raise DriverError("no_such_guest", "The host does not know this guest.")
        return guest

    def _running(self, server_id: str) -> FakeGuest:
        guest = self._require(server_id)
        if guest.state not in ("running", "paused"):
            raise DriverError("not_running", "The guest does not run.")
        return guest

    def _say(self, guest: FakeGuest, *lines: str) -> None:
        guest.console = (guest.console + "".join(f"{line}\n" for line in lines))[-_CONSOLE_LIMIT:]

    def _boot(self, guest: FakeGuest) -> None:
        guest.boots += 1
        self._say(
            guest,
            "[    0.000000] Linux version 6.1.0-kilonova-fake (simulated)",
            f"[    0.{300 + guest.boots % 700:03d}000] Run /sbin/init as init process",
            f"KILONOVA READY instance={guest.server_id} boot={guest.starts}.{guest.boots} "
            f"hostname={guest.name or 'guest'} source=fake uptime=0.50",
        )

    async def _act(self, method: str, server_id: str = "", fake: dict[str, str] | None = None) -> None:
        """What scripts say about this call: of the host, then of the guest."""
        if delay := self.script.delays.get(method):
            await self._clock.sleep(delay)
        self.script.check(method)
        guest = self._guests.get(server_id)
        words = fake if fake is not None else guest.script if guest else {}
        if not words:
            return
        if text := words.get(f"delay.{method}"):
            await self._clock.sleep(_number(f"delay.{method}", text))
        if text := words.get(f"fail.{method}"):
            self._failed[server_id, method] += 1
            if text == "always" or self._failed[server_id, method] <= _number(f"fail.{method}", text):
                code = words.get(f"fail.{method}.code", "driver")
                raise DriverError(code, f"The simulated guest was told to fail {method}.", retryable=code == "driver")


def _describe(guest: FakeGuest) -> GuestState:
    up = guest.state in ("running", "paused")
    start = f"{guest.server_id[:8]}.{guest.starts}" if up else ""
    return GuestState(guest.server_id, guest.state, guest.fence, start, guest.since if up else 0.0)


def _number(key: str, text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError as error:
        raise DriverError("driver", f"The simulation's script has no number for {key}.") from error
