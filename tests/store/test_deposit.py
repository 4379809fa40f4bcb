"""Copies of disks as they come in: parts that come twice, begin anew, are not asked for, or end in a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from kilonova.cloud.host import store as hosts
from kilonova.cloud.host.model import Ratio
from kilonova.cloud.image.model import Image
from kilonova.cloud.server import guest_store
from kilonova.cloud.server.deposit import Deposits
from kilonova.core.errors import QuotaExceeded
from kilonova.kit.db import Database, Tx
from kilonova.wire.guest import GuestSpec
from kilonova.wire.node import DepositAnswer, DepositChunk, Hello, Inventory

IMAGE, SERVER, HOST = "image", "server", "host"


@dataclass
class Shelf:
    """An image service that keeps what arrives whole; `room` is how much it takes."""

    room: int = 100
    whole: list[bytes] = field(default_factory=list)
    begun: int = 0

    async def fill(self, image_id: str, disk_format: str, stream: AsyncIterator[bytes], expect: int) -> Image:
        self.begun += 1
        data = b""
        async for part in stream:
            data += part
            if len(data) > self.room:
                raise QuotaExceeded("too much")
        self.whole.append(data)
        image: Any = None
        return image


def part(offset: int, data: bytes, **more: Any) -> DepositChunk:
    values = {"host_id": HOST, "server_id": SERVER, "image_id": IMAGE, "copy": "a", "size": 6, **more}
    return DepositChunk(disk_format="raw", offset=offset, data=data, **values)


@pytest.fixture
async def asked(database: Database) -> Database:
    """One guest whose disk is asked for."""

    def work(tx: Tx) -> None:
        inventory = Inventory(vcpus=1, memory_mb=1, disk_gb=1)
        hosts.greet(tx, Hello(protocol=1, host_id=HOST, name=HOST, boot_id="b", incarnation="i", inventory=inventory),
                    Ratio(), "nova")  # fmt: skip
        guest_store.desire(tx, HOST, GuestSpec(server_id=SERVER, fence=1, version=1, power="running", deposit_to=IMAGE))

    await database.write(work)
    return database


async def test_parts_that_come_twice_count_once(asked: Database) -> None:
    shelf = Shelf()
    deposits = Deposits(asked, shelf)
    for chunk in (part(0, b"abc"), part(3, b"def")):
        answers = await asyncio.gather(*(deposits.take(chunk) for _ in range(5)))
        assert answers == [DepositAnswer()] * 5
    assert await deposits.take(part(3, b"def")) == DepositAnswer()
    assert (shelf.whole, shelf.begun) == ([b"abcdef"], 1)


async def test_a_copy_begins_anew_and_the_old_one_is_cut_off(asked: Database) -> None:
    shelf = Shelf()
    deposits = Deposits(asked, shelf)
    assert (await deposits.take(part(3, b"def"))).again
    await deposits.take(part(0, b"abc"))
    assert not (await deposits.take(part(0, b"xyz", copy="b"))).error
    assert (await deposits.take(part(3, b"def"))).again
    assert not (await deposits.take(part(3, b"uvw", copy="b"))).error
    assert shelf.whole == [b"xyzuvw"]


async def test_nobody_gives_what_was_not_asked_for(asked: Database) -> None:
    shelf = Shelf()
    deposits = Deposits(asked, shelf)
    for more in ({"host_id": "other"}, {"server_id": "other"}, {"image_id": "other"}):
        answer = await deposits.take(part(0, b"abcdef", **more))
        assert (bool(answer.error), answer.again) == (True, False)
    assert shelf.begun == 0


async def test_a_refusal_is_told_at_the_part_that_it_is_for(asked: Database) -> None:
    deposits = Deposits(asked, Shelf(room=2))
    answers = [await deposits.take(part(0, b"abc")), await deposits.take(part(3, b"def"))]
    assert "too much" in [answer.error for answer in answers]
    assert not any(answer.again for answer in answers if answer.error == "too much")


async def test_what_is_coming_in_ends_with_the_cloud(asked: Database) -> None:
    deposits = Deposits(asked, shelf := Shelf())
    await deposits.take(part(0, b"abc"))
    await deposits.close()
    assert (shelf.whole, shelf.begun) == ([], 1)
    assert (await deposits.take(part(3, b"def"))).again
