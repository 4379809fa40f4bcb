"""The block driver for files: qcow2 overlays over cached images, under one directory.

    cache/<sha512>{,.json}        images, see image_cache
    disks/<server id>/image       the sha512s that its disks stand on, written before them and as long as they exist:
                                  no such image is evicted, and nobody has to open a disk to know
    disks/<server id>/{root,ephemeral,swap,config,rescue}
    disks/<server id>/generation  how often they were made anew (0 without it), see root_disk
    trash/                        folders on their way out

Every file gets its name by a rename when it is whole, so a crash between any two steps leaves either nothing or a
`.partial-` file that the next start removes. Disks belong to the node with mode 600; libvirt's dynamic ownership (its
default) hands them to the guest's process while that runs.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal
from weakref import WeakValueDictionary

from kilonova.kit.clock import Clock, SystemClock
from kilonova.node.driver.block import root_disk
from kilonova.node.driver.block.folder import Folder
from kilonova.node.driver.block.image_cache import CachedImage, ImageCache
from kilonova.node.driver.block.port import Part, Progress, Space
from kilonova.node.driver.block.qemu_img import QemuImg
from kilonova.node.driver.block.scratch import make_ephemeral, make_swap
from kilonova.node.driver.block.tool import Account
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.offload import offload
from kilonova.node.driver.virt.port import DiskCopier, DiskDevice, Role
from kilonova.wire.guest import GuestSpec, ImageRef
from kilonova.wire.node import ImageTicket

GIB = 1 << 30
MIB = 1 << 20
SERVER_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FORMATS: dict[Role, Literal["qcow2", "raw"]] = {
    "root": "qcow2",
    "ephemeral": "raw",
    "swap": "raw",
    "config": "raw",
    "rescue": "qcow2",
}
USE = "image"
PARTIAL = ".partial-"
EXPORT_BYTES = 512 * 1024


class FileBlock:
    """The block port on files under `root`.

    `low_disk_bytes` stay free on its file system. `run_as` is the unprivileged user that reads what others made (None:
    no change of user, for nodes that are not root). `group` is the group that may read cached images, that of the
    guests' processes (None: all who know an image's sha512). `clock` gives the time of use.
    """

    def __init__(
        self,
        root: Path,
        low_disk_bytes: int = GIB,
        run_as: int | None = None,
        group: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        reader = None if run_as is None else Account(run_as, run_as if group is None else group)
        self._root = Folder(root, low_disk_bytes)
        self._cache_folder = Folder(root / "cache", low_disk_bytes)
        self._disks = Folder(root / "disks", low_disk_bytes)
        self._trash = Folder(root / "trash", low_disk_bytes)
        self._pool = ThreadPoolExecutor(4, "block")
        self._qemu_img = QemuImg(reader)
        self._cache = ImageCache(self._cache_folder, group, self._qemu_img, self._pool, clock or SystemClock())
        self._use = asyncio.Lock()
        self._servers: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self) -> None:
        """See the port."""
        await offload(self._pool, self._prepare)

    def _prepare(self) -> None:
        for folder in (self._root, self._cache_folder, self._disks, self._trash):
            folder.make()
        self._cache.clear()
        for left in self._trash.path.iterdir():
            shutil.rmtree(left)
        for partial_file in self._disks.path.glob(f"*/{PARTIAL}*"):
            partial_file.unlink()
        for folder_path in self._disks.path.iterdir():
            self._drop_if_bare(folder_path)

    async def space(self) -> Space:
        """See the port."""
        found = await offload(self._pool, lambda: os.statvfs(self._root.path))
        return Space(total=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)

    async def cached(self, image: ImageRef) -> bool:
        """See the port."""
        return await offload(self._pool, lambda: self._cache.holds(image))

    async def fetch(self, image: ImageRef, ticket: ImageTicket, progress: Progress) -> None:
        """See the port."""
        await self._cache.fetch(image, ticket, progress)

    async def create(self, spec: GuestSpec, config_drive: bytes | None) -> tuple[DiskDevice, ...]:
        """See the port. Raises DriverError `disk_too_small` when the image is larger than the flavor's root disk, and
        `image_missing` (retryable) when the image is not in the cache."""
        folder = self._folder_of(spec.server_id)
        async with self._lock(spec.server_id):
            try:
                await self._make_roots(folder, spec)
                if spec.ephemeral_gb:
                    await self._make(folder / "ephemeral", partial(make_ephemeral, size=spec.ephemeral_gb * GIB))
                if spec.swap_mb:
                    await self._make(folder / "swap", partial(make_swap, size=spec.swap_mb * MIB))
                if config_drive is not None:
                    await offload(self._pool, lambda: self._write_config(folder, config_drive))
            finally:
                await offload(self._pool, lambda: self._drop_if_bare(folder))
        return await self.disks(spec.server_id)

    async def _make_roots(self, folder: Path, spec: GuestSpec) -> None:
        """What the guest starts from: its root disk as the spec wants it, and the rescue disk if there is to be one."""
        if await offload(self._pool, lambda: root_disk.outdated(folder, spec)):
            await offload(self._pool, lambda: root_disk.discard(folder, spec))
        if await offload(self._pool, (folder / "root").exists):
            await root_disk.shape(self._qemu_img, folder / "root", spec)
        elif spec.image is not None:
            await self._make_overlay(folder, "root", spec.image, spec.root_gb)
        if spec.rescue is None:
            await offload(self._pool, lambda: (folder / "rescue").unlink(missing_ok=True))
        elif not await offload(self._pool, (folder / "rescue").exists):
            await self._make_overlay(folder, "rescue", spec.rescue, 0)

    async def _make_overlay(self, folder: Path, role: str, image: ImageRef, size_gb: int) -> None:
        async with self._use:
            base = await offload(self._pool, lambda: self._claim(folder, role, image, size_gb))
        backing = os.path.join("..", "..", self._cache_folder.path.name, image.sha512)
        size = size_gb * GIB or base.virtual_bytes
        make = partial(self._qemu_img.create_overlay, backing=backing, backing_format=base.stored_as, size=size)
        await self._make(folder / role, make)

    def _claim(self, folder: Path, role: str, image: ImageRef, root_gb: int) -> CachedImage:
        """Note that this guest stands on this image, so that it stays."""
        base = self._cache.look(image.sha512) if self._cache.holds(image) else None
        if base is None:
            raise DriverError("image_missing", "the image is not on the host yet", retryable=True)
        if root_gb and root_gb * GIB < base.virtual_bytes:
            message = f"the image needs a root disk of {base.virtual_bytes} bytes and the flavor gives {root_gb} GiB"
            raise DriverError("disk_too_small", message)
        Folder(folder, 0).make()
        others = self._used_by(folder) if role == "rescue" else frozenset()
        self._disks.write(folder / USE, " ".join(sorted({image.sha512, *others})).encode())
        self._cache.touch(image.sha512)
        return base

    async def _make(self, path: Path, fill: Callable[[Path], Awaitable[None]]) -> None:
        """A disk that is not there yet, made under another name and durable before it gets its own."""
        if await offload(self._pool, path.exists):
            return
        temp = path.with_name(f"{PARTIAL}{path.name}")
        try:
            await offload(self._pool, lambda: self._reserve(temp))
            with self._disks.writing():
                await fill(temp)
            await offload(self._pool, lambda: self._finish(temp, path))
        finally:
            await offload(self._pool, lambda: temp.unlink(missing_ok=True))

    def _reserve(self, temp: Path) -> None:
        """An empty file that only the node can open, whatever the umask of the tools that fill it."""
        self._disks.require()
        Folder(temp.parent, 0).make()
        temp.unlink(missing_ok=True)
        with self._disks.writing():
            temp.touch(mode=0o600)

    def _finish(self, temp: Path, path: Path) -> None:
        with self._disks.writing():
            self._disks.sync(temp)
            self._disks.rename(temp, path)

    async def lacking(self, spec: GuestSpec) -> tuple[ImageRef, ...]:
        """See the port."""
        folder = self._folder_of(spec.server_id)

        def work() -> tuple[ImageRef, ...]:
            fresh = not (folder / "root").exists() or root_disk.outdated(folder, spec)
            stands = spec.image is not None and (fresh or spec.image.sha512 in self._used_by(folder))
            needed = [spec.image if stands else None, spec.rescue]
            return tuple(image for image in needed if image is not None and not self._cache.holds(image))

        return await offload(self._pool, work)

    async def receive(self, spec: GuestSpec, config_drive: bytes | None) -> tuple[DiskDevice, ...]:
        """See the port."""
        folder = self._folder_of(spec.server_id)
        size = spec.root_gb * GIB or (spec.image.virtual_bytes if spec.image else 0)
        if not size:
            raise DriverError("disk_too_small", "nothing tells the size of the root disk that will come")
        async with self._lock(spec.server_id):
            if await offload(self._pool, lambda: root_disk.outdated(folder, spec)):
                await offload(self._pool, lambda: root_disk.discard(folder, spec))
            await self._make(folder / "root", partial(self._qemu_img.create_empty, size=size))
            if spec.ephemeral_gb:
                await self._make(folder / "ephemeral", partial(make_ephemeral, size=spec.ephemeral_gb * GIB))
            if spec.swap_mb:
                await self._make(folder / "swap", partial(make_swap, size=spec.swap_mb * MIB))
            if config_drive is not None:
                await offload(self._pool, lambda: self._write_config(folder, config_drive))
        return await self.disks(spec.server_id)

    def _write_config(self, folder: Path, data: bytes) -> None:
        path = folder / "config"
        if not path.exists() or path.read_bytes() != data:
            self._disks.require(len(data))
            Folder(folder, 0).make()
            self._disks.write(path, data)

    async def disks(self, server_id: str) -> tuple[DiskDevice, ...]:
        """See the port."""
        folder = self._folder_of(server_id)
        names = await offload(self._pool, lambda: {name for name in FORMATS if (folder / name).exists()})
        return tuple(DiskDevice(role, folder / role, kind) for role, kind in FORMATS.items() if role in names)

    async def export(self, spec: GuestSpec, copier: DiskCopier | None) -> AsyncGenerator[Part, None]:
        """See the port."""
        folder = self._folder_of(spec.server_id)
        root, copy = folder / "root", folder / f"{PARTIAL}export"
        if not await offload(self._pool, root.exists):
            raise DriverError("no_such_disk", "the guest has no root disk here")
        try:
            await offload(self._pool, lambda: copy.unlink(missing_ok=True))
            await offload(self._pool, self._disks.require)
            if copier is None:
                await self._qemu_img.flatten(root, copy)
            else:
                await copier.copy_root(spec.server_id, copy)
            size = await offload(self._pool, lambda: copy.stat().st_size)
            with await offload(self._pool, lambda: copy.open("rb", buffering=0)) as source:
                for offset in range(0, size, EXPORT_BYTES):
                    data = await offload(self._pool, lambda: source.read(EXPORT_BYTES))
                    yield Part("qcow2", offset, size, data)
        finally:
            await offload(self._pool, lambda: copy.unlink(missing_ok=True))

    async def remove(self, server_id: str) -> None:
        """See the port."""
        folder = self._folder_of(server_id)
        async with self._lock(server_id):
            await offload(self._pool, lambda: self._discard(folder))

    def _discard(self, folder: Path) -> None:
        """Out of sight by one rename; what a crash leaves in the trash goes at the next start."""
        used = self._used_by(folder)
        grave = self._trash.path / folder.name
        if grave.exists():
            shutil.rmtree(grave)
        if folder.exists():
            self._disks.rename(folder, grave)
            shutil.rmtree(grave)
        for sha512 in used:
            if self._cache.look(sha512) is not None:
                self._cache.touch(sha512)

    async def list(self) -> tuple[str, ...]:
        """See the port."""
        names = await offload(self._pool, lambda: sorted(os.listdir(self._disks.path)))
        return tuple(name for name in names if SERVER_ID.fullmatch(name))

    async def evict(self, keep: frozenset[str], older_than: float) -> tuple[str, ...]:
        """See the port."""
        async with self._use:
            return await offload(self._pool, lambda: self._cache.evict(keep | self._in_use(), older_than))

    def _in_use(self) -> frozenset[str]:
        return frozenset().union(*map(self._used_by, self._disks.path.iterdir()))

    def _used_by(self, folder: Path) -> frozenset[str]:
        try:
            return frozenset((folder / USE).read_text().split())
        except FileNotFoundError:
            return frozenset()

    def root_path(self, server_id: str) -> Path:
        """See the port."""
        return self._folder_of(server_id) / "root"

    def _folder_of(self, server_id: str) -> Path:
        if not SERVER_ID.fullmatch(server_id):
            raise DriverError("driver", "that is no server id")
        return self._disks.path / server_id

    def _lock(self, server_id: str) -> asyncio.Lock:
        return self._servers.setdefault(server_id, asyncio.Lock())

    def _drop_if_bare(self, folder: Path) -> None:
        """A folder without any disk is what a failure or crash left; nobody is to find it."""
        if folder.is_dir() and not any((folder / name).exists() for name in FORMATS):
            shutil.rmtree(folder)
