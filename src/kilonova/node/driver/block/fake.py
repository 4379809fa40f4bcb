"""A block driver without disks: a product driver for simulated hosts, microseconds a call, scriptable."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from kilonova.kit.clock import SECOND, Clock, SystemClock
from kilonova.node.driver.block.flight import SingleFlight
from kilonova.node.driver.block.port import Part, Progress, Space
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.fake import FakeScript
from kilonova.node.driver.virt.port import DiskCopier, DiskDevice
from kilonova.wire.guest import GuestSpec, ImageRef
from kilonova.wire.node import ImageTicket

GIB = 1 << 30


class _Disks(msgspec.Struct):
    base: ImageRef | None = None
    roles: tuple[str, ...] = ()
    config: bytes = b""
    generation: int = 0
    root_gb: int = 0
    marks: dict[str, int] = {}


class FakeBlock:
    """The block port in memory.

    `total_bytes` is the simulated disk, of which `low_disk_bytes` stay free and images take their size. `script` says
    how the host misbehaves, by method name of this port. `GuestSpec.fake` scripts `create` for one guest:
    `delay.create` in seconds, `fail.create` how many calls fail (or `always`), `fail.create.code` with what. With
    `state_dir` the guests' disks outlive the process: a small file each, read by `start`.
    """

    def __init__(
        self,
        *,
        total_bytes: int = 4096 * GIB,
        low_disk_bytes: int = GIB,
        script: FakeScript | None = None,
        state_dir: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.script = script or FakeScript()
        self.calls: Counter[str] = Counter()
        self._total = total_bytes
        self._low_disk = low_disk_bytes
        self._state_dir = state_dir
        self._clock = clock or SystemClock()
        self._images: dict[str, ImageRef] = {}
        self._used_at: dict[str, int] = {}
        self._disks: dict[str, _Disks] = {}
        self._failed: Counter[str] = Counter()
        self._flights = SingleFlight()

    async def _play(self, method: str) -> None:
        self.calls[method] += 1
        if delay := self.script.delays.get(method):
            await self._clock.sleep(delay)
        self.script.check(method)

    async def _play_guest(self, spec: GuestSpec) -> None:
        if delay := spec.fake.get("delay.create"):
            await self._clock.sleep(float(delay))
        if times := spec.fake.get("fail.create"):
            self._failed[spec.server_id] += 1
            if times == "always" or self._failed[spec.server_id] <= int(times):
                code = spec.fake.get("fail.create.code", "driver")
                raise DriverError(code, "The simulated guest was told to fail create.", retryable=code == "driver")

    async def start(self) -> None:
        """See the port."""
        await self._play("start")
        if self._state_dir is not None:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            for path in self._state_dir.glob("*.disks"):
                disks = self._disks[path.stem] = msgspec.json.decode(path.read_bytes(), type=_Disks)
                if disks.base is not None:
                    self._images[disks.base.sha512] = disks.base

    async def space(self) -> Space:
        """See the port."""
        await self._play("space")
        return Space(total=self._total, free=self._free())

    def _free(self) -> int:
        return self._total - sum(image.size for image in self._images.values())

    async def cached(self, image: ImageRef) -> bool:
        """See the port."""
        await self._play("cached")
        return self._holds(image)

    def _holds(self, image: ImageRef) -> bool:
        known = self._images.get(image.sha512)
        if known is not None and known.disk_format != image.disk_format:
            message = f"the image says that it is {image.disk_format}, but its content is {known.disk_format}"
            raise DriverError("image_refused", message)
        return known is not None and known.size == image.size

    async def fetch(self, image: ImageRef, ticket: ImageTicket, progress: Progress) -> None:
        """See the port. No byte is read; what the ticket says is believed."""
        if (ticket.sha512, ticket.size, ticket.disk_format) != (image.sha512, image.size, image.disk_format):
            raise DriverError("image_corrupt", "the image store offers other bytes than the image has")
        if not self._holds(image):
            await self._flights.join(image.sha512, lambda report: self._bring(image, report), progress)
        else:
            progress(image.size, image.size)
        self._used_at[image.sha512] = self._clock.now()

    async def _bring(self, image: ImageRef, progress: Progress) -> None:
        if self._free() - image.size < self._low_disk:
            raise DriverError("no_space", "the host has too little free disk space", retryable=True)
        await self._play("fetch")
        self._images[image.sha512] = image
        progress(image.size, image.size)

    async def create(self, spec: GuestSpec, config_drive: bytes | None) -> tuple[DiskDevice, ...]:
        """See the port. Raises DriverError `disk_too_small` and `image_missing` as the file driver does."""
        await self._play("create")
        if spec.fake:
            await self._play_guest(spec)
        old = self._disks.get(spec.server_id, _Disks())
        if spec.generation > old.generation:
            kept = {"config", "ephemeral", "swap"} if spec.preserve_ephemeral else {"config"}
            roles = tuple(role for role in old.roles if role in kept)
            old = _Disks(roles=roles, config=old.config, generation=spec.generation)
        if spec.rescue is not None and not self._holds(spec.rescue):
            raise DriverError("image_missing", "the image is not on the host yet", retryable=True)
        if spec.image is not None and "root" not in old.roles:
            if not self._holds(spec.image):
                raise DriverError("image_missing", "the image is not on the host yet", retryable=True)
            if spec.root_gb and spec.root_gb * GIB < spec.image.virtual_bytes:
                raise DriverError("disk_too_small", "the image is larger than the flavor's root disk")
            old = replace(old, base=spec.image)
        wanted = {
            "root": spec.image is not None,
            "ephemeral": spec.ephemeral_gb > 0,
            "swap": spec.swap_mb > 0,
            "config": config_drive is not None,
        }
        present = [role for role, want in wanted.items() if want or role in old.roles]
        present += ["rescue"] if spec.rescue is not None else []
        config = old.config if config_drive is None else config_drive
        if present:
            self._keep(spec.server_id, replace(_shape(old, spec), roles=tuple(present), config=config))
        return self._devices(spec.server_id)

    async def lacking(self, spec: GuestSpec) -> tuple[ImageRef, ...]:
        """See the port."""
        await self._play("lacking")
        has = self._disks.get(spec.server_id, _Disks())
        made = "root" in has.roles and spec.generation <= has.generation
        needed = [spec.image] if spec.image is not None and not made else []
        needed += [spec.rescue] if spec.rescue is not None else []
        return tuple(image for image in needed if not self._holds(image))

    async def receive(self, spec: GuestSpec, config_drive: bytes | None) -> tuple[DiskDevice, ...]:
        """See the port."""
        await self._play("receive")
        wanted = {"ephemeral": spec.ephemeral_gb > 0, "swap": spec.swap_mb > 0, "config": config_drive is not None}
        roles = ("root", *(role for role, want in wanted.items() if want))
        made = _Disks(roles=roles, config=config_drive or b"", generation=spec.generation, root_gb=spec.root_gb)
        self._keep(spec.server_id, made)
        return self._devices(spec.server_id)

    def _keep(self, server_id: str, disks: _Disks) -> None:
        if self._disks.get(server_id) == disks:
            return
        self._disks[server_id] = disks
        if self._state_dir is not None:
            temp = self._state_dir / f"{server_id}.new"
            temp.write_bytes(msgspec.json.encode(disks))
            temp.rename(temp.with_suffix(".disks"))

    async def disks(self, server_id: str) -> tuple[DiskDevice, ...]:
        """See the port."""
        await self._play("disks")
        return self._devices(server_id)

    def _devices(self, server_id: str) -> tuple[DiskDevice, ...]:
        found = self._disks.get(server_id, _Disks()).roles
        folder = self.root_path(server_id).parent
        devices = (
            DiskDevice("root", folder / "root", "qcow2"),
            DiskDevice("ephemeral", folder / "ephemeral", "raw"),
            DiskDevice("swap", folder / "swap", "raw"),
            DiskDevice("config", folder / "config", "raw"),
            DiskDevice("rescue", folder / "rescue", "qcow2"),
        )
        return tuple(device for device in devices if device.role in found)

    async def export(self, spec: GuestSpec, copier: DiskCopier | None) -> AsyncGenerator[Part, None]:
        """See the port. The disk's bytes tell which server's it is."""
        await self._play("export")
        if "root" not in self._disks.get(spec.server_id, _Disks()).roles:
            raise DriverError("no_such_disk", "the guest has no root disk here")
        if copier is not None:
            await copier.copy_root(spec.server_id, self.root_path(spec.server_id))
        data = f"disk of {spec.server_id}".encode().ljust(1024, b".")
        for offset in (0, 512):
            yield Part("raw", offset, len(data), data[offset : offset + 512])

    async def remove(self, server_id: str) -> None:
        """See the port."""
        await self._play("remove")
        disks = self._disks.pop(server_id, None)
        del self._failed[server_id]
        if disks is not None and disks.base is not None and disks.base.sha512 in self._images:
            self._used_at[disks.base.sha512] = self._clock.now()
        if self._state_dir is not None:
            (self._state_dir / f"{server_id}.disks").unlink(missing_ok=True)

    async def list(self) -> tuple[str, ...]:
        """See the port."""
        await self._play("list")
        return tuple(sorted(self._disks))

    async def evict(self, keep: frozenset[str], older_than: float) -> tuple[str, ...]:
        """See the port."""
        await self._play("evict")
        needed = keep | {disks.base.sha512 for disks in self._disks.values() if disks.base}
        limit = self._clock.now() - int(older_than * SECOND)
        gone = tuple(sha for sha in sorted(self._images) if sha not in needed and self._used_at.get(sha, 0) <= limit)
        for sha512 in gone:
            del self._images[sha512]
            self._used_at.pop(sha512, None)
        return gone

    def root_path(self, server_id: str) -> Path:
        """See the port. Nothing lies there."""
        return Path("/nonexistent") / server_id / "root"


def _shape(disks: _Disks, spec: GuestSpec) -> _Disks:
    """The root disk's size, and the sizes of it that are kept, after what the file driver does with a real one."""
    size, marks = disks.root_gb, dict(disks.marks)
    size = marks.get(spec.restore, size)
    marks = {name: kept for name, kept in marks.items() if name == spec.mark}
    if spec.mark:
        marks.setdefault(spec.mark, size)
    return replace(disks, root_gb=max(size, spec.root_gb), marks=marks)
