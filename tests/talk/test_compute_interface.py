"""NICs of servers over HTTP."""

from __future__ import annotations

from compute_world import Site


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
    assert (await site.ann.post(path, json={"interfaceAttachment": {}})).status_code == 501
    assert (await site.ann.delete(f"{path}/{nic['port_id']}")).status_code == 501
