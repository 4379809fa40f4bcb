"""Passwords, crash dumps, diagnostics and topology of running guests, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from compute_world import Site, act, fault


def at(version: str) -> dict[str, str]:
    return {"openstack-api-version": f"compute {version}"}


async def actions(site: Site, server_id: str) -> list[tuple[str, Any]]:
    found = (await site.ann.get(f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    return [(one["action"], one["message"]) for one in found]


async def test_a_password_is_changed_by_the_guests_agent(site: Site) -> None:
    server_id = await site.boot()
    assert (await act(site.ann, server_id, "changePassword", {"adminPass": "hidden word"})).status_code == 202
    assert "The password of root was changed" in await site.said(server_id)
    assert "hidden" not in await site.said(server_id)
    assert (await actions(site, server_id))[0] == ("changePassword", None)
    mute = await site.boot(metadata={"fake.agent": "none"})
    refused = await act(site.ann, mute, "changePassword", {"adminPass": "x"})
    assert fault(refused) == (409, "The guest's agent does not answer.")
    assert (await actions(site, mute))[0] == ("changePassword", "Error")
    windows = await site.add_image("windows", properties={"os_type": "windows"})
    other = await site.boot(imageRef=windows)
    await act(site.ann, other, "changePassword", {"adminPass": "x"})
    assert "The password of Administrator was changed" in await site.said(other)


async def test_a_crash_dump_is_asked_for(site: Site) -> None:
    server_id = await site.boot()
    assert (await act(site.ann, server_id, "trigger_crash_dump")).status_code == 202
    assert "NMI received" in await site.said(server_id)
    await act(site.ann, server_id, "os-stop")
    await site.settle(server_id)
    refused = f"Cannot 'trigger_crash_dump' instance {server_id} while it is in vm_state stopped"
    assert fault(await act(site.ann, server_id, "trigger_crash_dump")) == (409, refused)
    path, body = f"/servers/{server_id}/action", {"trigger_crash_dump": None}
    assert (await site.ann.post(path, json=body, headers=at("2.16"))).status_code == 404


async def test_who_may_ask_what_of_a_guest(site: Site) -> None:
    server_id = await site.boot()
    for bad in ({}, {"adminPass": 1}, {"adminPass": "x" * 256}, {"adminPass": "x", "more": 1}, None):
        assert (await act(site.ann, server_id, "changePassword", bad)).status_code == 400, bad
    assert (await act(site.ann, server_id, "trigger_crash_dump", {})).status_code == 400
    for action, value in (("changePassword", {"adminPass": "x"}), ("trigger_crash_dump", None)):
        assert (await act(site.eve, server_id, action, value)).status_code == 403
        assert (await act(site.bob, server_id, action, value)).status_code == 404
    await act(site.ann, server_id, "lock")
    for action, value in (("changePassword", {"adminPass": "x"}), ("trigger_crash_dump", None)):
        assert (await act(site.ann, server_id, action, value)).status_code == 409
    assert await actions(site, server_id) == [("create", None)]
    assert (await site.ann.get(f"/servers/{server_id}/diagnostics")).status_code == 403
    assert (await site.bob.get(f"/servers/{server_id}/topology")).status_code == 404


async def test_diagnostics_are_of_the_running_guest(site: Site) -> None:
    server_id = await site.boot(flavorRef="2", config_drive=True)
    path = f"/servers/{server_id}/diagnostics"
    told = (await site.admin.get(path)).json()
    (nic,) = (await site.ann.get(f"/servers/{server_id}/os-interface")).json()["interfaceAttachments"]
    assert (told["state"], told["driver"], told["config_drive"]) == ("running", "fake", True)
    assert (told["num_cpus"], told["num_nics"], told["memory_details"]["maximum"]) == (1, 1, 2048)
    assert [one["mac_address"] for one in told["nic_details"]] == [nic["mac_addr"]]
    old = (await site.admin.get(path, headers=at("2.47"))).json()
    assert (old["memory"], "cpu0_time" in old, "vda_read_req" in old) == (2048 * 1024, True, True)
    await act(site.ann, server_id, "os-stop")
    await site.settle(server_id)
    refused = f"Cannot 'get_diagnostics' instance {server_id} while it is in vm_state stopped"
    assert fault(await site.admin.get(path)) == (409, refused)


async def test_no_guest_has_a_topology_of_cells(site: Site) -> None:
    server_id = await site.boot()
    path = f"/servers/{server_id}/topology"
    assert (await site.eve.get(path)).json() == {"nodes": [], "pagesize_kb": None}
    assert (await site.ann.get(path, headers=at("2.77"))).status_code == 404


async def test_what_a_guest_tells_as_its_password_is_kept_until_it_is_cleared(site: Site) -> None:
    server_id = await site.boot()
    path = f"/servers/{server_id}/os-server-password"
    agent = site.agents[0]
    assert (await site.eve.get(path)).json() == {"password": ""}
    assert agent.keep(server_id, "c2VhbGVk")
    assert not agent.keep(server_id, "again")
    async with asyncio.timeout(5):
        while (await site.ann.get(path)).json() != {"password": "c2VhbGVk"}:
            await asyncio.sleep(0.02)
    assert (await site.eve.delete(path)).status_code == 403
    assert (await site.bob.delete(path)).status_code == 404
    assert (await site.ann.delete(path)).status_code == 204
    assert (await site.ann.get(path)).json() == {"password": ""}
    async with asyncio.timeout(5):
        while agent.read(server_id):
            await asyncio.sleep(0.02)
    assert agent.keep(server_id, "bmV3")
    async with asyncio.timeout(5):
        while (await site.ann.get(path)).json() != {"password": "bmV3"}:
            await asyncio.sleep(0.02)
    assert (await site.bob.get(path)).status_code == 404
