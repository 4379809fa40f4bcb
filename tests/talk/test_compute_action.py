"""Server actions over HTTP: what they do, whom they are refused, and in what words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from compute_world import PROJECTS, Site, act, caller, fault

from kilonova.cloud.image.model import Filter, Image, Page
from kilonova.cloud.server.action import ServerActions
from kilonova.cloud.server.service import ServerService
from kilonova.cloud.server.upkeep import Upkeep
from kilonova.core.context import ALL
from kilonova.core.errors import NotFound
from kilonova.core.ids import new_uuid
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import open_database


async def done(site: Site, server_id: str, action: str, value: Any = None, code: int = 202) -> dict[str, Any]:
    """An action that ends; the server afterwards."""
    answer = await act(site.ann, server_id, action, value)
    assert answer.status_code == code, answer.text
    await site.settle(server_id)
    return await site.show(server_id)


def states(server: dict[str, Any]) -> tuple[str, str, int]:
    return server["status"], server["OS-EXT-STS:vm_state"], server["OS-EXT-STS:power_state"]


async def test_pausing_and_suspending(site: Site) -> None:
    server_id = await site.boot()
    assert states(await done(site, server_id, "pause")) == ("PAUSED", "paused", 3)
    refused = f"Cannot 'suspend' instance {server_id} while it is in vm_state paused"
    assert fault(await act(site.ann, server_id, "suspend")) == (409, refused)
    assert states(await done(site, server_id, "unpause")) == ("ACTIVE", "active", 1)
    assert states(await done(site, server_id, "suspend")) == ("SUSPENDED", "suspended", 7)
    assert (await act(site.ann, server_id, "os-start")).status_code == 409
    assert states(await done(site, server_id, "resume")) == ("ACTIVE", "active", 1)
    await done(site, server_id, "pause")
    assert states(await done(site, server_id, "reboot", {"type": "HARD"})) == ("ACTIVE", "active", 1)
    log = (await site.ann.get(f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert [one["action"] for one in log] == ["reboot", "pause", "resume", "suspend", "unpause", "pause", "create"]


async def test_a_lock_holds_for_all_but_administrators(site: Site) -> None:
    server_id = await site.boot()
    assert (await act(site.eve, server_id, "lock")).status_code == 403
    server = await done(site, server_id, "lock", {"locked_reason": "audit"})
    assert (server["locked"], server["locked_reason"]) == (True, "audit")
    for action, value in (("pause", None), ("rebuild", {"imageRef": site.image}), ("os-stop", None)):
        assert fault(await act(site.ann, server_id, action, value)) == (409, f"Instance {server_id} is locked")
    server = await done(site, server_id, "unlock")
    assert (server["locked"], server["locked_reason"]) == (False, None)
    assert (await act(site.admin, server_id, "lock")).status_code == 202
    assert (await act(site.ann, server_id, "unlock")).status_code == 403
    assert (await act(site.admin, server_id, "pause")).status_code == 202
    await site.settle(server_id)
    assert (await act(site.admin, server_id, "unlock")).status_code == 202
    assert (await act(site.ann, server_id, "lock", {"locked_reason": ""})).status_code == 400
    old = {"openstack-api-version": "compute 2.72"}
    assert (await site.ann.post(f"/servers/{server_id}/action", json={"lock": None}, headers=old)).status_code == 202


async def test_only_administrators_say_what_a_server_is(site: Site) -> None:
    server_id = await site.boot()
    assert (await act(site.ann, server_id, "os-resetState", {"state": "error"})).status_code == 403
    assert (await act(site.admin, server_id, "os-resetState", {"state": "paused"})).status_code == 400
    assert (await act(site.admin, server_id, "os-resetState", {"state": "error"})).status_code == 202
    assert (await site.show(server_id))["status"] == "ERROR"
    assert (await act(site.admin, server_id, "os-resetState", {"state": "active"})).status_code == 202
    assert (await site.show(server_id))["status"] == "ACTIVE"


async def test_what_was_under_way_ends_with_a_reset_and_leaves_nothing(site: Site) -> None:
    server_id = await site.boot(flavorRef="1", metadata={"fake.delay.copy_root": "5"})
    small = await usage(site)
    made = await act(site.ann, server_id, "createImage", {"name": "copy"})
    assert (await act(site.admin, server_id, "os-resetState", {"state": "active"})).status_code == 202
    with pytest.raises(NotFound):
        await image_of(site, made)
    await done(site, server_id, "resize", {"flavorRef": "2"})
    large = await usage(site)
    assert (await act(site.admin, server_id, "os-resetState", {"state": "active"})).status_code == 202
    assert await usage(site) == large > small
    assert (await act(site.ann, server_id, "revertResize")).status_code == 409
    assert states(await done(site, server_id, "reboot", {"type": "HARD"})) == ("ACTIVE", "active", 1)
    await done(site, server_id, "shelve")
    assert (await act(site.admin, server_id, "os-resetState", {"state": "active"})).status_code == 409
    assert states(await done(site, server_id, "unshelve")) == ("ACTIVE", "active", 1)


async def test_a_server_is_rescued_and_comes_back(site: Site) -> None:
    server_id = await site.boot()
    assert (await act(site.ann, server_id, "rescue", {"rescue_image_ref": server_id})).status_code == 400
    answer = await act(site.ann, server_id, "rescue", {"adminPass": "fresh"})
    assert (answer.status_code, answer.json()) == (200, {"adminPass": "fresh"})
    await site.settle(server_id)
    assert states(await site.show(server_id)) == ("RESCUE", "rescued", 1)
    assert (await act(site.ann, server_id, "os-stop")).status_code == 409
    assert states(await done(site, server_id, "unrescue")) == ("ACTIVE", "active", 1)
    assert (await act(site.ann, server_id, "unrescue")).status_code == 409


async def test_a_server_is_made_anew(site: Site) -> None:
    server_id = await site.boot()
    other = await site.add_image("other")
    wanted = {"imageRef": other, "name": "anew", "metadata": {"a": "b"}, "adminPass": "p", "accessIPv4": "192.0.2.7"}
    answer = await act(site.ann, server_id, "rebuild", {**wanted, "user_data": "aGk="})
    shown = answer.json()["server"]
    assert (answer.status_code, shown["status"], shown["adminPass"]) == (202, "REBUILD", "p")
    assert (shown["name"], shown["key_name"], shown["user_data"]) == ("anew", None, "aGk=")
    await site.settle(server_id)
    server = await site.show(server_id)
    assert states(server) == ("ACTIVE", "active", 1)
    assert (server["name"], server["image"]["id"], server["metadata"]) == ("anew", other, {"a": "b"})
    assert server["accessIPv4"] == "192.0.2.7"
    await done(site, server_id, "os-stop")
    assert states(await done(site, server_id, "rebuild", {"imageRef": site.image})) == ("SHUTOFF", "stopped", 4)
    for bad in ({}, {"imageRef": "nowhere"}, {"imageRef": server_id}, {"imageRef": other, "key_name": "none"}):
        assert (await act(site.ann, server_id, "rebuild", bad)).status_code == 400
    assert (await site.show(server_id))["image"]["id"] == site.image


async def usage(site: Site) -> tuple[int, int, int]:
    shown = (await site.ann.get(f"/os-quota-sets/{PROJECTS['ann']}/detail")).json()["quota_set"]
    return shown["instances"]["in_use"], shown["cores"]["in_use"], shown["ram"]["in_use"]


async def test_a_resize_is_confirmed_or_taken_back(site: Site) -> None:
    server_id = await site.boot(flavorRef="1")
    small = await usage(site)
    server = await done(site, server_id, "resize", {"flavorRef": "2"})
    assert (states(server), server["flavor"]["ram"]) == (("VERIFY_RESIZE", "resized", 1), 2048)
    both = await usage(site)
    assert both == (1, 1, 2048)
    assert both > small
    assert fault(await act(site.ann, server_id, "resize", {"flavorRef": "3"}))[0] == 409
    server = await done(site, server_id, "revertResize")
    assert (states(server), server["flavor"]["ram"]) == (("ACTIVE", "active", 1), 512)
    assert await usage(site) == small
    await done(site, server_id, "resize", {"flavorRef": "2"})
    server = await done(site, server_id, "confirmResize", None, 204)
    assert (server["status"], server["flavor"]["ram"]) == ("ACTIVE", 2048)
    assert await usage(site) == both
    for bad in ("1", "2", "77"):
        assert (await act(site.ann, server_id, "resize", {"flavorRef": bad})).status_code == 400, bad
    for late in ("confirmResize", "revertResize"):
        words = f"Cannot '{late}' instance {server_id} while it is in vm_state active"
        assert fault(await act(site.ann, server_id, late)) == (409, words)
    await done(site, server_id, "os-stop")
    await done(site, server_id, "resize", {"flavorRef": "3"})
    assert states(await done(site, server_id, "revertResize")) == ("SHUTOFF", "stopped", 4)


async def test_what_does_not_fit_is_not_resized(site: Site) -> None:
    server_id = await site.boot(flavorRef="1")
    limits = {"quota_set": {"ram": 1024}}
    await site.admin.put(f"/os-quota-sets/{PROJECTS['ann']}", json=limits)
    assert fault(await act(site.ann, server_id, "resize", {"flavorRef": "2"}))[0] == 403
    huge = {"name": "huge", "ram": 1024, "vcpus": 20_000, "disk": 20}
    await site.admin.put(f"/os-quota-sets/{PROJECTS['ann']}", json={"quota_set": {"ram": -1, "cores": -1}})
    flavor = (await site.admin.post("/flavors", json={"flavor": huge})).json()["flavor"]["id"]
    before = await usage(site)
    server = await done(site, server_id, "resize", {"flavorRef": flavor})
    assert (server["status"], await usage(site)) == ("ACTIVE", before)
    [last, *_] = (await site.ann.get(f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert (last["action"], last["message"]) == ("resize", "Error")


async def test_others_servers_are_not_there(site: Site) -> None:
    server_id = await site.boot()
    asks = {"pause": None, "suspend": None, "lock": None, "unlock": None, "rescue": None, "unrescue": None,
            "rebuild": {"imageRef": site.image}, "resize": {"flavorRef": "2"}, "confirmResize": None,
            "revertResize": None, "shelve": None, "unshelve": None, "createImage": {"name": "n"},
            "createBackup": {"name": "n", "backup_type": "daily", "rotation": 1}}  # fmt: skip
    for action, value in asks.items():
        assert (await act(site.bob, server_id, action, value)).status_code == 404, action
        assert (await act(site.eve, server_id, action, value)).status_code == 403, action
    assert (await site.servers.get(ALL, server_id)).phase == "active"


async def image_of(site: Site, answer: httpx.Response) -> Image:
    assert answer.status_code == 202, answer.text
    return await site.images.get(caller("ann"), answer.json()["image_id"])


async def test_an_image_is_made_of_a_server(site: Site) -> None:
    server_id = await site.boot(metadata={"a": "b"})
    asked = {"name": "copy", "metadata": {"purpose": "test"}}
    answer = await act(site.ann, server_id, "createImage", asked)
    await site.settle(server_id)
    image = await image_of(site, answer)
    assert (image.status, image.name, image.owner, image.visibility) == ("active", "copy", PROJECTS["ann"], "private")
    assert (image.size, image.disk_format, image.min_disk) == (1024, "raw", 1)
    told = {key: image.properties[key] for key in ("image_type", "instance_uuid", "base_image_ref", "purpose")}
    assert told == {
        "image_type": "snapshot",
        "instance_uuid": server_id,
        "base_image_ref": site.image,
        "purpose": "test",
    }
    assert (await site.show(server_id))["status"] == "ACTIVE"
    copy = await site.boot(imageRef=image.id)
    assert (await site.show(copy))["image"]["id"] == image.id
    old = {"openstack-api-version": "compute 2.44"}
    path = f"/servers/{server_id}/action"
    answer = await site.ann.post(path, json={"createImage": {"name": "old"}}, headers=old)
    assert answer.headers["location"].startswith("http://cloud/image/v2/images/")
    assert (await act(site.ann, server_id, "createImage", {"name": "busy"})).status_code == 409
    await site.settle(server_id)
    for bad in ({}, {"name": ""}, {"name": "x", "metadata": {"a": 1}}):
        assert (await act(site.ann, server_id, "createImage", bad)).status_code == 400


async def test_of_backups_the_newest_stay(site: Site) -> None:
    server_id = await site.boot()
    made = []
    for name in ("one", "two", "three"):
        asked = {"name": name, "backup_type": "daily", "rotation": "2"}
        made.append((await act(site.ann, server_id, "createBackup", asked)).json()["image_id"])
        await site.settle(server_id)
    weekly = {"name": "w", "backup_type": "weekly", "rotation": 1}
    made.append((await act(site.ann, server_id, "createBackup", weekly)).json()["image_id"])
    await site.settle(server_id)
    page = await site.images.list(caller("ann"), Filter(properties={"image_type": "backup"}), Page())
    assert [image.id for image in page] == made[:0:-1]
    for bad in ({**weekly, "rotation": -1}, {"name": "x", "rotation": 1}, {**weekly, "rotation": "two"}):
        assert (await act(site.ann, server_id, "createBackup", bad)).status_code == 400


async def test_a_server_deleted_while_its_image_is_made_leaves_none(site: Site) -> None:
    server_id = await site.boot(metadata={"fake.delay.copy_root": "5"})
    answer = await act(site.ann, server_id, "createImage", {"name": "copy"})
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    assert await site.settle(server_id) == ""
    with pytest.raises(NotFound):
        await image_of(site, answer)


async def test_no_room_for_an_image_is_told_at_once(site: Site) -> None:
    server_id = await site.boot()
    await site.quotas.set(PROJECTS["ann"], {"image_count": 0})
    assert (await act(site.ann, server_id, "createImage", {"name": "copy"})).status_code == 403
    assert (await site.show(server_id))["OS-EXT-STS:task_state"] is None


async def test_a_server_is_shelved_and_brought_back(site: Site) -> None:
    server_id = await site.boot()
    address = (await site.show(server_id))["addresses"]
    server = await done(site, server_id, "shelve")
    assert states(server) == ("SHELVED_OFFLOADED", "shelved_offloaded", 0)
    assert (server["OS-EXT-SRV-ATTR:host"], server["addresses"]) == (None, address)
    [image] = await site.images.list(caller("ann"), Filter(properties={"instance_uuid": server_id}), Page())
    assert (image.name, image.status) == ("web-shelved", "active")
    assert (await act(site.ann, server_id, "os-start")).status_code == 409
    assert (await act(site.ann, server_id, "shelveOffload")).status_code == 403
    assert (await act(site.admin, server_id, "shelveOffload")).status_code == 409
    for bad in ({"availability_zone": "nowhere"}, {"host": "nowhere"}, {}, {"zone": "nova"}):
        assert (await act(site.admin, server_id, "unshelve", bad)).status_code == 400, bad
    assert (await act(site.ann, server_id, "unshelve", {"host": "host1"})).status_code == 403
    assert (await act(site.admin, server_id, "unshelve", {"host": "host1"})).status_code == 202
    await site.settle(server_id)
    server = await site.show(server_id)
    assert (states(server), server["addresses"]) == (("ACTIVE", "active", 1), address)
    assert not await site.images.list(caller("ann"), Filter(properties={"instance_uuid": server_id}), Page())
    await done(site, server_id, "shelve")
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    assert await site.settle(server_id) == ""
    assert not await site.images.list(caller("ann"), Filter(properties={"instance_uuid": server_id}), Page())


async def test_only_a_server_whose_host_is_down_is_evacuated(site: Site) -> None:
    server_id = await site.boot()
    assert (await act(site.ann, server_id, "evacuate", {})).status_code == 403
    words = "Compute service of host1 is still in use."
    assert fault(await act(site.admin, server_id, "evacuate", {})) == (400, words)
    assert (await act(site.admin, server_id, "evacuate", {"host": "nowhere"})).status_code == 400
    assert (await act(site.admin, server_id, "evacuate", {"onSharedStorage": True})).status_code == 400
    assert (await site.show(server_id))["status"] == "ACTIVE"


async def test_an_image_that_grows_too_large_is_none(site: Site) -> None:
    server_id = await site.boot()
    await site.quotas.set(PROJECTS["ann"], {"image_bytes": 1000})
    made = await act(site.ann, server_id, "createImage", {"name": "copy"})
    await site.settle(server_id)
    with pytest.raises(NotFound):
        await image_of(site, made)
    server = await site.show(server_id)
    assert (server["status"], server["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    [last, *_] = (await site.ann.get(f"/servers/{server_id}/os-instance-actions")).json()["instanceActions"]
    assert (last["action"], last["message"]) == ("createImage", "Error")
    assert states(await done(site, server_id, "reboot", {"type": "HARD"})) == ("ACTIVE", "active", 1)


async def test_a_deleted_server_can_be_restored_where_they_are_put_aside(sqlite_url: str, tmp_path: Path) -> None:
    db = await open_database(sqlite_url, SystemClock())
    site = Site(db, tmp_path, soft_delete=True)
    await site.start()
    server_id = await site.boot(flavorRef="1")
    before = await usage(site)
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    assert await site.settle(server_id) == "soft_deleted"
    assert states(await site.show(server_id)) == ("SOFT_DELETED", "soft-delete", 4)
    assert (await site.ann.get("/servers")).json()["servers"] == []
    assert len((await site.ann.get("/servers?status=SOFT_DELETED")).json()["servers"]) == 1
    assert await usage(site) == (0, 0, 0)
    assert (await site.ann.delete(f"/servers/{server_id}")).status_code == 204
    for action in ("os-start", "pause", "lock_it", "shelve"):
        assert (await act(site.ann, server_id, action)).status_code in (400, 409), action
    assert (await act(site.eve, server_id, "restore")).status_code == 403
    assert (await act(site.bob, server_id, "restore")).status_code == 404
    limit = {"quota_set": {"instances": 0}}
    await site.admin.put(f"/os-quota-sets/{PROJECTS['ann']}", json=limit)
    assert (await act(site.ann, server_id, "restore")).status_code == 403
    await site.admin.put(f"/os-quota-sets/{PROJECTS['ann']}", json={"quota_set": {"instances": 9}})
    assert states(await done(site, server_id, "restore")) == ("ACTIVE", "active", 1)
    assert await usage(site) == before
    assert (await act(site.ann, server_id, "restore")).status_code == 409
    assert (await act(site.ann, server_id, "forceDelete")).status_code == 202
    assert await site.settle(server_id) == ""
    await site.stop()
    await db.close()


async def test_what_nobody_decides_on_is_decided(site: Site) -> None:
    aside = ServerService(site.db, site.ops, site.placement, new_uuid, soft_delete=True)
    waiting, resized = await site.boot(), await site.boot(flavorRef="1")
    await aside.delete(caller("ann"), ALL, waiting)
    await site.settle(waiting)
    await done(site, resized, "resize", {"flavorRef": "2"})
    actions = ServerActions(site.db, site.ops, site.images, site.networks.allocation)
    await Upkeep(site.db, site.servers, actions, reclaim=60, confirm=60).run()
    assert (await site.settle(waiting), await site.settle(resized)) == ("soft_deleted", "resized")
    await asyncio.sleep(1.1)
    await Upkeep(site.db, site.servers, actions, reclaim=1, confirm=1).run()
    assert (await site.settle(waiting), await site.settle(resized)) == ("", "active")
