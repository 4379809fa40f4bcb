"""Metadata definitions: names that are unique, whose they are, what is counted, and what callers at once make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import func, select

from kilonova.cloud.metadef import entry_store, store
from kilonova.cloud.metadef.model import (
    MAX_ENTRIES,
    MAX_RESOURCE_TYPES,
    RESOURCE_TYPES,
    Entry,
    Filter,
    Kind,
    NamespaceSpec,
    Page,
)
from kilonova.cloud.metadef.service import MetadefService
from kilonova.cloud.metadef.table import entry
from kilonova.core.context import Context, Scope
from kilonova.core.errors import Conflict, Forbidden, NotFound, TooLarge
from kilonova.kit.db import Database

MANY = Page("name", descending=False, limit=MAX_ENTRIES)


def caller(project: str | None, *, admin: bool = False) -> Context:
    return Context(f"user-{project}", project, frozenset({"member"}), "req-1", is_admin=admin)


ANN, BOB, ADMIN = caller("ann"), caller("bob"), caller("admin", admin=True)


@pytest.fixture
def metadefs(database: Database) -> MetadefService:
    return MetadefService(database)


async def names(metadefs: MetadefService, kind: Kind, window: Page = MANY) -> list[str]:
    return [one.name for one in await metadefs.list_entries(ADMIN, "n", kind, window)]


def refusals(outcomes: Sequence[object]) -> list[type]:
    return [type(one) for one in outcomes if isinstance(one, BaseException)]


async def test_one_of_several_gets_a_name(metadefs: MetadefService) -> None:
    wanted = NamespaceSpec("n", visibility="public")
    made = await asyncio.gather(*(metadefs.create(who, wanted, {}) for who in (ANN, BOB) * 4), return_exceptions=True)
    assert refusals(made) == [Conflict] * 7
    for name in ("a", "b", "c"):
        await metadefs.create(ANN, NamespaceSpec(name), {})
    moved = await asyncio.gather(
        *(metadefs.update(ANN, name, NamespaceSpec("new")) for name in ("a", "b", "c")), return_exceptions=True
    )
    assert refusals(moved) == [Conflict] * 2
    tags = await asyncio.gather(
        *(metadefs.add(ANN, "new", "tag", [Entry("t")]) for _ in range(5)), return_exceptions=True
    )
    assert refusals(tags) == [Conflict] * 4


async def test_a_namespace_is_changed_by_its_owner_and_administrators(metadefs: MetadefService) -> None:
    await metadefs.create(ANN, NamespaceSpec("n", visibility="public"), {"tag": [Entry("t")]})
    await metadefs.create(ANN, NamespaceSpec("secret"), {})
    for work in (
        metadefs.update(BOB, "n", NamespaceSpec("n")),
        metadefs.delete(BOB, "n"),
        metadefs.add(BOB, "n", "tag", [Entry("u")]),
        metadefs.change(BOB, "n", "tag", "t", Entry("u")),
        metadefs.remove(BOB, "n", "tag", "t"),
        metadefs.clear(BOB, "n", "tag"),
        metadefs.create(BOB, NamespaceSpec("x", owner="ann"), {}),
        metadefs.create(caller(None), NamespaceSpec("x"), {}),
        metadefs.update(ANN, "n", NamespaceSpec("n", owner="bob")),
    ):
        with pytest.raises(Forbidden):
            await work
    for hidden in (metadefs.get(BOB, "secret"), metadefs.clear(BOB, "secret", "tag"), metadefs.describe(BOB, "secret")):
        with pytest.raises(NotFound):
            await hidden
    assert await names(metadefs, "tag") == ["t"]
    assert (await metadefs.get(ANN, "n")).owner == "ann"
    given = await metadefs.update(ADMIN, "n", NamespaceSpec("n", owner="bob"))
    assert (given.owner, given.visibility) == ("bob", "private")
    with pytest.raises(NotFound):
        await metadefs.get(ANN, "n")
    await metadefs.add(BOB, "n", "tag", [Entry("u")])


async def test_a_store_sees_no_more_than_its_scope(metadefs: MetadefService, database: Database) -> None:
    for owner in (ANN, BOB):
        await metadefs.create(owner, NamespaceSpec(f"{owner.project_id}'s"), {})
        await metadefs.create(owner, NamespaceSpec(f"{owner.project_id}'s open", visibility="public"), {})
    for scope, seen in ((Scope("ann"), 3), (Scope("nobody"), 2), (Scope(""), 2), (Scope(None), 4)):
        assert len(await database.read(lambda tx, scope=scope: store.page(tx, scope, Filter(), Page()))) == seen
    with pytest.raises(NotFound):
        await database.read(lambda tx: store.page(tx, Scope("ann"), Filter(), Page(marker="bob's")))


async def test_deleting_a_namespace_leaves_nothing_of_it(metadefs: MetadefService, database: Database) -> None:
    held = {"tag": [Entry("t")], "object": [Entry("o")], "property": [Entry("p")], "association": [Entry("R")]}
    await metadefs.create(ANN, NamespaceSpec("n"), held)
    await metadefs.create(ANN, NamespaceSpec("m"), {"tag": [Entry("t")]})
    await metadefs.delete(ANN, "n")
    assert await database.read(lambda tx: tx.execute(select(func.count()).select_from(entry)).scalar_one()) == 1
    assert [one.name for one in await metadefs.resource_types()] == ["R"]
    with pytest.raises(NotFound):
        await metadefs.add(ANN, "n", "tag", [Entry("u")])


async def test_pages_of_any_order_show_each_entry_once(metadefs: MetadefService) -> None:
    tags = [Entry(f"t{at:02}") for at in range(7)]
    await metadefs.create(ADMIN, NamespaceSpec("n"), {"tag": tags})
    await metadefs.change(ADMIN, "n", "tag", "t03", Entry("t10"))
    for sort in ("name", "created_at", "updated_at"):
        for descending in (True, False):
            seen: list[str] = []
            while page := await names(metadefs, "tag", Page(sort, descending, 2, seen[-1] if seen else None)):
                seen += page
            assert seen == await names(metadefs, "tag", Page(sort, descending, 100))
            assert len(seen) == 7


async def test_pages_of_namespaces_without_a_display_name(metadefs: MetadefService) -> None:
    for at in range(6):
        await metadefs.create(ANN, NamespaceSpec(f"n{at}", display_name=None if at % 2 else f"d{at}"), {})
    seen: list[str] = []
    while page := await metadefs.list(ANN, Filter(), Page("display_name", False, 2, seen[-1] if seen else None)):
        seen += [one.namespace.name for one in page]
    assert seen == ["n1", "n3", "n5", "n0", "n2", "n4"]


async def test_there_is_an_end_to_what_is_held(metadefs: MetadefService, database: Database) -> None:
    await metadefs.create(ADMIN, NamespaceSpec("n"), {})
    full = [Entry(f"t{at}") for at in range(MAX_ENTRIES)]
    await metadefs.add(ADMIN, "n", "tag", full)
    for kept in (False, True):
        with pytest.raises(TooLarge if not kept else Conflict):
            await metadefs.add(ADMIN, "n", "tag", [Entry("t0" if kept else "one more")])
    await metadefs.add(ADMIN, "n", "tag", [*full[1:], Entry("other")], instead=True)
    assert len(await names(metadefs, "tag")) == MAX_ENTRIES
    types = [f"R{at}" for at in range(MAX_RESOURCE_TYPES)]
    await database.write(lambda tx: entry_store.know_resource_types(tx, types))
    await metadefs.add(ADMIN, "n", "association", [Entry("R0")])
    with pytest.raises(TooLarge):
        await metadefs.add(ADMIN, "n", "association", [Entry("one more")])
    assert await names(metadefs, "association") == ["R0"]


async def test_what_a_new_cloud_knows_is_made_known_once(metadefs: MetadefService) -> None:
    await metadefs.bootstrap()
    first = await metadefs.resource_types()
    await metadefs.bootstrap()
    assert await metadefs.resource_types() == first
    assert [one.name for one in first] == sorted(RESOURCE_TYPES)
    assert await metadefs.list(ADMIN, Filter(), Page()) == []
