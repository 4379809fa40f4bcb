"""The virt port: guests on one host.

Every method is idempotent: asking again for what already holds succeeds and does nothing. Drivers touch only guests
that carry the cloud's id. Errors are DriverError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from kilonova.wire.guest import GuestSpec
from kilonova.wire.node import ConsoleKind, Diagnostics, Inventory

Role = Literal["root", "ephemeral", "swap", "config", "rescue"]
RunState = Literal["running", "stopped", "paused", "suspended", "crashed", "moving"]
"""`moving`: on its way from or to another host; nobody can say yet which of them has it."""


@dataclass(frozen=True, slots=True)
class DiskDevice:
    """A disk of a guest: `role` is root, ephemeral, swap, config (a read-only CD-ROM) or rescue (what
    the guest starts from when it is there)."""

    role: Role
    path: Path
    format: Literal["qcow2", "raw"]


@dataclass(frozen=True, slots=True)
class NicDevice:
    """A NIC of a guest: the interface `device` that will appear in `bridge` (both empty on a fake network)."""

    port_id: str
    mac: str
    bridge: str
    device: str
    mtu: int


@dataclass(frozen=True, slots=True)
class GuestState:
    """What the hypervisor says of one guest. `start` differs after each start of it (not after a reboot inside);
    it is empty when the guest does not run. `fence` is what the last `define` wrote into it."""

    server_id: str
    state: RunState
    fence: int
    start: str
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class PowerEvent:
    """Something happened to a guest, asked for or not. `cause` tells shutdown from inside, destroy, crash, start…"""

    server_id: str
    cause: Literal[
        "started", "shutdown", "destroyed", "crashed", "rebooted", "undefined", "paused", "resumed", "suspended"
    ]


class VirtDriver(Protocol):
    """Guests on one host; see the module's promise."""

    async def start(self) -> None:
        """Connect; afterwards `events` flow. Raises DriverError with what to do when the hypervisor is not there."""

    async def close(self) -> None:
        """Disconnect. Guests go on running."""

    async def inventory(self) -> Inventory:
        """What this host has for guests; `disk_gb` is left 0 (the block driver knows)."""

    async def define(self, spec: GuestSpec, disks: tuple[DiskDevice, ...], nics: tuple[NicDevice, ...]) -> None:
        """Make the guest known to the hypervisor, replacing an older definition; does not start it."""

    async def power_on(self, server_id: str) -> None:
        """Start a defined guest, or let a paused or suspended one go on. Its console log goes on where it was."""

    async def pause(self, server_id: str) -> None:
        """Stop a running guest's processors where they are."""

    async def suspend(self, server_id: str) -> None:
        """Write the memory of a running or paused guest to the host's disk and stop it."""

    async def shutdown(self, server_id: str, timeout: float) -> bool:
        """Ask the guest to power off and wait at most `timeout` seconds; True when it is off. Never forces."""

    async def power_off(self, server_id: str) -> None:
        """Stop the guest at once, as if the plug were pulled; a suspended one loses its memory."""

    async def reboot_soft(self, server_id: str, timeout: float) -> bool:
        """Ask the guest to restart itself (agent or ACPI), at most `timeout` seconds; True when it has restarted
        (same definition, new boot inside). False when the guest did not react; nothing is forced."""

    async def undefine(self, server_id: str) -> None:
        """Forget the guest with all that the hypervisor keeps for it (NVRAM, logs). It must be off."""

    async def get(self, server_id: str) -> GuestState | None:
        """The guest as it is now; None when the hypervisor does not know it."""

    async def list(self) -> tuple[GuestState, ...]:
        """Every guest that carries the cloud's id."""

    async def console_output(self, server_id: str, limit: int) -> bytes:
        """The last `limit` bytes at most of what the guest wrote to its serial console; empty when it never ran."""

    def events(self) -> AsyncIterator[PowerEvent]:
        """Changes as they happen, for ever. May lose some (reconnects): the agent also lists now and then."""


class DiskCopier(Protocol):
    """Copies of disks of guests that run."""

    async def copy_root(self, server_id: str, target: Path) -> None:
        """Make the new file `target` a qcow2 without backing of the root disk as it is at one moment, while the guest
        goes on; its file systems are quiet at that moment where its agent can see to it."""


class Attendant(Protocol):
    """What is done to guests that run. Raises `not_running` for those that do not."""

    async def rewire(self, spec: GuestSpec, nics: tuple[NicDevice, ...]) -> None:
        """Make a running or paused guest have exactly these NICs; those that it has stay as they are. Raises `nic_held`
        when it does not let one go."""

    async def set_password(self, server_id: str, user: str, password: str) -> None:
        """Change a user's password by the guest's agent. Raises `no_agent` when none is there."""

    async def interrupt(self, server_id: str) -> None:
        """Send a non-maskable interrupt, at which a guest may write its memory down."""

    async def console_address(self, server_id: str, kind: ConsoleKind) -> str:
        """Where whoever is on this host reaches a running guest's screen (RFB) or serial port: `unix:/path`. Raises
        `no_console` when it has none of that kind."""

    async def diagnose(self, server_id: str) -> Diagnostics:
        """What a running guest used since it was started."""


class Mover(Protocol):
    """Takes guests to other hosts while they run."""

    async def expect(self, spec: GuestSpec, disks: tuple[DiskDevice, ...], nics: tuple[NicDevice, ...]) -> str:
        """Where, and as what, a guest is to be sent that shall come here (see `send`). Raises `no_reception` when this
        host takes none."""

    async def send(self, server_id: str, reception: str, progress: Callable[[int], None]) -> None:
        """Take a running or paused guest to another host: memory, and what its disks hold. It returns when the guest is
        there and not here any more; a failure, or a cancellation, leaves it here as it was and nothing there.
        `progress` hears percents."""

    async def hurry(self, server_id: str) -> None:
        """Let a guest that is being sent stand still for as long as the rest takes."""


class Virt(VirtDriver, DiskCopier, Attendant, Mover, Protocol):
    """All that a host's hypervisor does."""
