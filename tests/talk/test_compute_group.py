"""Server groups and scheduler hints over HTTP: what they promise is held, however many ask at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from compute_world import PROJECTS, Site, act


@pytest.fixture
def hosts() -> int:
    return 4


async def group(site: Site, policy: str, **rules: int) -> str:
    asked: dict[str, Any] = {"name": policy, "policy": policy, **({"rules": rules} if rules else {})}
    answer = await site.ann.post("/os-server-groups", json={"server_group": asked})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["server_group"]["id"])


async def ask(site: Site, **hints: Any) -> Any:
    return await site.ann.post("/servers", json={**site.body(), "os:scheduler_hints": hints})


async def made(site: Site, **hints: Any) -> str:
    answer = await ask(site, **hints)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["server"]["id"])


async def where(site: Site, server_id: str) -> str:
    await site.settle(server_id)
    server = await site.show(server_id)
    return str(server["OS-EXT-SRV-ATTR:host"]) if server["status"] == "ACTIVE" else server["status"]


@pytest.mark.parametrize(
    ("policy", "rules", "expected"),
    [
        ("anti-affinity", {}, {1: 4, "ERROR": 4}),
        ("anti-affinity", {"max_server_per_host": 2}, {2: 4}),
        ("affinity", {}, {8: 1}),
        ("soft-anti-affinity", {}, {2: 4}),
        ("soft-affinity", {}, None),
    ],
)
async def test_a_groups_policy_is_held_by_all_who_are_placed_at_once(
    site: Site, policy: str, rules: dict[str, int], expected: dict[Any, int] | None
) -> None:
    wanted = await group(site, policy, **rules)
    servers = await asyncio.gather(*(made(site, group=wanted) for _ in range(8)))
    at = Counter(await asyncio.gather(*(where(site, one) for one in servers)))
    failed = at.pop("ERROR", 0)
    found: dict[Any, int] = dict(Counter(at.values()))
    if failed:
        found["ERROR"] = failed
    if expected is not None and policy != "soft-anti-affinity":
        assert found == expected
    shown = (await site.ann.get(f"/os-server-groups/{wanted}")).json()["server_group"]
    assert set(shown["members"]) == set(servers)
    one = (await site.ann.get(f"/servers/{servers[0]}")).json()["server"]
    assert one["server_groups"] == [wanted]


async def test_soft_policies_are_wishes(site: Site) -> None:
    apart, together = await group(site, "soft-anti-affinity"), await group(site, "soft-affinity")
    at = [await where(site, await made(site, group=apart)) for _ in range(4)]
    assert len(set(at)) == 4
    assert len({await where(site, await made(site, group=together)) for _ in range(4)}) == 1


async def test_a_move_keeps_to_the_group(site: Site) -> None:
    apart = await group(site, "anti-affinity")
    servers = [await made(site, group=apart) for _ in range(4)]
    at = [await where(site, one) for one in servers]
    assert len(set(at)) == 4
    await act(site.admin, servers[0], "migrate")
    assert await where(site, servers[0]) == at[0]
    assert (await site.ann.delete(f"/servers/{servers[1]}")).status_code == 204
    await site.settle(servers[1])
    await act(site.admin, servers[0], "migrate")
    await site.settle(servers[0])
    shown = (await site.admin.get(f"/servers/{servers[0]}")).json()["server"]
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("VERIFY_RESIZE", at[1])


async def test_hints_name_servers_and_conditions(site: Site) -> None:
    first = await made(site)
    at = await where(site, first)
    assert await where(site, await made(site, same_host=first)) == at
    assert await where(site, await made(site, different_host=[first])) != at
    assert await where(site, await made(site, query=f'["=", "$hypervisor_hostname", "{at}"]')) == at
    condition = '["and", [">=", "$free_ram_mb", 1024], ["not", ["in", "$host", "host1", "host2", "host3"]]]'
    assert await where(site, await made(site, query=condition)) == "host4"
    assert await where(site, await made(site, query='[">", "$free_ram_mb", 99999999]')) == "ERROR"
    others = (await site.bob.post("/servers", json=site.body())).json()["server"]["id"]
    assert await where(site, await made(site, same_host=others)) == "ERROR"
    for bad in ({"same_host": "x"}, {"group": "x"}, {"group": first}, {"query": "x"}, {"query": '["=", "$nope", 1]'},
                {"query": '["="]'}, {"query": '["?", 1, 2]'}, {"query": '["<", "$host", 1]'},
                {"query": '["not", ' * 20 + '["=", 1, 1]' + "]" * 20}):  # fmt: skip
        assert (await ask(site, **bad)).status_code == 400, bad
    for unbuilt in ({"target_cell": "one"}, {"build_near_host_ip": "10.0.0.1"}):
        assert (await ask(site, **unbuilt)).status_code == 501, unbuilt
    assert (await ask(site, unheard="of")).status_code == 202


async def test_groups_are_made_listed_and_forgotten(site: Site) -> None:
    wanted = await group(site, "affinity")
    path = f"/os-server-groups/{wanted}"
    old = {"openstack-api-version": "compute 2.12"}
    assert (await site.ann.get(path, headers=old)).json()["server_group"] == {
        "id": wanted, "name": "affinity", "policies": ["affinity"], "members": [], "metadata": {}
    }  # fmt: skip
    for who in (site.bob,):
        assert (await who.get(path)).status_code == 404
        assert (await who.delete(path)).status_code == 404
        assert (await who.get("/os-server-groups")).json() == {"server_groups": []}
    assert (await site.eve.post("/os-server-groups", json={"server_group": {}})).status_code == 403
    assert len((await site.admin.get("/os-server-groups?all_projects=1")).json()["server_groups"]) == 1
    for bad in ({"name": "n", "policy": "x"}, {"name": "n"}, {"name": "", "policy": "affinity"},
                {"name": "n", "policy": "affinity", "rules": {"max_server_per_host": 2}},
                {"name": "n", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}):  # fmt: skip
        assert (await site.ann.post("/os-server-groups", json={"server_group": bad})).status_code == 400, bad
    legacy = {"server_group": {"name": "n", "policies": ["soft-affinity"]}}
    assert (await site.ann.post("/os-server-groups", json=legacy, headers=old)).status_code == 400
    server_id = await made(site, group=wanted)
    assert (await site.ann.delete(path)).status_code == 204
    assert (await site.ann.get(path)).status_code == 404
    assert await where(site, server_id) != "ERROR"
    limits = {"quota_set": {"server_groups": 1, "server_group_members": 1}}
    await site.admin.put(f"/os-quota-sets/{PROJECTS['ann']}", json=limits)
    last = await group(site, "affinity")
    more = {"server_group": {"name": "n", "policy": "affinity"}}
    assert (await site.ann.post("/os-server-groups", json=more)).status_code == 403
    await made(site, group=last)
    assert (await ask(site, group=last)).status_code == 403
