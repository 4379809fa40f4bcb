"""Actions on real guests, seen from inside: what keeps running, what boots anew, which disk and size it has then."""

from __future__ import annotations

import time

import pytest
from cloud import RealCloud, Server

pytestmark = pytest.mark.vm

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
MEMORY = "awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo"


def act(cloud: RealCloud, server: Server, action: str, status: str, value: object = None) -> Server:
    cloud.api.act(server["id"], action, value)
    return cloud.api.wait_status(server["id"], status)


def booted(cloud: RealCloud, server: Server, before: dict[str, str]) -> dict[str, str]:
    """The guest's next boot, in whatever status its server is."""
    end = time.monotonic() + 120
    while (last := cloud.boots(server)[-1]) == before:
        assert time.monotonic() < end, cloud.console(server)[-2000:]
        time.sleep(0.2)
    return last


def test_what_was_done_to_one_guest(cloud: RealCloud) -> None:
    """One guest through all of it: each boot takes seconds of an emulated processor."""
    server = cloud.boot("acted")
    first = cloud.boots(server)[-1]
    cloud.ssh(server, "echo first >/root/marker; sync")

    act(cloud, server, "pause", "PAUSED")
    act(cloud, server, "unpause", "ACTIVE")
    assert cloud.ssh(server, BOOT_ID) == first["boot"]

    act(cloud, server, "suspend", "SUSPENDED")
    assert cloud.traces(server)
    act(cloud, server, "resume", "ACTIVE")
    assert cloud.ssh(server, BOOT_ID) == first["boot"]

    act(cloud, server, "createImage", "ACTIVE", {"name": "copy"})
    assert cloud.ssh(server, f"{BOOT_ID}; cat /root/marker").split() == [first["boot"], "first"]
    image = next(i for i in cloud.api.get("/image/v2/images", name="copy")["images"] if i["name"] == "copy")
    assert (image["status"], image["disk_format"]) == ("active", "qcow2")

    cloud.ssh(server, "echo second >/root/marker; sync")
    act(cloud, server, "rebuild", "ACTIVE", {"imageRef": image["id"]})
    rebuilt = cloud.wait_ready(server, first)
    assert rebuilt["boot"] != first["boot"]
    assert cloud.ssh(server, "cat /root/marker") == "first"

    memory = int(cloud.ssh(server, MEMORY))
    act(cloud, server, "resize", "VERIFY_RESIZE", {"flavorRef": "1"})
    resized = booted(cloud, server, rebuilt)
    assert int(cloud.ssh(server, MEMORY)) > memory * 2
    cloud.ssh(server, "echo third >/root/marker; sync")
    act(cloud, server, "revertResize", "ACTIVE")
    reverted = cloud.wait_ready(server, resized)
    assert cloud.ssh(server, f"{MEMORY}; cat /root/marker").split() == [str(memory), "first"]

    act(cloud, server, "shelve", "SHELVED_OFFLOADED")
    assert cloud.traces(server) == []
    act(cloud, server, "unshelve", "ACTIVE")
    back = cloud.wait_ready(server)
    assert back["boot"] not in (reverted["boot"], first["boot"])
    assert cloud.ssh(server, "cat /root/marker") == "first"

    act(cloud, server, "rescue", "RESCUE", {"rescue_image_ref": server["image"]["id"]})
    rescued = booted(cloud, server, back)
    assert rescued["boot"] != back["boot"]
    # It runs from a fresh disk and has its own one beside that.
    own = "mkdir -p /mnt; mount /dev/vdb2 /mnt; cat /mnt/root/marker; umount /mnt; test -e /root/marker || echo fresh"
    assert cloud.ssh(server, own).split() == ["first", "fresh"]
    act(cloud, server, "unrescue", "ACTIVE")
    cloud.wait_ready(server, rescued)
    assert cloud.ssh(server, "cat /root/marker") == "first"

    cloud.delete(server)
    assert cloud.traces(server) == []
    assert "All is well" in (told := cloud.daemon.doctor()), told
