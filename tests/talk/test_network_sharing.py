"""What projects share over HTTP: RBAC policies, subnet pools, address scopes, address groups; and tags."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from network_site import NOBODY, Site, opened

RBAC = "/v2.0/rbac-policies"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(tmp_path) as found:
        yield found


async def test_a_network_granted_to_one_project(site: Site) -> None:
    network, subnet = await site.network()
    values = {
        "object_type": "network", "object_id": network, "action": "access_as_shared", "target_tenant": "bob"
    }  # fmt: skip
    await site.ask("POST", RBAC, {"rbac_policy": {**values, "target_tenant": "*"}}, expect=403)
    await site.ask("POST", RBAC, {"rbac_policy": {**values, "action": "access_as_external"}}, expect=403)
    await site.ask("POST", RBAC, {"rbac_policy": {**values, "action": "eat"}}, expect=400)
    await site.ask("POST", RBAC, {"rbac_policy": {**values, "object_id": NOBODY}}, expect=404)
    await site.ask("POST", RBAC, {"rbac_policy": values}, who="bob", expect=404)
    await site.ask("GET", f"/v2.0/networks/{network}", who="bob", expect=404)
    policy = await site.make("rbac_policy", **values)
    assert await site.fails("POST", RBAC, {"rbac_policy": values}, expect=409) == "DuplicateRbacPolicy"
    shown = (await site.ask("GET", f"/v2.0/networks/{network}", who="bob"))["network"]
    assert (shown["shared"], (await site.ask("GET", f"/v2.0/networks/{network}"))["network"]["shared"]) == (True, False)
    assert network in [n["id"] for n in (await site.ask("GET", "/v2.0/networks?shared=True", who="bob"))["networks"]]
    shown = (await site.ask("GET", "/v2.0/subnets?shared=True", who="bob"))["subnets"]
    assert subnet in [s["id"] for s in shown]
    with pytest.raises(AssertionError, match="404"):
        await site.ask("GET", f"/v2.0/networks/{network}", who="eve")
    port = await site.make("port", "bob", network_id=network)
    one = f"{RBAC}/{policy['id']}"
    assert await site.fails("DELETE", one, expect=409) == "RbacPolicyInUse"
    await site.ask("PUT", one, {"rbac_policy": {"target_tenant": "eve"}}, expect=409)
    await site.ask("DELETE", one, who="bob", expect=404)
    await site.ask("DELETE", one, who="eve", expect=403)
    await site.ask("DELETE", f"/v2.0/ports/{port['id']}", who="bob", expect=204)
    moved = (await site.ask("PUT", one, {"rbac_policy": {"target_tenant": "eve"}}))["rbac_policy"]
    assert moved["target_tenant"] == "eve"
    await site.ask("GET", f"/v2.0/networks/{network}", who="bob", expect=404)
    await site.ask("DELETE", f"/v2.0/networks/{network}", expect=204)
    await site.ask("GET", one, expect=404)
    used = (await site.ask("GET", "/v2.0/quotas/ann/details"))["quota"]
    assert used["rbac_policy"]["used"] == 0


async def test_shared_and_external_are_grants(site: Site) -> None:
    made = await site.make("network", "admin", name="all", shared=True)
    mine = f"{RBAC}?object_id={made['id']}"
    (grant,) = (await site.ask("GET", mine, who="admin"))["rbac_policies"]
    assert (grant["action"], grant["target_tenant"]) == ("access_as_shared", "*")
    outside = {
        "object_type": "network", "object_id": made["id"], "action": "access_as_external", "target_tenant": "ann"
    }  # fmt: skip
    await site.make("rbac_policy", "admin", **outside)
    path = f"/v2.0/networks/{made['id']}"
    assert (await site.ask("GET", path))["network"]["router:external"] is True
    await site.make("subnet", "admin", network_id=made["id"], ip_version=4, cidr="10.44.0.0/24")
    await site.make("router", external_gateway_info={"network_id": made["id"]})
    (policy,) = (await site.ask("GET", f"{mine}&action=access_as_external", who="admin"))["rbac_policies"]
    await site.ask("DELETE", f"{RBAC}/{policy['id']}", who="admin", expect=409)
    mine_too = await site.make("network")
    given = await site.make("rbac_policy", "admin", **{**outside, "object_id": mine_too["id"], "project_id": "ann"})
    await site.ask("PUT", f"{RBAC}/{given['id']}", {"rbac_policy": {"target_tenant": "bob"}}, expect=403)
    await site.ask("DELETE", f"{RBAC}/{given['id']}", expect=403)
    await site.ask("DELETE", f"{RBAC}/{given['id']}", who="admin", expect=204)
    await site.ask("PUT", path, {"network": {"shared": False}}, who="admin")
    assert len((await site.ask("GET", mine, who="admin"))["rbac_policies"]) == 1
    await site.ask("GET", path, who="bob", expect=404)
    await site.ask("GET", path)


async def test_groups_granted(site: Site) -> None:
    group = await site.make("security_group", name="g")
    given = {"object_type": "security_group", "object_id": group["id"], "action": "access_as_shared"}
    policy = await site.make("rbac_policy", **given, target_tenant="bob")
    shown = (await site.ask("GET", "/v2.0/security-groups?shared=True", who="bob"))["security_groups"]
    assert [g["id"] for g in shown] == [group["id"]]
    rule = {"security_group_id": group["id"], "direction": "ingress"}
    await site.ask("POST", "/v2.0/security-group-rules", {"security_group_rule": rule}, who="bob", expect=404)
    await site.ask("DELETE", f"/v2.0/security-groups/{group['id']}", who="bob", expect=403)
    network, _ = await site.network(who="bob")
    port = await site.make("port", "bob", network_id=network, security_groups=[group["id"]])
    await site.ask("DELETE", f"{RBAC}/{policy['id']}", expect=409)
    await site.ask("DELETE", f"/v2.0/ports/{port['id']}", who="bob", expect=204)
    own = await site.make("security_group", "bob", name="own")
    refers = {"security_group_id": own["id"], "direction": "ingress", "remote_group_id": group["id"]}
    rule = await site.make("security_group_rule", "bob", **refers)
    assert await site.fails("DELETE", f"{RBAC}/{policy['id']}", expect=409) == "RbacPolicyInUse"
    await site.ask("DELETE", f"/v2.0/security-group-rules/{rule['id']}", who="bob", expect=204)
    await site.ask("DELETE", f"{RBAC}/{policy['id']}", expect=204)
    await site.ask("GET", f"/v2.0/security-groups/{group['id']}", who="bob", expect=404)


async def test_subnets_from_a_pool(site: Site) -> None:
    pool = await site.make("subnetpool", name="p", prefixes=["10.20.0.0/16", "10.21.0.0/16"], default_prefixlen=26)
    assert pool["prefixes"] == ["10.20.0.0/15"]
    assert (pool["min_prefixlen"], pool["max_prefixlen"], pool["ip_version"]) == ("8", "32", 4)
    network = (await site.make("network"))["id"]
    base = {"network_id": network, "ip_version": 4, "subnetpool_id": pool["id"]}
    first = await site.make("subnet", **base)
    second = await site.make("subnet", **base, prefixlen=24)
    exact = await site.make("subnet", **base, cidr="10.20.2.0/24")
    cidrs = [s["cidr"] for s in (first, second, exact)]
    assert cidrs == ["10.20.0.0/26", "10.20.1.0/24", "10.20.2.0/24"]
    bad: list[tuple[dict[str, Any], int, str]] = [
        ({**base, "cidr": "10.20.2.128/25"}, 409, "SubnetAllocationError"),
        ({**base, "cidr": "10.99.0.0/24"}, 409, "SubnetAllocationError"),
        ({**base, "cidr": "10.20.9.0/24", "prefixlen": 24}, 400, "BadRequest"),
        ({**base, "prefixlen": 7}, 400, "MinPrefixSubnetAllocationError"),
        ({**base, "prefixlen": 8}, 409, "SubnetAllocationError"),
        ({**base, "ip_version": 6}, 400, "BadRequest"),
        ({**base, "subnetpool_id": NOBODY}, 404, "SubnetPoolNotFound"),
        ({**base, "subnetpool_id": "prefix_delegation"}, 501, "HTTPNotImplemented"),
        ({"network_id": network, "ip_version": 4}, 400, "BadRequest"),
        ({"network_id": network, "ip_version": 4, "use_default_subnetpool": True}, 400, "BadRequest"),
    ]
    for values, status, kind in bad:
        assert await site.fails("POST", "/v2.0/subnets", {"subnet": values}, expect=status) == kind, values
    path = f"/v2.0/subnetpools/{pool['id']}"
    assert await site.fails("DELETE", path, expect=400) == "SubnetPoolDeleteError"
    await site.ask("GET", path, who="bob", expect=404)
    smaller = {"subnetpool": {"prefixes": ["10.20.0.0/24"]}}
    assert await site.fails("PUT", path, smaller, expect=400) == "IllegalSubnetPoolPrefixUpdate"
    more = {"subnetpool": {"prefixes": ["10.20.0.0/15", "10.30.0.0/16"], "default_quota": 600}}
    assert (await site.ask("PUT", path, more))["subnetpool"]["default_quota"] == 600
    added = await site.ask("PUT", f"{path}/add_prefixes", {"prefixes": ["10.31.0.0/16"]})
    assert added["prefixes"] == ["10.20.0.0/15", "10.30.0.0/15"]
    assert await site.fails("PUT", f"{path}/remove_prefixes", {"prefixes": ["10.20.1.0/25"]}, expect=409)
    left = await site.ask("PUT", f"{path}/remove_prefixes", {"prefixes": ["10.31.0.0/16", "10.21.0.0/16"]})
    assert left["prefixes"] == ["10.20.0.0/16", "10.30.0.0/16"]
    await site.ask("PUT", f"{path}/remove_prefixes", {"prefixes": ["2001:db8::/32"]}, who="bob", expect=404)
    await site.ask("PUT", f"{path}/add_prefixes", {"prefixes": ["2001:db8::/32"]}, expect=400)
    over = {"subnet": {**base, "prefixlen": 25}}
    assert await site.fails("POST", "/v2.0/subnets", over, expect=409) == "OverQuota"
    await site.ask("DELETE", f"/v2.0/networks/{network}", expect=204)
    await site.ask("DELETE", path, expect=204)


async def test_pools_are_checked(site: Site) -> None:
    for values, status in (
        ({"prefixes": ["10.0.0.0/8", "2001:db8::/32"]}, 400),
        ({"prefixes": []}, 400),
        ({"prefixes": ["10.0.0.1/33"]}, 400),
        ({"prefixes": ["10.0.0.0/8"], "min_prefixlen": 24, "max_prefixlen": 20}, 400),
        ({"prefixes": ["10.0.0.0/8"], "default_prefixlen": 33}, 400),
        ({"prefixes": ["10.0.0.0/8"], "shared": True}, 403),
        ({"prefixes": ["10.0.0.0/8"], "is_default": True}, 403),
        ({"prefixes": ["10.0.0.0/8"], "address_scope_id": NOBODY}, 404),
    ):
        await site.ask("POST", "/v2.0/subnetpools", {"subnetpool": values}, expect=status)
    assert (await site.ask("GET", "/v2.0/subnetpools", who="admin"))["subnetpools"] == []
    six = await site.make("subnetpool", "admin", prefixes=["2001:db8::/48"], is_default=True, shared=True)
    again = {"subnetpool": {"prefixes": ["2001:db9::/48"], "is_default": True}}
    await site.ask("POST", "/v2.0/subnetpools", again, who="admin", expect=400)
    network = (await site.make("network"))["id"]
    made = await site.make("subnet", network_id=network, ip_version=6, use_default_subnetpool=True)
    assert (made["cidr"], made["subnetpool_id"]) == ("2001:db8::/64", six["id"])


async def test_pools_of_a_scope_do_not_overlap(site: Site) -> None:
    scope = await site.make("address_scope", name="s", ip_version=4)
    await site.ask("POST", "/v2.0/address-scopes", {"address_scope": {"ip_version": 4, "shared": True}}, expect=403)
    pool = await site.make("subnetpool", prefixes=["10.0.0.0/16"], address_scope_id=scope["id"])
    other: dict[str, Any] = {"prefixes": ["10.0.128.0/17"], "address_scope_id": scope["id"]}
    kind = await site.fails("POST", "/v2.0/subnetpools", {"subnetpool": other}, expect=409)
    assert kind == "AddressScopePrefixConflict"
    six = {"prefixes": ["2001:db8::/48"], "address_scope_id": scope["id"]}
    await site.ask("POST", "/v2.0/subnetpools", {"subnetpool": six}, expect=400)
    path = f"/v2.0/address-scopes/{scope['id']}"
    assert await site.fails("DELETE", path, expect=409) == "AddressScopeInUse"
    await site.ask("DELETE", path, who="bob", expect=404)
    await site.ask("PUT", path, {"address_scope": {"shared": True}}, who="admin")
    await site.ask("PUT", path, {"address_scope": {"shared": False}}, who="admin", expect=400)
    await site.ask("PUT", path, {"address_scope": {"shared": False}}, expect=403)
    assert (await site.ask("GET", path, who="bob"))["address_scope"]["shared"] is True
    lent = await site.make("subnetpool", "bob", prefixes=["10.9.0.0/16"], address_scope_id=scope["id"])
    grown = {"subnetpool": {"prefixes": ["10.8.0.0/15"]}}
    await site.ask("PUT", f"/v2.0/subnetpools/{lent['id']}", grown, who="bob", expect=400)
    await site.ask("DELETE", f"/v2.0/subnetpools/{lent['id']}", who="bob", expect=204)
    free = {"subnetpool": {"address_scope_id": None}}
    assert (await site.ask("PUT", f"/v2.0/subnetpools/{pool['id']}", free))["subnetpool"]["address_scope_id"] is None
    await site.ask("DELETE", path, expect=204)


async def test_address_groups(site: Site) -> None:
    group = await site.make("address_group", name="a", addresses=["10.1.2.3/32", "10.2.0.9/16", "2001:db8::/32"])
    assert group["addresses"] == ["10.1.2.3/32", "10.2.0.0/16", "2001:db8::/32"]
    path = f"/v2.0/address-groups/{group['id']}"
    more = await site.ask("PUT", f"{path}/add_addresses", {"addresses": ["10.1.2.4/32", "10.1.2.3/32"]})
    assert len(more["address_group"]["addresses"]) == 4
    less = await site.ask("PUT", f"{path}/remove_addresses", {"addresses": ["10.1.2.4"]})
    assert less["address_group"]["addresses"] == group["addresses"]
    await site.ask("PUT", f"{path}/remove_addresses", {"addresses": ["10.1.2.4"]}, expect=404)
    for bad in ("x", "10.1.2.3"):
        await site.ask("PUT", f"{path}/add_addresses", {"addresses": [bad]}, expect=400)
    await site.ask("PUT", f"{path}/add_addresses", {"addresses": []}, who="bob", expect=404)
    await site.ask("PUT", f"{path}/add_addresses", {"addresses": []}, who="eve", expect=403)
    web = await site.make("security_group", name="web", stateful=False)
    assert web["stateful"] is False
    rule = {"security_group_id": web["id"], "direction": "ingress", "remote_address_group_id": group["id"]}
    made = await site.make("security_group_rule", **rule)
    assert made["remote_address_group_id"] == group["id"]
    assert await site.fails("DELETE", path, expect=409) == "AddressGroupInUse"
    network, _ = await site.network()
    strict = await site.make("security_group", name="strict")
    mixed = {"network_id": network, "security_groups": [web["id"], strict["id"]]}
    assert await site.fails("POST", "/v2.0/ports", {"port": mixed}, expect=409) == "SecurityGroupConflict"
    both = {**rule, "remote_ip_prefix": "10.0.0.0/8"}
    await site.ask("POST", "/v2.0/security-group-rules", {"security_group_rule": both}, expect=400)
    await site.ask("DELETE", f"/v2.0/security-group-rules/{made['id']}", expect=204)
    await site.ask("DELETE", path, expect=204)


@pytest.mark.parametrize(("member", "values"), [("address_group", {}), ("address_scope", {"ip_version": 4})])
async def test_a_project_has_only_so_many(site: Site, member: str, values: dict[str, Any]) -> None:
    path = f"/v2.0/{member.replace('_', '-')}s"
    for number in range(100):
        made = await site.make(member, name=f"n{number}", **values)
    body = {member: {"name": "more", **values}}
    assert await site.fails("POST", path, body, expect=409) == "OverQuota"
    await site.ask("POST", path, body, who="bob", expect=201)
    await site.ask("DELETE", f"{path}/{made['id']}", expect=204)
    await site.ask("POST", path, body, expect=201)


async def _tagged(site: Site) -> list[tuple[str, str]]:
    public, router, network, subnet = await site.routed()
    group = await site.make("security_group", name="g")
    port = await site.make("port", network_id=network)
    pool = await site.make("subnetpool", prefixes=["10.0.0.0/8"])
    fip = await site.make("floatingip", floating_network_id=public)
    return [
        ("networks", network), ("subnets", subnet), ("ports", port["id"]), ("routers", router),
        ("security-groups", group["id"]), ("subnetpools", pool["id"]), ("floatingips", fip["id"]),
    ]  # fmt: skip


async def test_everything_has_tags(site: Site) -> None:
    for kind, identifier in await _tagged(site):
        path = f"/v2.0/{kind}/{identifier}"
        assert (await site.ask("PUT", f"{path}/tags", {"tags": ["red", "blue"]}))["tags"] == ["blue", "red"]
        await site.ask("PUT", f"{path}/tags/green", expect=201)
        await site.ask("POST", f"{path}/tags", {"tags": ["green", "grey"]}, expect=201)
        await site.ask("GET", f"{path}/tags/green", expect=204)
        await site.ask("DELETE", f"{path}/tags/grey", expect=204)
        assert await site.fails("DELETE", f"{path}/tags/grey", expect=404) == "TagNotFound"
        assert (await site.ask("GET", f"{path}/tags"))["tags"] == ["blue", "green", "red"]
        for query, found in (
            ("tags=red,blue", True), ("tags=red,pink", False), ("tags-any=pink,red", True), ("not-tags=red,pink", True),
            ("not-tags=red", False), ("not-tags-any=pink", True), ("not-tags-any=pink,red", False), ("tags=RED", False),
        ):  # fmt: skip
            rows = (await site.ask("GET", f"/v2.0/{kind}?{query}"))[kind.replace("-", "_")]
            assert (identifier in [r["id"] for r in rows]) is found, (kind, query)
        await site.ask("PUT", f"{path}/tags", {"tags": []}, who="bob", expect=404)
        await site.ask("PUT", f"{path}/tags", {"tags": []}, who="eve", expect=403)
        await site.ask("PUT", f"{path}/tags", {"tags": ["x" * 256]}, expect=400)
        await site.ask("PUT", f"{path}/tags", {"tags": [str(i) for i in range(51)]}, expect=400)
        await site.ask("DELETE", f"{path}/tags", expect=204)
        assert (await site.ask("GET", f"{path}/tags"))["tags"] == []


@pytest.mark.parametrize("tag", ['"a', "]", "a\\", '\\"', "%", "ä", "a b"])
async def test_a_strange_tag_is_only_itself(site: Site, tag: str) -> None:
    network = (await site.make("network"))["id"]
    await site.ask("PUT", f"/v2.0/networks/{network}/tags", {"tags": [tag, "zz,"]})
    for asked in ('"a', "]", "a\\", '\\"', "%", "ä", "a b", "a", "\\", '"', "zz", "b"):
        rows = (await site.ask("GET", f"/v2.0/networks?tags={quote(asked)}"))["networks"]
        assert (network in [n["id"] for n in rows]) is (asked == tag), asked
