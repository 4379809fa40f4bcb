"""The file driver with bad bytes, crashes, cancelled callers and full disks."""

from __future__ import annotations

import asyncio
import grp
import hashlib
import json
import os
import pwd
import resource
import stat
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from block_world import MIB, NOBODY, describe, file_block, guest, open_up, qemu_img, silent, tree

from kilonova.node.driver.block.file import FileBlock
from kilonova.node.driver.failure import DriverError
from kilonova.wire.guest import ImageRef
from kilonova.wire.node import ImageTicket


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return open_up(tmp_path)


@pytest.fixture
async def files(place: Path) -> FileBlock:
    driver = file_block(place)
    await driver.start()
    return driver


@pytest.fixture
def source(place: Path) -> Path:
    path = place / "source"
    path.write_bytes(os.urandom(3 * MIB + 17))
    return path


# Files: the disks


async def test_overlay_stands_on_the_cache_and_survives_moving_house(
    files: FileBlock, place: Path, source: Path
) -> None:
    image, ticket = describe(source)
    await files.fetch(image, ticket, silent)
    spec = guest(image, root_gb=1, ephemeral_gb=1, swap_mb=8)
    root, ephemeral, swap, config = await files.create(spec, b"drive")
    for disk in (root, ephemeral, swap, config):
        assert stat.S_IMODE(disk.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(root.path.parent.stat().st_mode) == 0o711
    with ephemeral.path.open("rb") as file:
        assert b"ephemeral0" in file.read(2048)
    assert swap.path.read_bytes()[4086:4096] == b"SWAPSPACE2"
    assert ephemeral.path.stat().st_blocks * 512 < 100 * MIB
    (place / "block").rename(place / "moved")
    moved = place / "moved" / root.path.relative_to(place / "block")
    qemu_img("convert", "-O", "raw", moved, place / "flat")
    assert (place / "flat").stat().st_size == 1 << 30
    with (place / "flat").open("rb") as flat:
        assert flat.read(3 * MIB + 17) == source.read_bytes()


async def test_existing_root_is_never_overwritten_and_config_drive_follows(files: FileBlock, source: Path) -> None:
    image, ticket = describe(source)
    await files.fetch(image, ticket, silent)
    spec = guest(image, root_gb=1)
    root, config = await files.create(spec, b"one")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 4096", str(root.path)], check=True)
    work = root.path.read_bytes()
    assert len(await files.create(spec, b"two")) == 2
    assert root.path.read_bytes() == work
    assert config.path.read_bytes() == b"two"
    await files.create(spec, None)
    assert config.path.read_bytes() == b"two"


def size_of(root: Path) -> int:
    seen = subprocess.run(["qemu-img", "info", "--output=json", str(root)], check=True, capture_output=True)
    return int(json.loads(seen.stdout)["virtual-size"])


def pattern(root: Path, command: str) -> bool:
    seen = subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, str(root)], capture_output=True, check=False)
    return seen.returncode == 0 and b"failed" not in seen.stdout


async def test_a_marked_disk_comes_back_as_it_was(files: FileBlock, source: Path) -> None:
    """Resized and reverted: what was written since is gone, what was there before is there, at its size."""
    image, ticket = describe(source)
    await files.fetch(image, ticket, silent)
    spec = guest(image, root_gb=1)
    [root] = await files.create(spec, None)
    assert pattern(root.path, "write -P 7 0 4096")
    larger = msgspec.structs.replace(spec, root_gb=2, mark="resize-1")
    await files.create(larger, None)
    assert size_of(root.path) == 2 << 30
    assert pattern(root.path, "write -P 9 0 4096")
    await files.create(larger, None)
    assert pattern(root.path, "read -P 9 0 4096")
    await files.create(msgspec.structs.replace(spec, restore="resize-1"), None)
    assert size_of(root.path) == 1 << 30
    assert pattern(root.path, "read -P 7 0 4096")
    assert pattern(root.path, "write -P 5 0 4096")
    await files.create(msgspec.structs.replace(spec, restore="resize-1"), None)
    assert pattern(root.path, "read -P 5 0 4096")


