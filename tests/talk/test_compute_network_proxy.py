"""Groups, outside addresses and networks by the Compute API of 2015: the network service's own, in Nova's words."""

from __future__ import annotations

import httpx
from compute_world import PROJECTS, Site, caller, fault

from kilonova.cloud.network.model import Listing

OLD = {"openstack-api-version": "compute 2.35"}
GROUPS, RULES, FLOATING = "/os-security-groups", "/os-security-group-rules", "/os-floating-ips"


async def ask(client: httpx.AsyncClient, method: str, path: str, body: object = None) -> httpx.Response:
    return await client.request(method, path, json=body, headers=OLD)


async def new_group(site: Site, name: str = "web") -> str:
    body = {"security_group": {"name": name, "description": "for the web"}}
    made = await ask(site.ann, "POST", GROUPS, body)
    assert made.status_code == 200, made.text
    return str(made.json()["security_group"]["id"])


async def test_a_group_and_its_rules(still: Site) -> None:
    web = await new_group(still)
    rule = {"parent_group_id": web, "ip_protocol": "TCP", "from_port": "80", "to_port": 81, "cidr": "10.0.0.0/8"}
    made = (await ask(still.ann, "POST", RULES, {"security_group_rule": rule})).json()["security_group_rule"]
    assert (made["ip_protocol"], made["from_port"], made["to_port"]) == ("tcp", 80, 81)
    assert (made["ip_range"], made["group"], made["parent_group_id"]) == ({"cidr": "10.0.0.0/8"}, {}, web)
    ping = {"parent_group_id": web, "ip_protocol": "icmp", "from_port": -1, "to_port": -1, "cidr": "::/0"}
    assert (await ask(still.ann, "POST", RULES, {"security_group_rule": ping})).status_code == 200
    own = {"parent_group_id": web, "group_id": web}
    mates = (await ask(still.ann, "POST", RULES, {"security_group_rule": own})).json()["security_group_rule"]
    assert mates["group"] == {"name": "web", "tenant_id": PROJECTS["ann"]}
    shown = (await ask(still.ann, "GET", f"{GROUPS}/{web}")).json()["security_group"]
    assert len(shown["rules"]) == 3
    listed = (await ask(still.ann, "GET", GROUPS)).json()["security_groups"]
    assert [group["name"] for group in listed] == ["default", "web"]
    assert (await ask(still.ann, "DELETE", f"{RULES}/{made['id']}")).status_code == 202
    change = {"security_group": {"name": "site", "description": ""}}
    assert (await ask(still.ann, "PUT", f"{GROUPS}/{web}", change)).json()["security_group"]["name"] == "site"
    shown = (await ask(still.ann, "GET", f"{GROUPS}/{web}")).json()["security_group"]
    assert (shown["name"], len(shown["rules"])) == ("site", 2)
    assert (await ask(still.ann, "DELETE", f"{GROUPS}/{web}")).status_code == 202
    assert fault(await ask(still.ann, "GET", f"{GROUPS}/{web}"))[0] == 404


async def test_bad_rules_change_nothing(still: Site) -> None:
    web = await new_group(still)
    for rule, status in (
        ({}, 400), ({"ip_protocol": "tcp", "from_port": 1}, 400), ({"cidr": "10.0.0.0/8"}, 400),
        ({"ip_protocol": "tcp", "from_port": 9, "to_port": 8}, 400),
        ({"ip_protocol": "gre", "from_port": 1, "to_port": 1}, 400),
        ({"ip_protocol": "udp", "from_port": 1, "to_port": 70000}, 400),
        ({"ip_protocol": "tcp", "from_port": 1, "to_port": 2, "cidr": "10.0.0.0/80"}, 400),
        ({"group_id": "11111111-1111-4111-8111-111111111111"}, 404), ({"group_id": ""}, 404),
    ):  # fmt: skip
        answer = await ask(still.ann, "POST", RULES, {"security_group_rule": {"parent_group_id": web, **rule}})
        assert answer.status_code == status, (rule, answer.text)
    assert (await ask(still.ann, "GET", f"{GROUPS}/{web}")).json()["security_group"]["rules"] == []
    for body in ({"name": "x"}, {"name": "", "description": ""}, {"name": "default", "description": ""}):
        assert (await ask(still.ann, "POST", GROUPS, {"security_group": body})).status_code == 400


