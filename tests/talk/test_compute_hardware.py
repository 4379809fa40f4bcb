"""Hardware over HTTP: what flavors and images ask for is realised, or refused before anything is there."""

from __future__ import annotations

from typing import Any

from compute_world import PROJECTS, Site, act, fault


async def flavor(site: Site, **specs: str) -> str:
    """A flavor with these extra specs, set without a look at them."""
    old = {"openstack-api-version": "compute 2.85"}
    new = {"flavor": {"name": f"f{len(specs)}-{'-'.join(specs)}"[:200], "ram": 64, "vcpus": 2, "disk": 1}}
    made = (await site.admin.post("/flavors", json=new, headers=old)).json()["flavor"]["id"]
    if specs:
        named = {key.replace("__", ":"): value for key, value in specs.items()}
        answer = await site.admin.post(f"/flavors/{made}/os-extra_specs", json={"extra_specs": named}, headers=old)
        assert answer.status_code == 200, answer.text
    return str(made)


async def ask(site: Site, **values: Any) -> tuple[int, str]:
    return fault(await site.ann.post("/servers", json=site.body(**values)))


async def test_what_cannot_be_had_is_refused_and_leaves_nothing(site: Site) -> None:
    pinned = await flavor(site, hw__cpu_policy="dedicated")
    why = "The flavor's extra spec hw:cpu_policy=dedicated cannot be had: processors are not pinned"
    assert await ask(site, flavorRef=pinned) == (400, why)
    uefi = await site.add_image("uefi", properties={"hw_firmware_type": "uefi"})
    why = "The image's property hw_firmware_type=uefi cannot be had: guests start by BIOS"
    assert await ask(site, imageRef=uefi) == (400, why)
    strange = await site.add_image("strange", properties={"hw_strange": "1"})
    assert await ask(site, imageRef=strange) == (
        400, "The image's property hw_strange is not known: remove it from the image",
    )  # fmt: skip
    assert (await site.ann.get("/servers")).json()["servers"] == []
    assert (await site.quotas.uses(PROJECTS["ann"]))["instances"].used == 0
    server_id = await site.boot()
    for action, value in (("resize", {"flavorRef": pinned}), ("rebuild", {"imageRef": uefi})):
        assert (await act(site.ann, server_id, action, value)).status_code == 400
    rescue = await site.add_image("rescue", properties={"hw_rescue_bus": "scsi"})
    assert (await act(site.ann, server_id, "rescue", {"rescue_image_ref": rescue})).status_code == 400
    assert await site.settle(server_id) == "active"


async def test_a_guest_gets_its_hardware_and_another_one_when_it_is_resized_or_rebuilt(site: Site) -> None:
    image = await site.add_image("special", properties={
        "hw_disk_bus": "scsi", "hw_watchdog_action": "reset", "img_config_drive": "mandatory",
        "os_shutdown_timeout": "7",
    })  # fmt: skip
    server_id = await site.boot(imageRef=image, flavorRef=await flavor(site, quota__cpu_shares="512", gold="1"))
    assert (await site.show(server_id))["config_drive"] == "True"
    hardware = (await site.spec(server_id)).hardware
    assert (hardware.disk_bus, hardware.watchdog, hardware.cpu_shares) == ("scsi", "reset", 512)
    assert (await site.spec(server_id)).stop_timeout == 7
    larger = await flavor(site, quota__cpu_shares="1024")
    assert (await act(site.ann, server_id, "resize", {"flavorRef": larger})).status_code == 202
    assert await site.settle(server_id) == "resized"
    assert (await site.spec(server_id)).hardware.cpu_shares == 1024
    assert (await act(site.ann, server_id, "revertResize")).status_code == 202
    assert await site.settle(server_id) == "active"
    assert (await site.spec(server_id)).hardware == hardware
    assert (await act(site.ann, server_id, "rebuild", {"imageRef": site.image})).status_code == 202
    assert await site.settle(server_id) == "active"
    plain = (await site.spec(server_id)).hardware
    assert (plain.disk_bus, plain.watchdog, plain.cpu_shares) == ("virtio", "", 512)


async def test_extra_specs_are_checked_since_2_86(site: Site) -> None:
    made = await flavor(site)
    path = f"/flavors/{made}/os-extra_specs"
    for specs, code in (
        ({"hw:cpu_policy": "dedicated"}, 200), ({"quota:cpu_shares": "512", "gold": "x", "own:key": "y"}, 200),
        ({"hw:nonsense": "1"}, 400), ({"quota:cpu_shares": "many"}, 400), ({"hw:cpu_policy": "odd"}, 400),
        ({"hw:boot_menu": "perhaps"}, 400), ({"os:secure_boot": "x"}, 400), ({"hw:mem_page_size": "any"}, 200),
    ):  # fmt: skip
        answer = await site.admin.post(path, json={"extra_specs": specs})
        assert answer.status_code == code, (specs, answer.text)
    assert (await site.admin.put(f"{path}/quota:cpu_period", json={"quota:cpu_period": "1"})).status_code == 400
    assert (await site.admin.put(f"{path}/quota:cpu_period", json={"quota:cpu_period": "1000"})).status_code == 200
    shown = (await site.admin.get(path)).json()["extra_specs"]
    assert shown == {
        "hw:cpu_policy": "dedicated", "quota:cpu_shares": "512", "gold": "x", "own:key": "y", "hw:mem_page_size": "any",
        "quota:cpu_period": "1000",
    }  # fmt: skip