async def test_a_new_generation_forgets_the_old_disk_and_may_keep_the_ephemeral_one(
    files: FileBlock, source: Path
) -> None:
    image, ticket = describe(source)
    await files.fetch(image, ticket, silent)
    spec = guest(image, root_gb=1, ephemeral_gb=1)
    root, ephemeral = await files.create(spec, None)
    assert pattern(root.path, "write -P 7 0 4096")
    kept = ephemeral.path.stat().st_ino
    anew = msgspec.structs.replace(spec, generation=1, preserve_ephemeral=True)
    await files.create(anew, None)
    assert not pattern(root.path, "read -P 7 0 4096")
    assert ephemeral.path.stat().st_ino == kept
    assert pattern(root.path, "write -P 7 0 4096")
    await files.create(anew, None)
    assert pattern(root.path, "read -P 7 0 4096")
    await files.create(msgspec.structs.replace(spec, generation=2), None)
    assert ephemeral.path.stat().st_ino != kept


async def test_server_id_cannot_lead_elsewhere(files: FileBlock) -> None:
    for bad in ("", "..", "../cache", "a/b", str(uuid.uuid4()).upper() + "x"):
        with pytest.raises(DriverError):
            await files.remove(bad)


async def test_start_removes_what_a_crash_left(place: Path, source: Path) -> None:
    files = file_block(place)
    await files.start()
    image, ticket = describe(source)
    await files.fetch(image, ticket, silent)
    spec = guest(image, swap_mb=1)
    await files.create(spec, None)
    whole = tree(place / "block")
    bare = place / "block/disks" / str(uuid.uuid4())
    bare.mkdir()
    (bare / "image").write_text(image.sha512)
    for left in (
        "cache/.partial-0-abc",
        f"cache/{'a' * 128}.json",
        f"disks/{spec.server_id}/.partial-root",
        "trash/x/root",
    ):
        (place / "block" / left).parent.mkdir(exist_ok=True)
        (place / "block" / left).write_bytes(b"half")
    again = file_block(place)
    await again.start()
    assert tree(place / "block") == whole
    assert not bare.exists()
    assert await again.cached(image)
    assert [disk.role for disk in await again.disks(spec.server_id)] == ["root", "swap"]


# Files: bringing images


