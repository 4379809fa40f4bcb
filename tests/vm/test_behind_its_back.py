"""What happens to guests without the cloud being asked shows, and what shall be kept is kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud import RealCloud, Server, run, virsh, within

from kilonova.node.driver.net.linux import LinuxNet

pytestmark = pytest.mark.vm

SECONDS = 8.0
LONGER_THAN_A_LOOK = 13.0


@pytest.fixture(scope="module")
def gamma(cloud: RealCloud) -> Iterator[Server]:
    """A guest of this module's own. Each test takes and leaves it running, in the order of the file."""
    server = cloud.boot("gamma")
    cloud.ssh(server, "echo kept >/root/marker; sync")
    yield server
    cloud.delete(server)
    assert cloud.traces(server) == []


def wait_off(cloud: RealCloud, server: Server) -> None:
    def status() -> str:
        return str(cloud.api.server(server["id"])["status"])

    seconds = within(SECONDS, lambda: status() == "SHUTOFF", lambda: f"the cloud has not noticed: {status()}")
    assert seconds < SECONDS


def start(cloud: RealCloud, server: Server) -> None:
    last = cloud.boots(server)[-1]
    cloud.api.act(server["id"], "os-start")
    cloud.wait_ready(server, last)


def test_a_guest_that_reboots_itself_stays_active(cloud: RealCloud, gamma: Server) -> None:
    process, last = cloud.qemu(gamma), cloud.boots(gamma)[-1]
    cloud.ssh(gamma, "(sleep 0.5; reboot) >/dev/null 2>&1 &")
    assert cloud.wait_ready(gamma, last)["boot"] != last["boot"]
    assert cloud.api.server(gamma["id"])["status"] == "ACTIVE"
    assert cloud.qemu(gamma) == process
    actions = cloud.api.get(f"/compute/v2.1/servers/{gamma['id']}/os-instance-actions")["instanceActions"]
    assert [a["action"] for a in actions] == ["create"]


def test_a_guest_that_powers_itself_off_is_shutoff_and_stays_so(cloud: RealCloud, gamma: Server) -> None:
    cloud.ssh(gamma, "(sleep 0.5; poweroff) >/dev/null 2>&1 &")
    within(40, lambda: virsh("domstate", cloud.domain(gamma)) == "shut off", lambda: cloud.console(gamma)[-500:])
    wait_off(cloud, gamma)
    time.sleep(LONGER_THAN_A_LOOK)
    assert virsh("domstate", cloud.domain(gamma)) == "shut off"
    assert cloud.api.server(gamma["id"])["status"] == "SHUTOFF"
    cloud.api.act(gamma["id"], "os-start")
    cloud.api.wait_status(gamma["id"], "ACTIVE")


def test_a_guest_destroyed_by_hand_is_shutoff(cloud: RealCloud, gamma: Server) -> None:
    virsh("destroy", cloud.domain(gamma))
    wait_off(cloud, gamma)
    start(cloud, gamma)
    assert cloud.ssh(gamma, "cat /root/marker") == "kept"


def test_what_happens_while_the_cloud_is_down_is_seen_when_it_is_back(cloud: RealCloud, gamma: Server) -> None:
    cloud.namespace("private")

    def power_off() -> None:
        cloud.ssh_directly(gamma, "(sleep 0.5; poweroff) >/dev/null 2>&1 &")
        within(40, lambda: virsh("domstate", cloud.domain(gamma)) == "shut off", lambda: "it does not go off")

    cloud.restart(meanwhile=power_off)
    wait_off(cloud, gamma)
    start(cloud, gamma)


def test_after_the_host_has_rebooted_its_guests_run_again(cloud: RealCloud, gamma: Server) -> None:
    last = cloud.boots(gamma)[-1]

    def reboot_host() -> None:
        """Guests, networks and filters are gone, and the kernel has drawn another boot id."""
        virsh("destroy", cloud.domain(gamma))
        asyncio.run(wipe_networks(cloud.cloud_id))
        journal = cloud.state / "node" / "journal"
        journal.write_text("".join(forget_boot(line) for line in journal.read_text().splitlines(keepends=True)))

    cloud.restart(meanwhile=reboot_host)
    cloud.wait_ready(gamma, last)
    assert cloud.ssh(gamma, "cat /root/marker") == "kept"
    assert "All is well" in cloud.daemon.doctor()


async def wipe_networks(cloud_id: str) -> None:
    net = LinuxNet(cloud_id)
    await net.start()
    await net.clean()
    await net.close()


def forget_boot(line: str) -> str:
    kind, value = json.loads(line)
    if kind == "record":
        value["host_boot"] = "11111111-2222-3333-4444-555555555555"
    return json.dumps([kind, value]) + "\n"


def test_a_guest_undefined_by_hand_is_an_error_and_its_disk_is_kept(cloud: RealCloud, gamma: Server) -> None:
    cloud.ssh(gamma, "sync")
    last = cloud.boots(gamma)[-1]
    virsh("destroy", cloud.domain(gamma))
    virsh("undefine", cloud.domain(gamma))

    def broken() -> bool:
        return bool(cloud.api.server(gamma["id"])["status"] == "ERROR")

    within(SECONDS, broken, lambda: str(cloud.api.server(gamma["id"])))
    fault = cloud.api.server(gamma["id"])["fault"]
    assert fault["message"] == "The guest is gone from its host; its disk is kept"
    assert (cloud.disks / gamma["id"] / "root").exists()
    cloud.api.act(gamma["id"], "reboot", {"type": "HARD"})
    cloud.wait_ready(gamma, last)
    assert cloud.ssh(gamma, "cat /root/marker") == "kept"


def test_an_image_that_is_evicted_is_fetched_again(cloud: RealCloud, gamma: Server, tmp_path: Path) -> None:
    cache = cloud.state / "node" / "block" / "cache"
    content = tmp_path / "other.raw"
    content.write_bytes(b"\0" * 1_000_000)
    new = {"name": "other", "disk_format": "raw", "container_format": "bare"}
    image = cloud.api.post("/image/v2/images", new)
    assert cloud.api.put(f"/image/v2/images/{image['id']}/file", content=content.read_bytes()).status_code == 204
    held = {path.name for path in cache.iterdir()}
    for _ in range(2):
        server = cloud.create("empty", imageRef=image["id"])
        cloud.api.wait_status(server["id"], "ACTIVE")
        fresh = {path.name for path in cache.iterdir()} - held
        assert len(fresh) == 2, fresh
        virsh("destroy", cloud.domain(server))
        virsh("undefine", cloud.domain(server))
        cloud.delete(server)
        assert cloud.traces(server) == []
        for name in fresh:
            (cache / name).unlink()
    cloud.api.delete(f"/image/v2/images/{image['id']}")


def test_an_image_that_points_elsewhere_is_refused(cloud: RealCloud, tmp_path: Path) -> None:
    backed = tmp_path / "backed.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", str(backed), "1G")
    new = {"name": "backed", "disk_format": "qcow2", "container_format": "bare"}
    image = cloud.api.post("/image/v2/images", new)
    answer = cloud.api.put(f"/image/v2/images/{image['id']}/file", content=backed.read_bytes())
    assert answer.status_code == 415
    assert cloud.api.get(f"/image/v2/images/{image['id']}")["status"] != "active"
    cloud.api.delete(f"/image/v2/images/{image['id']}")
