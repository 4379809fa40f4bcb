"""Which providers can give what is asked for together, and what a flavor asks for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from kilonova.cloud.placement.candidate import Candidate, Group, Wish, search
from kilonova.cloud.placement.demand import offers, wish_of
from kilonova.cloud.placement.landscape import Landscape, Place
from kilonova.cloud.placement.model import SHARES, Inventory, Provider, Stock
from kilonova.core.errors import Invalid

Set = frozenset


def place(
    name: str, parent: str | None = None, root: str | None = None, *, traits: Iterable[str] = (),
    aggregates: Iterable[str] = (), host: bool = False, **stock: int,
) -> Place:  # fmt: skip
    provider = Provider(name, name, parent, root or name, 0, host, 0, 0)
    stocks = {kind: Stock(Inventory(total), total, 0) for kind, total in stock.items()}
    return Place(provider, stocks, set(traits), set(aggregates))


def land() -> Landscape:
    """Two machines with two NUMA nodes each; the first node of each has a fast card; both share a disk."""
    found = [place("disk", aggregates=["g"], traits=[SHARES], DISK=100)]
    for host in ("a", "b"):
        found.append(place(host, aggregates=["g"], host=True, traits=[f"T_{host.upper()}"], CPU=8))
        for node in ("0", "1"):
            found.append(place(f"{host}{node}", host, host, MEM=4))
            traits = ["FAST"] if node == "0" else []
            found.append(place(f"{host}{node}c", f"{host}{node}", host, traits=traits, VF=2))
    return Landscape(found)


def ways(found: Iterable[Candidate]) -> list[str]:
    return sorted(" ".join(f"{p}:{kind}{n}" for (p, kind), n in sorted(one.amounts.items())) for one in found)


def test_a_group_without_suffix_is_given_by_a_tree_and_who_shares_with_it() -> None:
    group = Group(resources={"CPU": 1, "DISK": 5}, forbidden=Set({"T_B"}))
    assert ways(search(land(), Wish((group,)))) == ["a:CPU1 disk:DISK5"]
    fast = Group(resources={"MEM": 1, "VF": 1}, required=(Set({"FAST", "OTHER"}),))
    assert ways(search(land(), Wish((fast,)))) == [
        "a0:MEM1 a0c:VF1",
        "a0c:VF1 a1:MEM1",
        "b0:MEM1 b0c:VF1",
        "b0c:VF1 b1:MEM1",
    ]
    assert search(land(), Wish((Group(resources={"CPU": 9}),))) == []
    assert len(search(land(), Wish((Group(resources={"CPU": 1}),), limit=1))) == 1


def test_groups_with_suffix_come_from_one_provider_each() -> None:
    memory, card = Group("_M", {"MEM": 2}), Group("_C", {"VF": 1})
    here = Wish((Group(resources={"CPU": 1}, in_tree="a1"), memory, card), same_subtree=(Set({"_M", "_C"}),))
    assert ways(search(land(), here)) == ["a:CPU1 a0:MEM2 a0c:VF1", "a:CPU1 a1:MEM2 a1c:VF1"]
    two = (Group("1", {"VF": 1}, in_tree="a"), Group("2", {"VF": 2}))
    assert ways(search(land(), Wish(two))) == ["a0c:VF1 a1c:VF2", "a0c:VF2 a1c:VF1"]
    small = tuple(Group(n, {"VF": 1}, in_tree="b") for n in "12")
    assert len(search(land(), Wish(small))) == 4
    assert ways(search(land(), Wish(small, isolate=True))) == ["b0c:VF1 b1c:VF1"] * 2
    assert search(land(), Wish((*small, Group("3", {"VF": 1})), isolate=True)) == []


def test_the_root_decides_and_old_clients_see_no_trees() -> None:
    card = Group(resources={"VF": 1})
    asked = Wish((card,), root_required=Set({"T_B"}))
    assert ways(search(land(), asked)) == ["b0c:VF1", "b1c:VF1"]
    assert ways(search(land(), Wish((card,), root_forbidden=Set({"T_B"})))) == ["a0c:VF1", "a1c:VF1"]
    assert search(land(), Wish((Group(resources={"VF": 1, "CPU": 1}),), nested=False)) == []
    inside = Group(resources={"VF": 1}, member_of=(Set({"g"}),))
    assert len(search(land(), Wish((inside,)))) == 4
    assert search(land(), Wish((Group(resources={"VF": 1}, not_member_of=Set({"g"})),))) == []
    assert search(land(), Wish((Group(resources={"VF": 1}, in_tree="nowhere"),))) == []


def test_more_combinations_than_anybody_looks_at_come_to_an_end() -> None:
    wide = Landscape([place("r"), *(place(f"p{n}", "r", "r", X=1, Y=1, Z=1) for n in range(40))])
    groups = tuple(Group(str(n), {kind: 1}) for n, kind in enumerate("XYZXYZ"))
    assert len(search(wide, Wish(groups, isolate=True))) > 1000


def test_extra_specs_become_a_wish() -> None:
    assert wish_of({"hw:cpu_policy": "shared", "resources:VCPU": "0"}) is None
    specs = {"resources:VF": "1", "trait:FAST": "required", "trait:T_B": "forbidden", "resources_D:DISK": "7"}
    wish = wish_of(specs)
    assert wish is not None
    found = offers(land(), wish)
    assert dict(found.ways) == {"a": ((("a0c", "VF", 1), ("disk", "DISK", 7)),)}
    scarce = wish_of({"resources:VF": "3", "trait:NONE": "required"})
    assert scarce is not None
    none = offers(land(), scarce)
    assert (dict(none.ways), none.nearest) == ({}, "2 VF free, 3 needed; no provider has NONE")
    alone = wish_of({"trait:T_A": "required"})
    assert alone is not None
    assert dict(offers(land(), alone).ways) == {"a": ((),)}


@pytest.mark.parametrize(
    "specs",
    [
        {"resources:VF": "many"}, {"resources:VF": "-1"}, {"resources:VF": "0"}, {"resources:VF": "9" * 5000},
        {"resources:VF": "000000000001" + "9" * 12}, {"trait:FAST": "perhaps"}, {"trait1:FAST": "required"},
        {"resources1:VF": "1", "resources2:VF": "1"}, {"resources:VF": "1", "group_policy": "sometimes"},
    ],
)  # fmt: skip
def test_extra_specs_that_make_no_sense_are_refused(specs: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        wish_of(specs)