async def test_groups_of_others(still: Site) -> None:
    web = await new_group(still)
    for method, path, body in (
        ("GET", f"{GROUPS}/{web}", None),
        ("DELETE", f"{GROUPS}/{web}", None),
        ("PUT", f"{GROUPS}/{web}", {"security_group": {"name": "mine", "description": ""}}),
        ("POST", RULES, {"security_group_rule": {"parent_group_id": web, "group_id": web}}),
    ):
        assert (await ask(still.bob, method, path, body)).status_code == 404, (method, path)
    assert web not in (await ask(still.bob, "GET", f"{GROUPS}?all_tenants=1")).text
    assert web not in (await ask(still.admin, "GET", GROUPS)).text
    assert web in (await ask(still.admin, "GET", f"{GROUPS}?all_tenants=1")).text
    assert (await ask(still.eve, "GET", f"{GROUPS}/{web}")).status_code == 200
    assert (await ask(still.eve, "DELETE", f"{GROUPS}/{web}")).status_code == 403
    assert (await still.ann.get(GROUPS)).status_code == 404


async def test_networks_to_look_at(still: Site) -> None:
    networks = (await ask(still.ann, "GET", "/os-networks")).json()["networks"]
    known = {one["id"]: one for one in networks}
    assert known[still.network]["vlan"] is None
    shown = (await ask(still.ann, "GET", f"/os-networks/{still.network}")).json()["network"]
    assert shown == known[still.network]
    mine = (await ask(still.ann, "GET", f"/os-tenant-networks/{still.network}")).json()["network"]
    assert set(mine) == {"id", "label", "cidr"}
    assert "/" in mine["cidr"]
    assert mine in (await ask(still.ann, "GET", "/os-tenant-networks")).json()["networks"]
    nowhere = "11111111-1111-4111-8111-111111111111"
    for path in (f"/os-networks/{nowhere}", f"/os-tenant-networks/{nowhere}"):
        assert fault(await ask(still.ann, "GET", path)) == (404, "Network not found")
    assert (await ask(still.admin, "POST", "/os-networks", {})).status_code == 501
    assert (await still.ann.get("/os-tenant-networks")).status_code == 404


async def test_outside_addresses(still: Site) -> None:
    pools = [one["name"] for one in (await ask(still.ann, "GET", "/os-floating-ip-pools")).json()["floating_ip_pools"]]
    assert pools
    made = (await ask(still.ann, "POST", FLOATING, {"pool": pools[0]})).json()["floating_ip"]
    assert (made["pool"], made["fixed_ip"], made["instance_id"]) == (pools[0], None, None)
    assert (await ask(still.ann, "GET", f"{FLOATING}/{made['id']}")).json()["floating_ip"] == made
    assert (await ask(still.ann, "GET", FLOATING)).json()["floating_ips"] == [made]
    assert (await ask(still.bob, "GET", FLOATING)).json()["floating_ips"] == []
    for method in ("GET", "DELETE"):
        assert (await ask(still.bob, method, f"{FLOATING}/{made['id']}")).status_code == 404
    assert fault(await ask(still.ann, "POST", FLOATING, {"pool": "none"})) == (404, "Floating IP pool not found.")
    assert (await ask(still.ann, "POST", FLOATING, {"pool": 5})).status_code == 400
    assert (await ask(still.eve, "POST", FLOATING)).status_code == 403
    again = await ask(still.ann, "POST", FLOATING)
    assert again.json()["floating_ip"]["pool"] in pools
    for one in (made, again.json()["floating_ip"]):
        assert (await ask(still.ann, "DELETE", f"{FLOATING}/{one['id']}")).status_code == 202
    assert await still.networks.floating_ips.find(caller("ann"), Listing()) == []
