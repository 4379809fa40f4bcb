"""Flavors: order, who sees what, and what is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from kilonova.cloud.flavor.model import SMALLEST_FIRST, Flavor, FlavorFilter, FlavorPage
from kilonova.cloud.flavor.service import FlavorService
from kilonova.core.context import Context
from kilonova.core.errors import Conflict, Invalid, NotFound
from kilonova.kit.db import Database

ANN = Context("u", "ann", frozenset({"member"}), "req-1")
BOB = Context("u", "bob", frozenset({"member"}), "req-1")
ADMIN = Context("u", "admin", frozenset({"admin"}), "req-1", is_admin=True)
ALL = FlavorFilter(is_public=None)
SECRET = Flavor("s", "secret", vcpus=1, memory_mb=64, root_gb=0, is_public=False)


@pytest.fixture
async def flavors(database: Database) -> FlavorService:
    service = FlavorService(database)
    await service.bootstrap()
    return service


async def ids(flavors: FlavorService, context: Context = ANN, wanted: FlavorFilter = ALL) -> list[str]:
    return [flavor.id for flavor in await flavors.list(context, wanted, FlavorPage())]


async def test_a_new_cloud_lists_its_flavors_smallest_first(flavors: FlavorService) -> None:
    found = await flavors.list(ANN, FlavorFilter(), FlavorPage())
    assert [f.name.removeprefix("m1.") for f in found] == [
        "nano",
        "micro",
        "tiny",
        "small",
        "medium",
        "large",
        "xlarge",
    ]
    assert [f.id for f in found] == ["42", "84", "1", "2", "3", "4", "5"]
    await flavors.delete(ADMIN, "5")
    await flavors.bootstrap()
    assert len(await ids(flavors)) == 6


@pytest.mark.parametrize("sort", [SMALLEST_FIRST, (("name", True),), (("vcpus", False), ("root_gb", True))])
async def test_pages_cover_everything_once(flavors: FlavorService, sort: tuple[tuple[str, bool], ...]) -> None:
    whole = [f.id for f in await flavors.list(ANN, ALL, FlavorPage(sort))]
    paged: list[str] = []
    while page := await flavors.list(ANN, ALL, FlavorPage(sort, 2, paged[-1] if paged else None)):
        paged += [f.id for f in page]
    assert paged == whole
    with pytest.raises(Invalid):
        await flavors.list(ANN, ALL, FlavorPage(sort, 2, "absent"))


async def test_filters(flavors: FlavorService) -> None:
    assert await ids(flavors, ANN, FlavorFilter(min_memory_mb=4096)) == ["3", "4", "5"]
    assert await ids(flavors, ANN, FlavorFilter(min_root_gb=80)) == ["4", "5"]
    assert await ids(flavors, ANN, FlavorFilter(name_contains="LARGE")) == ["4", "5"]
    assert await ids(flavors, ANN, FlavorFilter(name_contains="%")) == []


@pytest.mark.parametrize(("change", "word"), [({"id": "9"}, "name m1.tiny"), ({"name": "x"}, "ID 1")])
async def test_ids_and_names_are_taken_once(flavors: FlavorService, change: dict[str, str], word: str) -> None:
    tiny = await flavors.get(ANN, "1")
    with pytest.raises(Conflict, match=word):
        await flavors.create(ADMIN, replace(tiny, **change))


@pytest.mark.parametrize("bad", [{"vcpus": 0}, {"memory_mb": 0}, {"root_gb": -1}, {"name": " "}, {"name": "n" * 256}])
async def test_bad_sizes_and_names(flavors: FlavorService, bad: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        await flavors.create(ADMIN, replace(SECRET, **bad))
    assert len(await ids(flavors, ADMIN)) == 7


async def test_a_private_flavor_is_seen_by_those_it_was_given_to(flavors: FlavorService) -> None:
    await flavors.create(ADMIN, SECRET)
    assert await flavors.grant(ADMIN, "s", "ann") == ["ann"]
    assert "s" in await ids(flavors, ANN)
    assert "s" not in await ids(flavors, BOB)
    assert await ids(flavors, ADMIN, FlavorFilter(is_public=False)) == ["s"]
    with pytest.raises(NotFound):
        await flavors.get(BOB, "s")
    with pytest.raises(Conflict):
        await flavors.grant(ADMIN, "s", "ann")
    with pytest.raises(Conflict):
        await flavors.grant(ADMIN, "1", "ann")
    with pytest.raises(NotFound):
        await flavors.list_access(ADMIN, "1")
    assert await flavors.revoke(ADMIN, "s", "ann") == []
    with pytest.raises(NotFound):
        await flavors.get(ANN, "s")
    await flavors.grant(ADMIN, "s", "ann")
    await flavors.delete(ADMIN, "s")
    await flavors.create(ADMIN, SECRET)
    assert await flavors.list_access(ADMIN, "s") == []


async def test_extra_specs(flavors: FlavorService) -> None:
    await asyncio.gather(*(flavors.set_specs(ADMIN, "1", {f"k{n}": "v"}) for n in range(8)))
    assert len((await flavors.get(ANN, "1")).extra_specs) == 8
    await flavors.remove_spec(ADMIN, "1", "k0")
    with pytest.raises(NotFound):
        await flavors.remove_spec(ADMIN, "1", "k0")
    with pytest.raises(Invalid):
        await flavors.set_specs(ADMIN, "1", {f"x{n}": "v" for n in range(128)})
    assert len((await flavors.get(ANN, "1")).extra_specs) == 7
    assert (await flavors.describe(ADMIN, "1", "small")).description == "small"
