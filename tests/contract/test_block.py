"""The block port: what every driver promises, and the fake driver's script."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from block_world import MIB, describe, file_block, guest, open_up, qemu_img, silent

from kilonova.kit.clock import VirtualClock
from kilonova.node.driver.block.fake import FakeBlock
from kilonova.node.driver.block.port import BlockDriver
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.fake import FakeScript


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return open_up(tmp_path)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["fake", "file"])
async def block(request: pytest.FixtureRequest, place: Path, clock: VirtualClock) -> BlockDriver:
    driver: BlockDriver = FakeBlock(clock=clock) if request.param == "fake" else file_block(place, clock)
    await driver.start()
    return driver


@pytest.fixture
def source(place: Path) -> Path:
    path = place / "source"
    path.write_bytes(os.urandom(3 * MIB + 17))
    return path


# What every driver promises


async def test_fetched_image_is_cached_and_tells_progress(block: BlockDriver, source: Path) -> None:
    image, ticket = describe(source)
    seen: list[tuple[int, int]] = []
    assert not await block.cached(image)
    await block.fetch(image, ticket, lambda done, total: seen.append((done, total)))
    assert await block.cached(image)
    assert seen[-1] == (image.size, image.size)


async def test_ticket_for_other_bytes_is_refused(block: BlockDriver, source: Path) -> None:
    image, ticket = describe(source)
    with pytest.raises(DriverError) as caught:
        await block.fetch(image, msgspec.structs.replace(ticket, sha512="0" * 128), silent)
    assert caught.value.code == "image_corrupt"
    assert not await block.cached(image)


async def test_cached_bytes_do_not_pass_as_another_format(block: BlockDriver, source: Path) -> None:
    image, ticket = describe(source)
    await block.fetch(image, ticket, silent)
    with pytest.raises(DriverError) as caught:
        await block.cached(msgspec.structs.replace(image, disk_format="qcow2"))
    assert caught.value.code == "image_refused"


async def test_disks_are_made_once_and_removed(block: BlockDriver, source: Path) -> None:
    image, ticket = describe(source)
    await block.fetch(image, ticket, silent)
    spec = guest(image, root_gb=1, ephemeral_gb=1, swap_mb=8)
    made = await block.create(spec, b"drive")
    assert [disk.role for disk in made] == ["root", "ephemeral", "swap", "config"]
    assert made[0].path == block.root_path(spec.server_id)
    assert await block.create(spec, b"drive") == made == await block.disks(spec.server_id)
    assert await block.list() == (spec.server_id,)
    await block.remove(spec.server_id)
    await block.remove(spec.server_id)
    assert await block.list() == () == await block.disks(spec.server_id)


async def test_guest_without_image_has_only_what_it_asked_for(block: BlockDriver) -> None:
    made = await block.create(guest(None, root_gb=1, swap_mb=4), None)
    assert [disk.role for disk in made] == ["swap"]


async def test_root_needs_its_image(block: BlockDriver, source: Path) -> None:
    with pytest.raises(DriverError) as caught:
        await block.create(guest(describe(source)[0]), b"drive")
    assert (caught.value.code, caught.value.retryable) == ("image_missing", True)
    assert await block.list() == ()


async def test_flavor_smaller_than_the_image(block: BlockDriver, place: Path) -> None:
    path = place / "large.qcow2"
    qemu_img("create", "-f", "qcow2", path, "2G")
    image, ticket = describe(path, "qcow2", 2048 * MIB)
    await block.fetch(image, ticket, silent)
    with pytest.raises(DriverError) as caught:
        await block.create(guest(image, root_gb=1), None)
    assert caught.value.code == "disk_too_small"
    assert await block.list() == ()
    assert (await block.create(guest(image, root_gb=2), None))[0].role == "root"


async def test_eviction_spares_what_is_kept_used_or_young(block: BlockDriver, place: Path, clock: VirtualClock) -> None:
    images = []
    for number in range(3):
        path = place / f"image{number}"
        path.write_bytes(bytes([number + 1]) * 5000)
        image, ticket = describe(path)
        await block.fetch(image, ticket, silent)
        images.append(image)
    kept, used, idle = images
    spec = guest(used)
    await block.create(spec, None)
    assert await block.evict(frozenset(), 60) == ()
    clock.advance(61)
    assert await block.evict(frozenset({kept.sha512}), 60) == (idle.sha512,)
    assert [await block.cached(image) for image in images] == [True, True, False]
    await block.remove(spec.server_id)
    assert await block.evict(frozenset({kept.sha512}), 60) == ()
    clock.advance(61)
    assert await block.evict(frozenset({kept.sha512}), 60) == (used.sha512,)


async def test_disks_are_made_anew_once_a_generation(block: BlockDriver, source: Path) -> None:
    image, ticket = describe(source)
    await block.fetch(image, ticket, silent)
    spec = guest(image, root_gb=1, ephemeral_gb=1)
    await block.create(spec, None)
    anew = msgspec.structs.replace(spec, root_gb=2, generation=1)
    marked = msgspec.structs.replace(anew, mark="before", root_gb=3)
    back = msgspec.structs.replace(anew, restore="before")
    for wanted in (anew, anew, marked, marked, back, back, anew):
        assert [disk.role for disk in await block.create(wanted, None)] == ["root", "ephemeral"]


async def test_a_rescue_disk_is_there_as_long_as_it_is_wanted(block: BlockDriver, place: Path, source: Path) -> None:
    image, ticket = describe(source)
    await block.fetch(image, ticket, silent)
    spec = guest(image)
    await block.create(spec, None)
    (place / "other").write_bytes(b"rescue" * 5000)
    rescue, rescue_ticket = describe(place / "other")
    wanted = msgspec.structs.replace(spec, rescue=rescue)
    with pytest.raises(DriverError) as caught:
        await block.create(wanted, None)
    assert caught.value.code == "image_missing"
    await block.fetch(rescue, rescue_ticket, silent)
    assert [disk.role for disk in await block.create(wanted, None)] == ["root", "rescue"]
    assert [disk.role for disk in await block.create(spec, None)] == ["root"]


async def test_space_is_told(block: BlockDriver) -> None:
    space = await block.space()
    assert 0 < space.free <= space.total


# The fake driver's script


async def test_fake_fails_as_told_and_recovers(source: Path) -> None:
    image, ticket = describe(source)
    fake = FakeBlock(script=FakeScript(failures={"remove": 1.0}))
    fake.script.fail_next("fetch", 1, "image_unreachable", retryable=True)
    with pytest.raises(DriverError, match="fetch"):
        await fake.fetch(image, ticket, silent)
    await fake.fetch(image, ticket, silent)
    for _ in range(2):
        with pytest.raises(DriverError, match="remove"):
            await fake.remove("x")
    spec = msgspec.structs.replace(guest(image), fake={"fail.create": "1", "fail.create.code": "no_space"})
    with pytest.raises(DriverError) as told:
        await fake.create(spec, None)
    assert told.value.code == "no_space"
    assert len(await fake.create(spec, None)) == 1
    with pytest.raises(DriverError) as caught:
        await FakeBlock(total_bytes=image.size, low_disk_bytes=1).fetch(image, ticket, silent)
    assert caught.value.code == "no_space"


async def test_fake_delay_is_shared_and_can_be_cancelled(source: Path) -> None:
    image, ticket = describe(source)
    fake = FakeBlock(script=FakeScript(delays={"fetch": 0.05}))
    callers = [asyncio.create_task(fake.fetch(image, ticket, silent)) for _ in range(20)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.gather(*callers[1:])
    assert fake.calls["fetch"] == 1
    assert callers[0].cancelled()


async def test_fake_disks_outlive_the_process(place: Path) -> None:
    spec = guest(None, swap_mb=1)
    fake = FakeBlock(state_dir=place / "fake")
    await fake.start()
    await fake.create(spec, b"drive")
    again = FakeBlock(state_dir=place / "fake")
    await again.start()
    assert await again.list() == (spec.server_id,)
    assert [disk.role for disk in await again.disks(spec.server_id)] == ["swap", "config"]
