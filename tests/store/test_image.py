"""Images: their life, their bytes, who sees them, and what is left when things go wrong (nothing)."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from kilonova.cloud.image import store
from kilonova.cloud.image.content import Unfit
from kilonova.cloud.image.model import Change, Filter, Image, NewImage, Page
from kilonova.cloud.image.register import ImageRegister
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.sweep import ImageSweep
from kilonova.cloud.image.table import image_history
from kilonova.cloud.image.upload import ImageUpload
from kilonova.cloud.quota import store as quota
from kilonova.core.context import Context
from kilonova.core.errors import Conflict, Failure, Forbidden, Invalid, Lost, NotFound, QuotaExceeded, TooLarge
from kilonova.core.ids import new_uuid
from kilonova.kit.blob import DirectoryBlobs
from kilonova.kit.bus import LocalBus
from kilonova.kit.clock import SECOND, VirtualClock
from kilonova.kit.db import Database
from kilonova.kit.ops.start import Operations

MIB = 1 << 20
RAW = bytes(range(256)) * 8192


def caller(project: str, *, admin: bool = False) -> Context:
    return Context(f"user-{project}", project, frozenset({"member"}), "req-1", is_admin=admin)


ANN, BOB, ADMIN = caller("ann"), caller("bob"), caller("admin", admin=True)


def qcow2(virtual: int = MIB, *, backing: int = 0, features: int = 0) -> bytes:
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing, 0, 16, virtual)
    return (head + bytes(72 - len(head)) + struct.pack(">Q", features)).ljust(65536, b"\0")


async def pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


class World:
    """The image services of one cloud."""

    def __init__(self, db: Database, root: Path) -> None:
        self.db, self.root = db, root
        self.clock = VirtualClock()
        self.blobs = DirectoryBlobs(root, keep_free=0)
        self.images = ImageService(db, self.blobs, Operations(LocalBus(), new_uuid))
        self.uploads = ImageUpload(db, self.blobs, self.clock, max_bytes=64 * MIB)
        self.register = ImageRegister(self.images, self.uploads)
        self.sweep = ImageSweep(db, self.blobs)

    async def queued(self, context: Context = ANN, disk_format: str = "raw", **values: object) -> Image:
        spec = {"name": "i", "disk_format": disk_format, "container_format": "bare", **values}
        return await self.images.create(context, NewImage(**spec))

    async def active(self, context: Context = ANN, data: bytes = RAW, **values: object) -> Image:
        image = await self.queued(context, **values)
        return await self.uploads.upload(context, image.id, pieces(data))

    def files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_file()]

    async def assert_untouched(self, image: Image) -> None:
        now = await self.images.get(ADMIN, image.id)
        assert (now.status, now.size, now.blob, now.md5) == ("queued", None, None, None)
        assert await self.blobs.list() == ()
        assert self.files() == []
        assert await self.db.read(quota.recount) == []
        assert await self.db.read(lambda tx: quota.consumers(tx, "image:")) == []


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    world = World(database, tmp_path / "images")
    await world.blobs.start()
    yield world
    await world.uploads.close()
    await world.blobs.close()


async def test_an_upload_makes_it_active_with_what_was_found(world: World) -> None:
    image = await world.active(data=qcow2(5 * MIB), disk_format="qcow2")
    assert (image.status, image.size, image.virtual_size) == ("active", 65536, 5 * MIB)
    assert image.sha512 == hashlib.sha512(qcow2(5 * MIB)).hexdigest()
    found = await world.images.downloadable(ANN, image.id)
    assert found is not None
    reader = await world.images.open(found)
    assert b"".join([chunk async for chunk in reader]) == qcow2(5 * MIB)
    await reader.close()
    ticket = await world.images.ticket(image.id)
    assert Path(urlsplit(ticket.url).path).read_bytes() == qcow2(5 * MIB)
    assert world.images.ref(found).virtual_bytes == 5 * MIB
    use = await world.db.read(lambda tx: quota.uses(tx, "ann", ["image_bytes"]))
    assert use["image_bytes"].used == 65536


UNFIT = {
    "raw that is qcow2": ("raw", qcow2()),
    "raw that is a qcow2 cut short": ("raw", qcow2()[:40]),
    "raw that is vmdk": ("raw", b"KDMV" + bytes(70000)),
    "raw that is a vmdk description": ("raw", b'# Disk DescriptorFile\ncreateType="monolithicFlat"\n' + b"\n" * 70000),
    "qcow2 that is raw": ("qcow2", RAW),
    "qcow2 that is empty": ("qcow2", b""),
    "qcow2 with a backing file": ("qcow2", qcow2(backing=512)),
    "qcow2 with a data file": ("qcow2", qcow2(features=4)),
    "qcow2 of impossible size": ("qcow2", qcow2(2**63)),
    "qed": ("raw", b"QED\0" + bytes(4096)),
    "iso that is raw": ("iso", RAW),
}


@pytest.mark.parametrize("case", UNFIT)
async def test_bytes_that_are_not_what_they_claim_never_become_active(world: World, case: str) -> None:
    disk_format, data = UNFIT[case]
    image = await world.queued(disk_format=disk_format)
    with pytest.raises(Unfit):
        await world.uploads.upload(ANN, image.id, pieces(data))
    await world.assert_untouched(image)


async def test_text_then_bytes_is_raw(world: World) -> None:
    assert (await world.active(data=b"a text\n" * 100 + b"\xff" * 4096)).status == "active"


async def cut_off() -> AsyncIterator[bytes]:
    yield RAW
    raise ConnectionResetError


async def test_a_cut_upload_returns_to_queued_and_can_be_repeated(world: World) -> None:
    image = await world.queued()
    with pytest.raises(ConnectionResetError):
        await world.uploads.upload(ANN, image.id, cut_off())
    await world.assert_untouched(image)
    assert (await world.uploads.upload(ANN, image.id, pieces(RAW))).status == "active"


async def test_a_cancelled_upload_returns_to_queued(world: World) -> None:
    image = await world.queued()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield RAW
            await asyncio.sleep(0.01)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(world.uploads.upload(ANN, image.id, endless()), 0.2)
    await world.assert_untouched(image)


async def test_size_limit_and_quota(world: World) -> None:
    image = await world.queued()
    with pytest.raises(TooLarge):
        await world.uploads.upload(ANN, image.id, pieces(b""), expect=65 * MIB)
    await world.db.write(lambda tx: quota.set_limit(tx, "ann", "image_bytes", MIB))
    with pytest.raises(QuotaExceeded):
        await world.uploads.upload(ANN, image.id, pieces(RAW))
    await world.assert_untouched(image)


class Parked:
    """A stream that waits in the middle until told to go on."""

    def __init__(self) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def stream(self) -> AsyncIterator[bytes]:
        yield RAW
        self.reached.set()
        await self.go.wait()
        yield RAW


async def test_a_second_upload_conflicts_and_the_first_goes_on(world: World) -> None:
    image, parked = await world.queued(), Parked()
    first = asyncio.create_task(world.uploads.upload(ANN, image.id, parked.stream()))
    await parked.reached.wait()
    with pytest.raises(Conflict):
        await world.uploads.upload(ANN, image.id, pieces(RAW))
    parked.go.set()
    assert (await first).size == 2 * len(RAW)
    with pytest.raises(Conflict):
        await world.uploads.upload(ANN, image.id, pieces(RAW))


async def test_delete_during_upload_wins_and_leaves_nothing(world: World) -> None:
    image, parked = await world.queued(), Parked()
    upload = asyncio.create_task(world.uploads.upload(ANN, image.id, parked.stream()))
    await parked.reached.wait()
    await world.images.delete(ANN, image.id)
    parked.go.set()
    with pytest.raises(Lost):
        await upload
    assert await world.blobs.list() == ()
    assert await world.db.read(lambda tx: quota.consumers(tx, "image:")) == []
    with pytest.raises(NotFound):
        await world.images.get(ADMIN, image.id)


async def test_an_uploader_notices_that_its_image_is_gone(world: World) -> None:
    image = await world.queued()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"more"
            await asyncio.sleep(0.01)

    upload = asyncio.create_task(world.uploads.upload(ANN, image.id, endless()))
    while (await world.images.get(ANN, image.id)).status != "saving":
        await asyncio.sleep(0.01)
    world.clock.advance(20)
    await asyncio.sleep(0.1)
    assert not upload.done()
    await world.images.delete(ANN, image.id)
    world.clock.advance(20)
    with pytest.raises(Lost):
        await asyncio.wait_for(upload, 5)
    assert world.files() == []


async def test_the_sweep_frees_a_dead_upload_and_the_late_uploader_harms_nobody(world: World) -> None:
    image, parked = await world.queued(), Parked()
    dead = asyncio.create_task(world.uploads.upload(ANN, image.id, parked.stream()))
    await parked.reached.wait()
    assert (await world.sweep.sweep()).uploads == ()
    assert (await ImageSweep(world.db, world.blobs, patience=-1).sweep()).uploads == (image.id,)
    done = await world.uploads.upload(ANN, image.id, pieces(b"second"))
    parked.go.set()
    with pytest.raises(Lost):
        await dead
    assert (await world.images.get(ANN, image.id)).size == 6
    assert await world.blobs.list() == (done.blob,)
    assert (await world.sweep.sweep()).uploads == ()


async def test_the_sweep_removes_blobs_without_image(world: World) -> None:
    image = await world.active()
    await world.blobs.put("orphan", pieces(b"x"))
    assert (await world.sweep.sweep()).blobs == ("orphan",)
    assert await world.blobs.list() == (image.blob,)


async def test_delete_refunds_and_removes_the_bytes(world: World) -> None:
    image = await world.active()
    await world.images.delete(ANN, image.id)
    assert await world.blobs.list() == ()
    assert await world.db.read(lambda tx: quota.consumers(tx, "image:")) == []
    with pytest.raises(NotFound):
        await world.images.delete(ANN, image.id)
    with pytest.raises(Conflict):
        await world.queued(id=image.id)


async def test_history_keeps_little_and_not_for_ever(world: World) -> None:
    images = [await world.queued(properties={"a": "x" * 1000}, tags=("t",)) for _ in range(2)]
    for image in images:
        await world.images.delete(ANN, image.id)
    kept = await world.db.read(lambda tx: tx.execute(select(image_history)).all())
    assert {(row.id, row.owner, row.name) for row in kept} == {(image.id, "ann", "i") for image in images}
    assert all(set(row.document) == {"created_at", "updated_at"} for row in kept)
    assert await world.db.write(lambda tx: store.forget(tx, kept[0].deleted_at)) == 0
    assert await world.db.write(lambda tx: store.forget(tx, tx.now + 1)) == 2
    await world.queued(id=images[0].id)


async def test_what_is_protected_stays(world: World) -> None:
    image = await world.active(protected=True)
    with pytest.raises(Forbidden):
        await world.images.delete(ANN, image.id)
    await world.images.update(ANN, image.id, [Change("replace", "protected", False)])
    await world.images.delete(ANN, image.id)


@pytest.mark.parametrize(("visibility", "error"), [("private", NotFound), ("shared", NotFound), ("public", Forbidden)])
async def test_other_projects(world: World, visibility: str, error: type[Failure]) -> None:
    image = await world.active(visibility=visibility)
    with pytest.raises(error):
        await world.images.delete(BOB, image.id)
    with pytest.raises(error):
        await world.images.update(BOB, image.id, [Change("replace", "name", "mine")])
    with pytest.raises(error):
        await world.uploads.upload(BOB, image.id, pieces(b"x"))
    seen = [i.id for i in await world.images.list(BOB, Filter(), Page())]
    assert seen == ([image.id] if visibility == "public" else [])
    assert (await world.images.get(ANN, image.id)).name == "i"


async def test_community_images_are_shown_on_request_only(world: World) -> None:
    image = await world.active(visibility="community")
    assert await world.images.list(BOB, Filter(), Page()) == []
    assert [i.id for i in await world.images.list(BOB, Filter(visibility="community"), Page())] == [image.id]


async def test_a_deactivated_image_is_withheld(world: World) -> None:
    image = await world.active()
    await world.images.set_active(ADMIN, image.id, False)
    with pytest.raises(Forbidden):
        await world.images.downloadable(ANN, image.id)
    with pytest.raises(Conflict):
        await world.images.ticket(image.id)
    await world.images.set_active(ADMIN, image.id, True)
    assert (await world.images.get(ANN, image.id)).status == "active"


async def test_updates_are_all_or_nothing(world: World) -> None:
    image = await world.active(properties={"a": "1"})
    changes = [Change("replace", "name", "new"), Change("remove", "absent", is_property=True)]
    with pytest.raises(Conflict):
        await world.images.update(ANN, image.id, changes)
    assert (await world.images.get(ANN, image.id)).name == "i"
    for bad in (Change("replace", "disk_format", "qcow2"), Change("replace", "owner", "bob"), Change("remove", "name")):
        with pytest.raises(Forbidden):
            await world.images.update(ANN, image.id, [bad])
    changes = [Change("add", "b", "2", is_property=True), Change("remove", "a", is_property=True)]
    await asyncio.gather(*(world.images.update(ANN, image.id, [*changes[:1]]) for _ in range(4)))
    done = await world.images.update(ANN, image.id, [changes[1], Change("replace", "tags", ("y", "x", "x"))])
    assert (done.properties, done.tags) == ({"b": "2"}, ("x", "y"))
    assert [i.id for i in await world.images.list(ANN, Filter(tags=("x", "y"), properties={"b": "2"}), Page())] == [
        image.id
    ]
    assert await world.images.list(ANN, Filter(properties={"a": "1"}), Page()) == []


@pytest.mark.parametrize("sort", [(("name", False),), (("size", True), ("name", False)), (("disk_format", False),)])
async def test_pages_cover_everything_once_in_order(world: World, sort: tuple[tuple[str, bool], ...]) -> None:
    for number in range(7):
        await world.queued(name=None if number == 3 else f"n{number % 3}", disk_format="raw")
    await world.active(name="full")
    whole = [i.id for i in await world.images.list(ANN, Filter(), Page(sort, 100))]
    paged: list[str] = []
    while page := await world.images.list(ANN, Filter(), Page(sort, 3, paged[-1] if paged else None)):
        paged += [i.id for i in page]
    assert paged == whole
    assert len(set(whole)) == 8


async def test_filters(world: World) -> None:
    small, big = await world.active(data=b"x", name="small"), await world.active(name="big")
    empty = await world.queued(name="empty", hidden=True)

    async def names(wanted: Filter) -> set[str | None]:
        return {i.name for i in await world.images.list(ANN, wanted, Page())}

    assert await names(Filter(size_min=2)) == {"big"}
    assert await names(Filter(size_max=2)) == {"small"}
    assert await names(Filter(one_of={"name": ("small", "big", "other")})) == {"small", "big"}
    assert await names(Filter(equal={"status": "queued"})) == set()
    assert await names(Filter(hidden=True)) == {"empty"}
    second = small.created_at // SECOND * SECOND
    assert await names(Filter(times=(("created_at", "lt", second),))) == set()
    assert await names(Filter(times=(("created_at", "gte", second),))) == {"small", "big"}
    with pytest.raises(Invalid):
        await world.images.list(BOB, Filter(), Page(marker=empty.id))
    assert big.size == len(RAW)


async def test_registering_a_file_twice_is_one_image_and_a_new_file_hides_the_old(world: World, tmp_path: Path) -> None:
    path = tmp_path / "guest.qcow2"
    path.write_bytes(qcow2(MIB))
    wanted = NewImage(name="guest", disk_format="qcow2", container_format="bare", visibility="public")
    seen: list[tuple[int, int]] = []
    first, is_new = await world.register.register(ADMIN, wanted, path, lambda done, total: seen.append((done, total)))
    assert is_new
    assert seen[-1] == (65536, 65536)
    assert await world.register.register(ADMIN, wanted, path) == (first, False)
    path.write_bytes(qcow2(2 * MIB))
    second, _ = await world.register.register(ADMIN, wanted, path)
    assert [i.id for i in await world.images.list(BOB, Filter(), Page())] == [second.id]
    await world.images.delete(ADMIN, second.id)
    third, is_new = await world.register.register(ADMIN, wanted, path)
    assert is_new
    assert third.status == "active"


async def test_registering_goes_on_where_a_crash_stopped_it(world: World, tmp_path: Path) -> None:
    path = tmp_path / "guest.img"
    path.write_bytes(RAW)
    wanted = NewImage(name="guest", disk_format="raw", container_format="bare")

    def crash(done: int, total: int) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await world.register.register(ADMIN, wanted, path, crash)
    done, _ = await world.register.register(ADMIN, wanted, path)
    assert [i.id for i in await world.images.list(ADMIN, Filter(), Page())] == [done.id]
