"""NICs of servers over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
from compute_world import Site, act, fault


async def test_the_nics_of_a_server_are_shown(site: Site) -> None:
    server_id = await site.boot(networks=[{"uuid": site.network, "tag": "front"}, {"uuid": site.network}])
    path = f"/servers/{server_id}/os-interface"
    first, second = (await site.ann.get(path)).json()["interfaceAttachments"]
    assert (first["tag"], second["tag"], first["port_state"], first["net_id"]) == (
        "front", None, "ACTIVE", site.network,
    )  # fmt: skip
    (network,) = (await site.ann.get(f"/servers/{server_id}")).json()["server"]["addresses"].values()
    told = {(a["addr"], a["OS-EXT-IPS-MAC:mac_addr"]) for a in network}
    assert told == {(nic["fixed_ips"][0]["ip_address"], nic["mac_addr"]) for nic in (first, second)}
    assert (await site.eve.get(f"{path}/{second['port_id']}")).json() == {"interfaceAttachment": second}
    old = {"openstack-api-version": "compute 2.69"}
    assert "tag" not in (await site.ann.get(path, headers=old)).json()["interfaceAttachments"][0]


async def test_nics_of_others_and_ports_elsewhere_are_not_found(site: Site) -> None:
    one, other = await site.boot(), await site.boot()
    (nic,) = (await site.ann.get(f"/servers/{other}/os-interface")).json()["interfaceAttachments"]
    path = f"/servers/{one}/os-interface"
    for answer in (
        await site.ann.get(f"{path}/{nic['port_id']}"), await site.ann.get(f"{path}/nowhere"), await site.bob.get(path),
        await site.bob.get(f"/servers/{other}/os-interface/{nic['port_id']}"),
    ):  # fmt: skip
        assert answer.status_code == 404
    assert (await site.admin.get(path)).status_code == 200
    assert (await site.ann.delete(f"{path}/{nic['port_id']}")).status_code == 404
    assert (await site.bob.post(path, json={"interfaceAttachment": {}})).status_code == 404
    assert (await site.bob.delete(f"/servers/{other}/os-interface/{nic['port_id']}")).status_code == 404


async def attach(site: Site, server_id: str, **wanted: Any) -> httpx.Response:
    return await site.ann.post(f"/servers/{server_id}/os-interface", json={"interfaceAttachment": wanted})


async def test_nics_come_and_go_while_a_server_runs(site: Site) -> None:
    server_id = await site.boot()
    answer = await attach(site, server_id, tag="back")
    assert answer.status_code == 200, answer.text
    made = answer.json()["interfaceAttachment"]
    assert (made["port_state"], made["net_id"], made["tag"]) == ("ACTIVE", site.network, "back")
    (network,) = (await site.show(server_id))["addresses"].values()
    assert made["fixed_ips"][0]["ip_address"] in [one["addr"] for one in network]
    port_id = await site.add_port()
    brought = (await attach(site, server_id, port_id=port_id)).json()["interfaceAttachment"]
    assert brought["port_id"] == port_id
    said = await site.said(server_id)
    assert [f"NIC {one['mac_addr']} is there" in said for one in (made, brought)] == [True, True]
    for one in (made, brought):
        path = f"/servers/{server_id}/os-interface/{one['port_id']}"
        assert (await site.ann.delete(path)).status_code == 202
        assert (await site.ann.get(path)).status_code == 404
        assert (await site.ann.delete(path)).status_code == 404
        assert f"NIC {one['mac_addr']} is gone" in await site.said(server_id)
    assert len((await site.ann.get(f"/servers/{server_id}/os-interface")).json()["interfaceAttachments"]) == 1
    (network,) = (await site.show(server_id))["addresses"].values()
    assert len(network) == 1
    left = {port.id: port.device_id for port in await site.ports()}
    assert (left[port_id], made["port_id"] in left) == ("", False)
    actions = (await site.ann.get(f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert [one["action"] for one in actions[:4]] == ["detach_interface"] * 2 + ["attach_interface"] * 2


async def test_a_server_that_is_off_has_its_nics_at_its_next_start(site: Site) -> None:
    server_id = await site.boot()
    await act(site.ann, server_id, "os-stop")
    assert await site.settle(server_id) == "stopped"
    made = (await attach(site, server_id, net_id=site.network)).json()["interfaceAttachment"]
    assert "is there" not in await site.said(server_id)
    await act(site.ann, server_id, "os-start")
    assert await site.settle(server_id) == "active"
    gone = await site.ann.delete(f"/servers/{server_id}/os-interface/{made['port_id']}")
    assert gone.status_code == 202
    assert f"NIC {made['mac_addr']} is gone" in await site.said(server_id)


async def test_a_nic_that_the_guest_does_not_take_leaves_nothing(site: Site) -> None:
    server_id = await site.boot(metadata={"fake.fail.rewire": "1", "fake.fail.rewire.code": "nic_held"})
    before = [port.id for port in await site.ports()]
    answer = await attach(site, server_id)
    assert answer.status_code == 500, answer.text
    assert await site.settle(server_id) == "active"
    assert [port.id for port in await site.ports()] == before
    made = (await attach(site, server_id)).json()["interfaceAttachment"]
    assert made["port_state"] == "ACTIVE"


async def test_a_nic_that_the_guest_holds_stays(site: Site) -> None:
    server_id = await site.boot(metadata={"fake.fail.rewire": "1", "fake.fail.rewire.code": "nic_held"})
    (nic,) = (await site.ann.get(f"/servers/{server_id}/os-interface")).json()["interfaceAttachments"]
    path = f"/servers/{server_id}/os-interface/{nic['port_id']}"
    assert (await site.ann.delete(path)).status_code == 202
    assert await site.settle(server_id) == "active"
    assert (await site.ann.get(path)).json() == {"interfaceAttachment": nic}
    assert (await site.ann.delete(path)).status_code == 202
    assert (await site.ann.get(path)).status_code == 404
    assert (await site.show(server_id))["addresses"] == {}


async def test_which_nics_are_refused(site: Site) -> None:
    server_id = await site.boot()
    before = [port.id for port in await site.ports()]
    ghost = "00000000-0000-4000-8000-000000000000"
    (own,) = (await site.ann.get(f"/servers/{server_id}/os-interface")).json()["interfaceAttachments"]
    used = own["fixed_ips"][0]["ip_address"]
    for code, wanted in (
        (400, {"net_id": site.network, "port_id": ghost}), (400, {"fixed_ips": [{"ip_address": used}]}),
        (404, {"net_id": ghost}), (404, {"port_id": ghost}), (409, {"port_id": own["port_id"]}),
        (400, {"net_id": site.network, "fixed_ips": [{"ip_address": used}]}), (400, {"tag": "a,b"}),
        (400, {"net_id": site.network, "fixed_ips": [{"ip_address": "203.0.113.1"}]}), (400, {"nonsense": 1}),
        (400, {"net_id": site.network, "fixed_ips": []}),
    ):  # fmt: skip
        answer = await attach(site, server_id, **wanted)
        assert answer.status_code == code, (wanted, answer.text)
    path, body = f"/servers/{server_id}/os-interface", {"interfaceAttachment": {}}
    assert (await site.eve.post(path, json=body)).status_code == 403
    assert (await site.eve.delete(f"{path}/{own['port_id']}")).status_code == 403
    old = {"openstack-api-version": "compute 2.48"}
    assert (await site.ann.post(path, json={"interfaceAttachment": {"tag": "x"}}, headers=old)).status_code == 400
    await act(site.ann, server_id, "suspend")
    await site.settle(server_id)
    refused = f"Cannot 'attach_interface' instance {server_id} while it is in vm_state suspended"
    assert fault(await attach(site, server_id)) == (409, refused)
    await act(site.ann, server_id, "resume")
    await site.settle(server_id)
    await act(site.ann, server_id, "lock")
    assert (await attach(site, server_id)).status_code == 409
    assert (await site.ann.delete(f"{path}/{own['port_id']}")).status_code == 409
    assert [port.id for port in await site.ports()] == before


async def test_a_server_has_sixteen_nics_at_most(site: Site) -> None:
    every = [{"uuid": site.network}] * 17
    answer = await site.ann.post("/servers", json=site.body(networks=every))
    assert fault(answer) == (400, "A server can have 16 network interfaces at most")
    server_id = await site.boot(networks=every[:16])
    assert (await attach(site, server_id)).status_code == 400
    assert len(await site.ports()) == 16


async def test_nics_count_against_the_quota_of_ports(site: Site) -> None:
    server_id = await site.boot()
    await site.limit("port", 1)
    assert (await attach(site, server_id)).status_code == 403
    assert len(await site.ports()) == 1
