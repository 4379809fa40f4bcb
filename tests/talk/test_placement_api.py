"""The Placement API: hosts as providers, what others put there, and boots that take of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from compute_world import PROJECTS
from placement_site import GPU, Resources

from kilonova.core.ids import new_uuid


def share(provider: str, generation: int | None = None, **amounts: int) -> dict[str, Any]:
    return {
        "allocations": {provider: {"resources": amounts}}, "project_id": "p", "user_id": "u",
        "consumer_generation": generation, "consumer_type": "THING",
    }  # fmt: skip


def problem(answer: httpx.Response) -> tuple[int, str]:
    (error,) = answer.json()["errors"]
    assert error["status"] == answer.status_code
    return answer.status_code, error.get("code", "")


async def test_versions_are_told_and_negotiated(resources: Resources) -> None:
    told = (await resources.http.get("/")).json()["versions"][0]
    assert (told["min_version"], told["max_version"], told["id"]) == ("1.0", "1.39", "v1.0")
    far = await resources.ask("GET", "/resource_providers", version="1.40")
    assert far.status_code == 406
    assert far.json()["errors"][0]["max_version"] == "1.39"
    old = await resources.ask("GET", "/resource_providers", version="1.0")
    assert old.headers["openstack-api-version"] == "placement 1.0"
    assert "last-modified" not in old.headers
    assert {link["rel"] for link in old.json()["resource_providers"][0]["links"]} == {"self", "inventories", "usages"}
    assert "last-modified" in (await resources.ask("GET", "/resource_providers", version="1.15")).headers
    for path, first in (("/traits", "1.6"), ("/usages?project_id=p", "1.9"), ("/resource_classes", "1.2")):
        before = f"1.{int(first[2:]) - 1}"
        assert (await resources.ask("GET", path, version=before)).status_code == 404
        assert (await resources.ask("GET", path, version=first)).status_code == 200
    gone = await resources.ask("GET", "/resource_providers/nobody", version="1.22")
    assert problem(gone) == (404, "")
    assert problem(await resources.ask("GET", "/resource_providers/nobody")) == (404, "placement.undefined_code")


async def test_only_administrators_and_services_come_in_but_everyone_sees_the_own_usage(resources: Resources) -> None:
    host = await resources.host()
    for by in ("ann", "eve"):
        for path in ("/resource_providers", f"/resource_providers/{host}/inventories", "/traits", "/allocations/x"):
            assert (await resources.ask("GET", path, by=by)).status_code == 403
        assert (await resources.ask("POST", "/resource_providers", {"name": "mine"}, by=by)).status_code == 403
        mine, other = (f"/usages?project_id={PROJECTS[who]}" for who in (by, "bob"))
        assert (await resources.ask("GET", mine, by=by)).status_code == 200
        assert (await resources.ask("GET", other, by=by)).status_code == 403
        both = await resources.ask("GET", f"{mine}&project_id={PROJECTS['bob']}", by=by)
        assert problem(both)[0] == 400, both.text
    assert (await resources.ask("GET", "/resource_providers", by="nobody")).status_code == 401
    assert len((await resources.get("/resource_providers"))["resource_providers"]) == 1


async def test_a_host_is_a_provider_whose_figures_are_its_own(resources: Resources) -> None:
    host = await resources.host()
    one = await resources.get(f"/resource_providers/{host}")
    assert (one["name"], one["parent_provider_uuid"], one["root_provider_uuid"]) == ("host1", None, host)
    path = f"/resource_providers/{host}/inventories"
    held = await resources.get(path)
    assert set(held["inventories"]) == {"VCPU", "MEMORY_MB", "DISK_GB"}
    await resources.do("PUT", "/resource_classes/CUSTOM_LICENSE")
    wanted = {**held, "inventories": {**held["inventories"], "CUSTOM_LICENSE": {"total": 3}}}
    await resources.do("PUT", path, wanted)
    assert (await resources.get(path))["inventories"]["CUSTOM_LICENSE"]["total"] == 3
    now = await resources.get(path)
    more = {**now["inventories"]["VCPU"], "total": 9999}
    changed = {**now, "inventories": {**now["inventories"], "VCPU": more}}
    assert problem(await resources.ask("PUT", path, changed))[0] == 409
    assert problem(await resources.ask("PUT", path, {**now, "inventories": {}}))[0] == 409
    alone = {**more, "resource_provider_generation": now["resource_provider_generation"]}
    assert problem(await resources.ask("PUT", f"{path}/VCPU", alone))[0] == 409
    assert problem(await resources.ask("DELETE", f"{path}/VCPU"))[0] == 409
    assert problem(await resources.ask("PUT", f"/resource_providers/{host}", {"name": "other"}))[0] == 409
    refused = await resources.ask("DELETE", f"/resource_providers/{host}")
    assert problem(refused) == (409, "placement.resource_provider.inuse")
    assert await resources.get(path) == now
    await resources.do("DELETE", f"{path}/CUSTOM_LICENSE")
    assert set((await resources.get(path))["inventories"]) == {"VCPU", "MEMORY_MB", "DISK_GB"}


async def test_a_servers_claim_is_its_allocation(resources: Resources) -> None:
    host, site = await resources.host(), resources.site
    server = await site.boot()
    told = await resources.get(f"/allocations/{server}")
    assert told["allocations"][host]["resources"]["VCPU"] == 1
    assert (told["project_id"], told["user_id"], told["consumer_type"]) == (PROJECTS["ann"], "ann", "INSTANCE")
    by_provider = await resources.get(f"/resource_providers/{host}/allocations")
    assert by_provider["allocations"][server]["resources"] == told["allocations"][host]["resources"]
    used = (await resources.get(f"/resource_providers/{host}/usages"))["usages"]
    assert used == {"DISK_GB": 1, **told["allocations"][host]["resources"]}
    total = (await resources.get(f"/usages?project_id={PROJECTS['ann']}"))["usages"]
    assert total == {"INSTANCE": {**used, "consumer_count": 1}}
    assert (await resources.get(f"/usages?project_id={PROJECTS['ann']}", "1.37"))["usages"] == used
    assert (await resources.get(f"/usages?project_id={PROJECTS['bob']}"))["usages"] == {}
    generation = told["consumer_generation"]
    stolen = await resources.ask("PUT", f"/allocations/{server}", share(host, generation, VCPU=2))
    assert problem(stolen)[0] == 409
    assert problem(await resources.ask("DELETE", f"/allocations/{server}"))[0] == 409
    assert await resources.get(f"/allocations/{server}") == told
    await site.ann.delete(f"/servers/{server}")
    assert await site.settle(server) == ""
    assert (await resources.get(f"/allocations/{server}"))["allocations"] == {}
    assert set((await resources.get(f"/resource_providers/{host}/usages"))["usages"].values()) == {0}


async def test_others_take_of_a_host_by_the_same_claims(resources: Resources) -> None:
    host, who = await resources.host(), new_uuid()
    vcpus = (await resources.get(f"/resource_providers/{host}/inventories/VCPU"))["max_unit"]
    await resources.do("PUT", f"/allocations/{who}", share(host, VCPU=vcpus))
    failed = await resources.site.make()
    assert await resources.site.settle(failed) == "error"
    assert problem(await resources.ask("PUT", f"/allocations/{new_uuid()}", share(host, VCPU=1)))[0] == 409
    huge = share(host, 1, VCPU=10**15, MEMORY_MB=1)
    assert problem(await resources.ask("PUT", f"/allocations/{who}", huge))[0] == 409
    await resources.do("PUT", f"/allocations/{who}", share(host, 1, VCPU=vcpus - 1, MEMORY_MB=7))
    told = await resources.get(f"/allocations/{who}")
    assert told["allocations"][host]["resources"] == {"VCPU": vcpus - 1, "MEMORY_MB": 7}
    assert told["consumer_generation"] == 2
    total = (await resources.get("/usages?project_id=p&user_id=u"))["usages"]
    assert total == {"THING": {"VCPU": vcpus - 1, "MEMORY_MB": 7, "consumer_count": 1}}
    await resources.site.boot()
    await resources.do("DELETE", f"/allocations/{who}")
    assert problem(await resources.ask("DELETE", f"/allocations/{who}"))[0] == 404


async def test_a_flavor_asks_for_what_others_have_put_below_a_host(resources: Resources) -> None:
    host, site = await resources.host(), resources.site
    card = await resources.provider("card", {GPU: 1}, parent=host, traits=("CUSTOM_FAST",))
    specs = {f"resources1:{GPU}": "1", "trait1:CUSTOM_FAST": "required", "trait:CUSTOM_OLD": "forbidden"}
    at = {"openstack-api-version": "compute 2.85"}
    added = await site.admin.post("/flavors/84/os-extra_specs", json={"extra_specs": specs}, headers=at)
    assert added.status_code == 200, added.text
    for bad in (
        {f"resources1:{GPU}": "abc"}, {f"resources:{GPU}": "0"}, {f"resources:{GPU}": "0000000000011"},
        {"trait1:CUSTOM_FAST": "maybe"}, {"group_policy": "sometimes"}, {"resources:VCPU": "0"},
        {"resources:DISK_GB": "77"}, {"hw:fine": "1", "resources:MEMORY_MB": "1"},
    ):  # fmt: skip
        refused = await site.admin.post("/flavors/84/os-extra_specs", json={"extra_specs": bad}, headers=at)
        assert refused.status_code == 400, (bad, refused.text)
    same = {"resources:VCPU": "1", "resources:MEMORY_MB": "192"}
    assert (await site.admin.post("/flavors/84/os-extra_specs", json={"extra_specs": same}, headers=at)).is_success
    assert (await site.admin.get("/flavors/84/os-extra_specs")).json()["extra_specs"] == {**specs, **same}
    first = await site.boot(flavorRef="84")
    assert set((await resources.get(f"/allocations/{first}"))["allocations"]) == {host, card}
    assert (await resources.get(f"/resource_providers/{card}/usages"))["usages"] == {GPU: 1}
    second = await site.make(flavorRef="84")
    assert await site.settle(second) == "error"
    fault = (await site.admin.get(f"/servers/{second}")).json()["server"]["fault"]["message"]
    assert "resources and traits removed 1 (nearest miss: 0 CUSTOM_GPU free, 1 needed)" in fault
    watch = site.client("admin", "/kilonova/v1")
    told = (await watch.post("/explain", json={"flavor": "84"})).json()
    assert "0 CUSTOM_GPU free, 1 needed" in told["summary"]
    await watch.aclose()
    for server in (first, second):
        await site.ann.delete(f"/servers/{server}")
        assert await site.settle(server) == ""
    assert (await resources.get(f"/resource_providers/{card}/usages"))["usages"] == {GPU: 0}
    await site.boot(flavorRef="84")
    await resources.ask("PUT", "/traits/CUSTOM_OLD")
    own = (await resources.get(f"/resource_providers/{host}"))["generation"]
    body = {"traits": ["CUSTOM_OLD"], "resource_provider_generation": own}
    await resources.do("PUT", f"/resource_providers/{host}/traits", body)
    assert await site.settle(await site.make(flavorRef="84")) == "error"
    await site.boot(flavorRef="42")


async def test_trees_keep_their_shape(resources: Resources) -> None:
    top = await resources.provider("top", {})
    leaf = await resources.provider("leaf", {}, parent=top)
    other = await resources.provider("other", {})
    refused = await resources.ask("DELETE", f"/resource_providers/{top}")
    assert problem(refused) == (409, "placement.resource_provider.cannot_delete_parent")
    move = {"name": "leaf", "parent_provider_uuid": other}
    assert problem(await resources.ask("PUT", f"/resource_providers/{leaf}", move, version="1.36"))[0] == 400
    await resources.do("PUT", f"/resource_providers/{leaf}", move)
    tree = (await resources.get(f"/resource_providers?in_tree={leaf}"))["resource_providers"]
    assert {one["name"] for one in tree} == {"leaf", "other"}
    ring = {"name": "other", "parent_provider_uuid": leaf}
    assert problem(await resources.ask("PUT", f"/resource_providers/{other}", ring))[0] == 400
    await resources.do("PUT", f"/resource_providers/{leaf}", {"name": "leaf", "parent_provider_uuid": None})
    assert (await resources.get(f"/resource_providers/{leaf}"))["root_provider_uuid"] == leaf
    for name in ("host1", "top"):
        twice = await resources.ask("POST", "/resource_providers", {"name": name})
        assert problem(twice) == (409, "placement.duplicate_name")


async def test_whoever_is_late_is_told(resources: Resources) -> None:
    own = await resources.provider("own", {GPU: 4})
    path = f"/resource_providers/{own}"
    stale = {"resource_provider_generation": 0}
    for part, body in (
        ("traits", {"traits": []}), ("aggregates", {"aggregates": []}), ("inventories", {"inventories": {}}),
        (f"inventories/{GPU}", {"total": 5}),
    ):  # fmt: skip
        late = await resources.ask("PUT", f"{path}/{part}", {**body, **stale})
        assert problem(late) == (409, "placement.concurrent_update")
    who = new_uuid()
    await resources.do("PUT", f"/allocations/{who}", share(own, None, **{GPU: 3}))
    late = await resources.ask("PUT", f"/allocations/{who}", share(own, None, **{GPU: 1}))
    assert problem(late) == (409, "placement.concurrent_update")
    now = await resources.get(path)
    emptied = {"inventories": {}, "resource_provider_generation": now["generation"]}
    assert problem(await resources.ask("PUT", f"{path}/inventories", emptied)) == (409, "placement.inventory.inuse")
    assert problem(await resources.ask("DELETE", path)) == (409, "placement.resource_provider.inuse")
    both = {who: {**share(own, 1, **{GPU: 1})}, new_uuid(): share(own, None, **{GPU: 4})}
    assert problem(await resources.ask("POST", "/allocations", both))[0] == 409
    assert (await resources.get(f"{path}/usages"))["usages"] == {GPU: 3}
    await resources.do("PUT", f"/allocations/{who}", {**share(own, 1), "allocations": {}})
    await resources.do("DELETE", path)


async def test_bad_input_changes_nothing(resources: Resources) -> None:
    own = await resources.provider("own", {GPU: 4})
    before = await resources.get(f"/resource_providers/{own}/inventories")
    one = f"/resource_providers/{own}"
    asked = [
        ("GET", "/resource_providers?resources=VCPU", None), ("GET", "/resource_providers?resources=COW:1", None),
        ("GET", "/resource_providers?required=CUSTOM_NONE", None), ("GET", "/resource_providers?uuid=x", None),
        ("GET", "/resource_providers?member_of=x", None), ("GET", "/resource_providers?bogus=1", None),
        ("GET", "/allocation_candidates", None), ("GET", "/allocation_candidates?resources=VCPU:0", None),
        ("GET", f"/allocation_candidates?resources=VCPU:-{'9' * 20}", None),
        ("GET", "/allocation_candidates?resources=VCPU:1&limit=0", None),
        ("GET", "/allocation_candidates?resources1=VCPU:1&resources2=VCPU:1", None),
        ("GET", "/allocation_candidates?resources=VCPU:1&required=in:,A", None),
        ("GET", "/allocation_candidates?resources=VCPU:1&required_A=CUSTOM_X", None),
        ("GET", "/usages", None), ("GET", "/traits?name=x", None), ("GET", "/traits?associated=maybe", None),
        ("POST", "/resource_providers", {"name": "x" * 201}), ("POST", "/resource_providers", {"uuid": own}),
        ("POST", f"{one}/inventories", {"resource_class": "VCPU", "total": 2**31}),
        ("POST", f"{one}/inventories", {"resource_class": "NOTHING", "total": 1}),
        ("POST", f"{one}/inventories", {"resource_class": "VCPU", "total": 1, "reserved": 2}),
        ("POST", "/resource_classes", {"name": "VCPU2"}), ("PUT", "/traits/HW_CPU_X86_AVX", None),
        ("PUT", "/allocations/x", share(own, **{GPU: 1})),
        ("PUT", f"/allocations/{new_uuid()}", share(new_uuid(), **{GPU: 1})),
        ("PUT", f"/allocations/{new_uuid()}", share(own, CUSTOM_NOTHING=1)),
        ("DELETE", "/traits/HW_CPU_X86_AVX", None), ("DELETE", "/resource_classes/VCPU", None),
    ]  # fmt: skip
    for method, path, body in asked:
        answer = await resources.ask(method, path, body)
        assert problem(answer)[0] == 400, (method, path, answer.text)
    assert await resources.get(f"/resource_providers/{own}/inventories") == before
    unknown = await resources.ask("GET", f"/resource_providers/{new_uuid()}/usages")
    assert problem(unknown)[0] == 404


async def test_one_provider_is_listed_more_than_once(resources: Resources) -> None:
    own, who = await resources.provider("own", {GPU: 4, "CUSTOM_NIC": 4}), new_uuid()
    listed = [
        {"resource_provider": {"uuid": own}, "resources": some} for some in ({GPU: 1}, {"CUSTOM_NIC": 2}, {GPU: 2})
    ]
    await resources.do("PUT", f"/allocations/{who}", {"allocations": listed}, "1.0")
    held = (await resources.get(f"/allocations/{who}"))["allocations"][own]["resources"]
    assert held == {GPU: 3, "CUSTOM_NIC": 2}


@pytest.mark.parametrize("write", [str.upper, lambda text: text.replace("-", "")])
async def test_an_id_is_the_same_however_it_is_written(resources: Resources, write: Callable[[str], str]) -> None:
    top, who, group = await resources.provider("top", {GPU: 4}), new_uuid(), new_uuid()
    path = f"/resource_providers/{write(top)}"
    child = {"name": "child", "uuid": write(new_uuid()), "parent_provider_uuid": write(top)}
    await resources.do("POST", "/resource_providers", child)
    now = (await resources.get(path))["generation"]
    put = {"aggregates": [write(group), group], "resource_provider_generation": now}
    await resources.do("PUT", f"{path}/aggregates", put)
    assert (await resources.get(f"{path}/aggregates"))["aggregates"] == [group]
    for asked, many in ((f"uuid={write(top)}", 1), (f"in_tree={write(top)}", 2), (f"member_of={write(group)}", 1)):
        found = (await resources.get(f"/resource_providers?{asked}"))["resource_providers"]
        assert (found[-1]["uuid"], len(found)) == (top, many), asked
    await resources.do("PUT", f"/allocations/{write(who)}", share(top, None, **{GPU: 1}))
    assert (await resources.get(f"/allocations/{write(who)}"))["consumer_generation"] == 1
    for asked in (f"in_tree={write(top)}", f"member_of={write(group)}"):
        shown = await resources.get(f"/allocation_candidates?resources={GPU}:1&{asked}")
        assert len(shown["allocation_requests"]) == 1, asked
    await resources.do("DELETE", f"/allocations/{write(who)}")
    assert (await resources.get(f"{path}/usages"))["usages"] == {GPU: 0}


async def test_ids_in_bodies_are_told_apart_by_what_they_name(resources: Resources) -> None:
    own, who = await resources.provider("own", {GPU: 4}), new_uuid()
    shared = share(own.upper(), None, **{GPU: 1})
    await resources.do("POST", "/allocations", {who.upper(): shared})
    assert (await resources.get(f"/allocations/{who}"))["allocations"][own]["resources"] == {GPU: 1}
    twice = {**shared, "allocations": {key: {"resources": {GPU: 1}} for key in (own, own.upper())}}
    for body in (twice, share("-" * 36, None, **{GPU: 1})):
        assert problem(await resources.ask("PUT", f"/allocations/{new_uuid()}", body))[0] == 400
    assert problem(await resources.ask("POST", "/allocations", {who: shared, who.upper(): shared}))[0] == 400


async def test_inventory_moves_to_a_child_with_who_uses_it(resources: Resources) -> None:
    top = await resources.provider("top", {GPU: 4})
    leaf = await resources.provider("leaf", {}, parent=top)
    who = new_uuid()
    await resources.do("PUT", f"/allocations/{who}", share(top, None, **{GPU: 3}))
    generations = {i: (await resources.get(f"/resource_providers/{i}"))["generation"] for i in (top, leaf)}
    moved = {
        "inventories": {
            top: {"inventories": {}, "resource_provider_generation": generations[top]},
            leaf: {"inventories": {GPU: {"total": 4}}, "resource_provider_generation": generations[leaf]},
        },
        "allocations": {who: share(leaf, 1, **{GPU: 3})},
    }
    assert (await resources.ask("POST", "/reshaper", moved)).status_code == 403
    wanted = {i: (g, {}) for i, g in generations.items()}
    with pytest.raises(Exception, match="in use"):
        await resources.services.allocations.reshape(wanted, {})
    assert (await resources.get(f"/resource_providers/{top}/usages"))["usages"] == {GPU: 3}


async def test_candidates_over_hosts_and_what_hangs_below(resources: Resources) -> None:
    host = await resources.host()
    card = await resources.provider("card", {GPU: 2}, parent=host, traits=("CUSTOM_FAST",))
    asked = f"/allocation_candidates?resources=VCPU:1&resources_A={GPU}:1&required_A=in:CUSTOM_FAST,HW_CPU_X86_AVX"
    found = await resources.get(asked)
    (one,) = found["allocation_requests"]
    assert one["allocations"] == {host: {"resources": {"VCPU": 1}}, card: {"resources": {GPU: 1}}}
    assert one["mappings"] == {"": [host], "_A": [card]}
    assert found["provider_summaries"][card]["resources"] == {GPU: {"capacity": 2, "used": 0}}
    who = new_uuid()
    allocation = {"project_id": "p", "user_id": "u", "consumer_generation": None, "consumer_type": "THING", **one}
    await resources.do("PUT", f"/allocations/{who}", allocation)
    assert (await resources.get(f"/allocation_candidates?resources={GPU}:2"))["allocation_requests"] == []