@asynccontextmanager
async def serving(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that answers every request as told; the list grows with each one."""
    asked: list[int] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            asked.append(1)
            await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            return  # the caller went away, as some tests want
        finally:
            writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/image", asked
    finally:
        server.close()


def body(data: bytes, length: int, pause: float = 0.0) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        for offset in range(0, len(data), MIB):
            writer.write(data[offset : offset + MIB])
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def test_fifty_callers_one_read(files: FileBlock, source: Path) -> None:
    image, ticket = describe(source)
    async with serving(body(source.read_bytes(), image.size, 0.02)) as (url, asked):
        ticket = msgspec.structs.replace(ticket, url=url)
        await asyncio.gather(*(files.fetch(image, ticket, silent) for _ in range(50)))
        await files.fetch(image, ticket, silent)
    assert len(asked) == 1
    assert await files.cached(image)


async def test_the_last_one_to_leave_stops_the_transfer(files: FileBlock, place: Path, source: Path) -> None:
    image, ticket = describe(source)
    async with serving(body(source.read_bytes(), image.size, 0.2)) as (url, asked):
        ticket = msgspec.structs.replace(ticket, url=url)
        first, second = (asyncio.create_task(files.fetch(image, ticket, silent)) for _ in range(2))
        while not any(path.stat().st_size for path in place.glob("block/cache/.partial-*")):
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait([first])
        assert not second.done()
        second.cancel()
        await asyncio.wait([second])
        assert tree(place / "block") == []
        third, fourth = (asyncio.create_task(files.fetch(image, ticket, silent)) for _ in range(2))
        await asyncio.sleep(0.05)
        third.cancel()
        await fourth
    assert len(asked) == 2
    assert await files.cached(image)


@pytest.mark.parametrize(
    ("sent", "announced", "code", "retryable"),
    [
        (2 * MIB, 3 * MIB, "image_unreachable", True),
        (2 * MIB, 2 * MIB, "image_corrupt", False),
        (4 * MIB, 4 * MIB, "image_corrupt", False),
    ],
    ids=["cut", "short", "long"],
)
async def test_transfer_of_another_length(
    files: FileBlock, place: Path, sent: int, announced: int, code: str, retryable: bool
) -> None:
    (place / "source").write_bytes(b"x" * 3 * MIB)
    image, ticket = describe(place / "source")
    async with serving(body(b"x" * sent, announced)) as (url, _):
        with pytest.raises(DriverError) as caught:
            await files.fetch(image, msgspec.structs.replace(ticket, url=url), silent)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert url not in caught.value.message + caught.value.detail
    assert tree(place / "block") == []


@pytest.mark.parametrize("status", [b"403 Forbidden", b"302 Found\r\nLocation: http://127.0.0.1:1/"])
async def test_store_that_says_no(files: FileBlock, place: Path, source: Path, status: bytes) -> None:
    image, ticket = describe(source)

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    async with serving(answer) as (url, _):
        with pytest.raises(DriverError) as caught:
            await files.fetch(image, msgspec.structs.replace(ticket, url=url), silent)
    assert caught.value.code == "image_unreachable"
    assert tree(place / "block") == []


async def test_wrong_bytes_wrong_size_and_nothing_there(files: FileBlock, place: Path, source: Path) -> None:
    image, ticket = describe(source)
    good = source.read_bytes()
    for bad, code in ((good[:-1] + b"?", "image_corrupt"), (good[:-1], "image_corrupt"), (None, "image_unreachable")):
        source.unlink()
        if bad is not None:
            source.write_bytes(bad)
        with pytest.raises(DriverError) as caught:
            await files.fetch(image, ticket, silent)
        assert caught.value.code == code
    for url in ("ftp://127.0.0.1/x", (place / "block").as_uri(), "http://127.0.0.1:1/"):
        with pytest.raises(DriverError):
            await files.fetch(image, msgspec.structs.replace(ticket, url=url), silent)
    assert tree(place / "block") == []
    source.write_bytes(good)
    await files.fetch(image, ticket, silent)


def backed(place: Path) -> Path:
    (place / "base").write_bytes(b"secret" * 20000)
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", place / "base", place / "bad")
    return place / "bad"


def with_data_file(place: Path) -> Path:
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={place / 'data'}", place / "bad", "8M")
    return place / "bad"


def vmdk(place: Path) -> Path:
    qemu_img("create", "-f", "vmdk", place / "bad", "8M")
    return place / "bad"


def vmdk_descriptor(place: Path) -> Path:
    text = '# Disk DescriptorFile\nversion=1\nCID=1\ncreateType="monolithicFlat"\nRW 2048 FLAT "/etc/shadow" 0\n'
    (place / "bad").write_text(text + " " * 4096)
    return place / "bad"


def qcow2(place: Path) -> Path:
    qemu_img("create", "-f", "qcow2", place / "bad", "8M")
    return place / "bad"


def broken_qcow2(place: Path) -> Path:
    path = qcow2(place)
    data = bytearray(path.read_bytes())
    data[20:24] = b"\0\0\0\xff"
    path.write_bytes(data)
    return path


def random_bytes(place: Path) -> Path:
    (place / "bad").write_bytes(os.urandom(MIB))
    return place / "bad"


@pytest.mark.parametrize(
    ("make", "claimed"),
    [
        (backed, "qcow2"),
        (with_data_file, "qcow2"),
        (broken_qcow2, "qcow2"),
        (vmdk, "raw"),
        (vmdk_descriptor, "raw"),
        (vmdk, "vmdk"),
        (qcow2, "raw"),
        (random_bytes, "qcow2"),
        (random_bytes, "iso"),
    ],
)
async def test_content_that_is_not_what_it_says(
    files: FileBlock, place: Path, make: Callable[[Path], Path], claimed: str
) -> None:
    image, ticket = describe(make(place), claimed)
    with pytest.raises(DriverError) as caught:
        await files.fetch(image, ticket, silent)
    assert caught.value.code == "image_refused"
    assert tree(place / "block") == []


async def test_large_sparse_image_in_flat_memory(files: FileBlock, place: Path) -> None:
    path = place / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(100 * MIB)
        file.write(b"data")
    digest = hashlib.sha512()
    with path.open("rb") as file:
        while chunk := file.read(MIB):
            digest.update(chunk)
    sha512 = digest.hexdigest()
    image = ImageRef(image_id="i", name="i", sha512=sha512, size=1 << 30, disk_format="raw")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await files.fetch(image, ImageTicket(url=path.as_uri(), sha512=sha512, size=1 << 30, disk_format="raw"), silent)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 * 1024
    assert (place / "block/cache" / sha512).stat().st_blocks * 512 < 8 * MIB


async def test_watermark_is_kept(place: Path, source: Path) -> None:
    free = os.statvfs(place)
    files = file_block(place, low_disk_bytes=free.f_bavail * free.f_frsize + (1 << 40))
    await files.start()
    image, ticket = describe(source)
    for attempt in (files.fetch(image, ticket, silent), files.create(guest(None, swap_mb=1), b"drive")):
        with pytest.raises(DriverError) as caught:
            await attempt
        assert (caught.value.code, caught.value.retryable) == ("no_space", True)
    assert tree(place / "block") == []
    assert await files.list() == ()


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    (place / "block").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=711", "tmpfs", place / "block"], check=True)
    try:
        yield place / "block"
    finally:
        subprocess.run(["umount", place / "block"], check=True)


@pytest.mark.vm
async def test_disk_fills_up_while_bytes_arrive(small_disk: Path, place: Path) -> None:
    (place / "source").write_bytes(os.urandom(3 * MIB))
    image, ticket = describe(place / "source")
    files = file_block(place)
    await files.start()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % image.size)
        writer.write((place / "source").read_bytes()[:MIB])
        await writer.drain()
        while not any(path.stat().st_size >= MIB for path in small_disk.glob("cache/.partial-*")):
            await asyncio.sleep(0.01)
        (small_disk / "other").write_bytes(b"x" * 2 * MIB)
        writer.write((place / "source").read_bytes()[MIB:])

    async with serving(answer) as (url, _):
        with pytest.raises(DriverError) as caught:
            await files.fetch(image, msgspec.structs.replace(ticket, url=url), silent)
    assert caught.value.code == "no_space"
    assert tree(small_disk) == ["other"]
    (small_disk / "other").unlink()
    await files.fetch(image, ticket, silent)
    with pytest.raises(DriverError) as full:
        await files.create(guest(image), os.urandom(2 * MIB))
    assert full.value.code == "no_space"


@pytest.mark.vm
async def test_hypervisor_s_user_can_read_the_chain(place: Path, source: Path) -> None:
    account = pwd.getpwnam("libvirt-qemu")
    files = FileBlock(place / "block", 0, run_as=NOBODY, group=grp.getgrgid(account.pw_gid).gr_gid)
    await files.start()
    qcow = qcow2(place)
    image, ticket = describe(qcow, "qcow2", 8 * MIB)
    await files.fetch(image, ticket, silent)
    root = (await files.create(guest(image, root_gb=1), None))[0].path
    os.chown(root, account.pw_uid, account.pw_gid)
    become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    subprocess.run([*become, "qemu-img", "check", root], check=True, capture_output=True)
    assert subprocess.run([*become, "ls", place / "block/disks"], capture_output=True).returncode != 0
    stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    assert subprocess.run([*stranger, "cat", place / "block/cache" / image.sha512], capture_output=True).returncode != 0
