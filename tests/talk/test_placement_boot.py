"""Servers go where what others put into Placement lets them, and take of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from placement_site import Resources

from kilonova.core.ids import new_uuid


@pytest.fixture
def hosts() -> int:
    """All alike."""
    return 3


async def ask_for(resources: Resources, specs: Mapping[str, str]) -> None:
    """What servers of flavor 84 ask for from now on."""
    added = await resources.site.admin.post("/flavors/84/os-extra_specs", json={"extra_specs": specs})
    assert added.status_code == 200, added.text


async def taken(resources: Resources, server: str) -> dict[str, dict[str, int]]:
    """What a server has, by provider."""
    found = (await resources.get(f"/allocations/{server}"))["allocations"]
    return {provider: one["resources"] for provider, one in found.items()}


async def boot(resources: Resources) -> dict[str, dict[str, int]]:
    """What another server has when it runs."""
    return await taken(resources, await resources.site.boot(flavorRef="84"))


async def refuse(resources: Resources) -> None:
    """Another server finds no host, and takes nothing."""
    server = await resources.site.make(flavorRef="84")
    assert await resources.site.settle(server) == "error"
    assert await taken(resources, server) == {}


async def test_of_a_hosts_own_inventory_what_is_reserved_stays(resources: Resources) -> None:
    second = await resources.host("host2")
    await resources.do("PUT", "/resource_classes/CUSTOM_SLOT")
    slot = {"resource_class": "CUSTOM_SLOT", "total": 4, "reserved": 3}
    await resources.do("POST", f"/resource_providers/{second}/inventories", slot)
    await ask_for(resources, {"resources:CUSTOM_SLOT": "1"})
    has = await boot(resources)
    assert set(has) == {second}
    assert has[second]["CUSTOM_SLOT"] == 1
    assert has[second]["VCPU"] == 1
    await refuse(resources)
    own = (await resources.get(f"/resource_providers/{second}"))["generation"]
    less = {"total": 4, "reserved": 2, "resource_provider_generation": own}
    await resources.do("PUT", f"/resource_providers/{second}/inventories/CUSTOM_SLOT", less)
    assert set(await boot(resources)) == {second}


async def test_a_trait_of_a_host_draws_and_repels(resources: Resources) -> None:
    third = await resources.host("host3")
    await resources.do("PUT", "/traits/CUSTOM_QUIET")
    await resources.change(third, "traits", ["CUSTOM_QUIET"])
    await ask_for(resources, {"trait:CUSTOM_QUIET": "required"})
    for _ in range(3):
        assert set(await boot(resources)) == {third}
    await ask_for(resources, {"trait:CUSTOM_QUIET": "forbidden"})
    for _ in range(3):
        assert third not in await boot(resources)
    for name in ("host1", "host2"):
        await resources.change(await resources.host(name), "traits", ["CUSTOM_QUIET"])
    await refuse(resources)


async def test_who_shares_serves_the_hosts_of_its_aggregates(resources: Resources) -> None:
    first, group = await resources.host("host1"), new_uuid()
    pool = await resources.provider("pool", {"CUSTOM_ADDRESS": 2}, traits=("MISC_SHARES_VIA_AGGREGATE",))
    await ask_for(resources, {"resources:CUSTOM_ADDRESS": "1"})
    await refuse(resources)
    for member in (first, pool):
        await resources.change(member, "aggregates", [group])
    for _ in range(2):
        has = await boot(resources)
        assert set(has) == {first, pool}
        assert has[pool] == {"CUSTOM_ADDRESS": 1}
    await refuse(resources)


async def test_groups_take_of_different_devices_of_one_host(resources: Resources) -> None:
    """As an agent of devices writes them: one provider a device, below the host, with what it is like."""
    second = await resources.host("host2")
    cards = [
        await resources.provider(f"card{n}", {"CUSTOM_FPGA": 1}, parent=second, traits=("CUSTOM_FAST",) if n else ())
        for n in range(2)
    ]
    lone = await resources.provider("lone", {"CUSTOM_FPGA": 1}, parent=await resources.host("host1"))
    specs = {"resources1:CUSTOM_FPGA": "1", "trait1:CUSTOM_FAST": "required", "resources2:CUSTOM_FPGA": "1"}
    await ask_for(resources, {**specs, "group_policy": "isolate"})
    server = await resources.site.boot(flavorRef="84")
    has = await taken(resources, server)
    assert set(has) == {second, *cards}
    assert has[cards[0]] == has[cards[1]] == {"CUSTOM_FPGA": 1}
    await refuse(resources)
    assert (await resources.get(f"/resource_providers/{lone}/usages"))["usages"] == {"CUSTOM_FPGA": 0}
    await resources.site.ann.delete(f"/servers/{server}")
    assert await resources.site.settle(server) == ""
    assert set(await boot(resources)) == {second, *cards}
